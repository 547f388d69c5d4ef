"""Tiny tasks to test algorithms on: one for every pair of observation and action space.

An `EchoEnv` shows two bits and pays for the action that says the same two bits, so each space can
be observed and acted in, an expert is one line, and a learner succeeds within seconds. What is said
decides what is shown next, so an action can be told from its effect. Episodes have a fixed length,
and the environment counts its own steps. Nothing is registered globally.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_il_plus.data.arrays import from_arrays
from sb3_il_plus.data.demonstrations import Demonstrations

HORIZON = 8
"""Steps of every episode; an expert's return is as much, that of random actions about half."""


_IMAGE = (36, 40, 1)
"""Height, width and channels: the least that SB3's `NatureCNN` reads, and no square, so that axes
in a wrong order are seen."""


def _draw(bits: np.ndarray) -> np.ndarray:
    """An image whose left half is white for the first bit, and its right half for the second."""
    return np.repeat(np.uint8(255) * bits.astype(np.uint8), _IMAGE[1] // 2)[None, :, None].repeat(
        _IMAGE[0], axis=0
    )


def _look(image: Any) -> np.ndarray:
    middle = np.asarray(image)[_IMAGE[0] // 2, :, 0]
    return middle[[0, -1]] / 255


@dataclass(frozen=True)
class Code:
    """How two bits are written in a space, and read again."""

    space: Callable[[], spaces.Space]
    write: Callable[[np.ndarray], Any]
    read: Callable[[Any], np.ndarray]


CODES: dict[str, Code] = {
    "Box": Code(
        lambda: spaces.Box(-1.0, 1.0, (2,), np.float32),
        lambda bits: (2 * bits - 1).astype(np.float32),
        lambda vector: np.clip((np.asarray(vector) + 1) / 2, 0, 1),
    ),
    "Discrete": Code(
        lambda: spaces.Discrete(4),
        lambda bits: np.int64(2 * bits[0] + bits[1]),
        lambda number: np.array([number // 2, number % 2]),
    ),
    "MultiDiscrete": Code(
        lambda: spaces.MultiDiscrete([2, 2]), lambda bits: bits.astype(np.int64), np.asarray
    ),
    "MultiBinary": Code(
        lambda: spaces.MultiBinary(2), lambda bits: bits.astype(np.int8), np.asarray
    ),
    "Dict": Code(
        lambda: spaces.Dict(
            {"bit": spaces.Box(-1.0, 1.0, (1,), np.float32), "command": spaces.Discrete(2)}
        ),
        lambda bits: {
            "bit": (2 * bits[:1] - 1).astype(np.float32),
            "command": np.int64(bits[1]),
        },
        lambda entries: np.array([entries["bit"][0] > 0, entries["command"]], dtype=float),
    ),
    "Image": Code(lambda: spaces.Box(0, 255, _IMAGE, np.uint8), _draw, _look),
    "Tuple": Code(
        lambda: spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]),
        lambda bits: (np.int64(bits[0]), np.int64(bits[1])),
        np.asarray,
    ),
}
"""Name of a space, as specs use it -> the code used in it."""


class EchoEnv(gym.Env):
    """Say the two bits that are shown.

    Saying (a, b) has (b, not a) shown next: who is right is led from 00 to 01, 11, 10 and back to
    00, whichever of them an episode begins with.

    :param observation: name of the space they are shown in (a key of `CODES`)
    :param action: name of the space they are said in
    """

    def __init__(self, observation: str = "Box", action: str = "Discrete") -> None:
        # Names, not codes: workers pickle the environment, which holds no lambda then.
        self._observation, self._action = observation, action
        self.observation_space = CODES[observation].space()
        self.action_space = CODES[action].space()
        self.n_steps_taken = 0
        self._bits = np.zeros(2, dtype=np.int64)
        self._step_in_episode = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._step_in_episode = 0
        return self._show(self.np_random.integers(0, 2, 2)), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """Pay 1 minus the mean error of the bits said."""
        self.n_steps_taken += 1
        self._step_in_episode += 1
        said = CODES[self._action].read(action)
        reward = 1.0 - float(np.abs(said - self._bits).mean())
        following = self._show(self._following((said > 0.5).astype(np.int64)))
        return following, reward, False, self._step_in_episode == HORIZON, {}

    def action_masks(self) -> np.ndarray:
        """Every action is allowed (sb3-contrib's `MaskablePPO` asks for this)."""
        return np.ones(4, dtype=bool)

    def _following(self, said: np.ndarray) -> np.ndarray:
        first, second = said
        return np.array([second, 1 - first])

    def _show(self, bits: np.ndarray) -> Any:
        self._bits = bits
        return CODES[self._observation].write(bits)


class TabularEchoEnv(EchoEnv):
    """An `EchoEnv` that says how it works, for algorithms that plan.

    It shows which bits were said wrong, so that states alone tell who is right: they are led to 00
    and stay there. State and action are numbered by their bits, with the first as 2.
    """

    horizon = HORIZON
    initial_state_dist = np.full(4, 0.25)
    transition_matrix = np.eye(4)[np.bitwise_xor.outer(np.arange(4), np.arange(4))]

    def __init__(self, observation: str = "Box", action: str = "Discrete") -> None:
        super().__init__(observation, action)
        states = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        self.observation_matrix = np.stack([CODES[observation].write(bits) for bits in states])

    def _following(self, said: np.ndarray) -> np.ndarray:
        return np.abs(said - self._bits)


def make_echo(
    observation: str = "Box",
    action: str = "Discrete",
    n_envs: int = 1,
    *,
    seed: int | None = None,
    subprocesses: bool = False,
    env_class: type[EchoEnv] = EchoEnv,
) -> VecEnv:
    """Vectorised and monitored copies of an `EchoEnv`.

    :param subprocesses: run each copy in a process of its own
    """

    def build() -> gym.Env:
        return Monitor(env_class(observation, action))

    # Forked workers need not import torch again, which would take longer than the test.
    venv: VecEnv = (
        SubprocVecEnv([build] * n_envs, start_method="fork")
        if subprocesses
        else DummyVecEnv([build] * n_envs)
    )
    if seed is not None:
        venv.seed(seed)
    return venv


def steps_taken(env: VecEnv) -> int:
    """Steps that the copies of an `EchoEnv` have counted themselves, together."""
    return sum(env.env_method("get_wrapper_attr", "n_steps_taken"))


def echo_expert(observation: str = "Box", action: str = "Discrete") -> Callable[[Any], Any]:
    """The demonstrator of an `EchoEnv`: a function from one observation to the right action."""
    shown, said = CODES[observation], CODES[action]

    def right_action(seen: Any) -> Any:
        return said.write(shown.read(seen).round().astype(np.int64))

    return right_action


def echo_demonstrations(
    observation: str = "Box",
    action: str = "Discrete",
    n_episodes: int = 8,
    seed: int = 0,
    env_class: type[EchoEnv] = EchoEnv,
) -> Demonstrations:
    """Episodes of the demonstrator, with rewards."""
    env, expert = env_class(observation, action), echo_expert(observation, action)
    rng = np.random.default_rng(seed)
    episodes = [_play(env, expert, int(rng.integers(2**31))) for _ in range(n_episodes)]
    observations, actions, rewards = (list(column) for column in zip(*episodes, strict=True))
    return from_arrays(
        observations, actions, rewards, truncations=[True] * n_episodes, env=env, metadata={}
    )


def _play(env: EchoEnv, expert: Callable[[Any], Any], seed: int) -> tuple[list, list, list]:
    observation, _ = env.reset(seed=seed)
    observations, actions, rewards = [observation], [], []
    over = False
    while not over:
        action = expert(observation)
        observation, reward, _, over, _ = env.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(reward)
    return observations, actions, rewards


@contextmanager
def registered_echo(
    observation: str = "Box", action: str = "Discrete", env_class: type[EchoEnv] = EchoEnv
) -> Iterator[str]:
    """Give gymnasium an `EchoEnv` under an id for as long as the block lasts."""
    env_id = f"Echo{observation}{action}-v0"
    gym.register(
        env_id,
        entry_point=f"{env_class.__module__}:{env_class.__name__}",
        kwargs={"observation": observation, "action": action},
    )
    try:
        yield env_id
    finally:
        gym.registry.pop(env_id)
