"""The check for episodes of different length, made before training instead of minutes into it."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import InapplicableError

_PROBE_EPISODES = 2
_PROBE_SEED = 0


def check_horizon(
    demonstrations: Demonstrations | None, env: VecEnv, algorithm: str, *, can_pad: bool = False
) -> None:
    """Refuse a variable horizon, seen in the demonstrations or in two random episodes.

    The random episodes are played in an environment of their own, built from the training
    environment's spec; where it has none, only the demonstrations are looked at.

    :param can_pad: whether the algorithm has `horizon="pad"`, too
    :raises InapplicableError: episodes differ in length; the message explains it and the choices
    """
    lengths: set[int] = set()
    if demonstrations is not None:
        ended = demonstrations.terminations | demonstrations.truncations
        complete = ended[demonstrations.offsets[1:] - 1]
        lengths = {int(n) for n in demonstrations.episode_lengths[complete]}
    if len(lengths) < 2:
        lengths |= _probe(env, longest=max(lengths, default=1000))
    if len(lengths) > 1:
        shown = ", ".join(map(str, sorted(lengths)[:5]))
        padded = (
            "let episodes that end go on in an absorbing state with horizon='pad', "
            if can_pad
            else ""
        )
        raise InapplicableError(
            f"episodes of this environment differ in length ({shown}), and when an episode ends "
            f"tells {algorithm} about the reward: a learner that is paid in each step is paid for "
            "mere survival. Use an environment of fixed horizon (such as the seals/ versions), "
            f"{padded}or accept the bias with horizon='allow'."
        )


def _probe(env: VecEnv, longest: int) -> set[int]:
    """Lengths of a few episodes under random actions, or nothing where no copy can be built."""
    spec = _spec(env)
    if spec is None:
        return set()
    probe = gym.make(spec)
    rng = np.random.default_rng(_PROBE_SEED)
    probe.action_space.seed(int(rng.integers(2**31)))
    lengths = set()
    for _ in range(_PROBE_EPISODES):
        probe.reset(seed=int(rng.integers(2**31)))
        for step in range(1, longest + 1):
            *_, terminated, truncated, _ = probe.step(probe.action_space.sample())
            if terminated or truncated:
                lengths.add(step)
                break
    probe.close()
    return lengths


def _spec(env: VecEnv) -> Any:
    """The spec of the first copy, without wrappers that cannot be built again (SB3's `Monitor`)."""
    try:
        spec = env.get_attr("spec", 0)[0]
    except AttributeError:
        return None
    if spec is None:
        return None
    rebuilt = tuple(wrapper for wrapper in spec.additional_wrappers if wrapper.kwargs is not None)
    return dataclasses.replace(spec, additional_wrappers=rebuilt)
