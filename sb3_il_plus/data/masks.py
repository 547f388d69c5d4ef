"""Action masks: which choices were allowed when an action was demonstrated.

A mask has one boolean for each choice, as sb3-contrib's `MaskablePPO` reads it: n of them for
`Discrete(n)`, those of all components one after the other for `MultiDiscrete`, and (0, 1) of each
bit for `MultiBinary`. Demonstrations carry masks in their column `action_masks`, or in the entry
`"action_mask"` of a Dict observation (PettingZoo's convention).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.errors import DataError

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from sb3_il_plus.data.demonstrations import Demonstrations

OBSERVED_MASK = "action_mask"
"""Entry of a Dict observation that holds the mask of its step."""


def action_masks_of(demonstrations: Demonstrations) -> np.ndarray | None:
    """The mask of each transition, shape (N, number of choices); None where there are none.

    :raises DataError: a mask has another size, or forbids the very action that was taken; the
        message names episode and step
    """
    masks = demonstrations.action_masks
    name = "action_masks"
    if masks is None and isinstance(demonstrations.observations, dict):
        if OBSERVED_MASK not in demonstrations.observations:
            return None
        observed = demonstrations.observations_at(np.arange(len(demonstrations)))
        masks, name = observed[OBSERVED_MASK], f"observations[{OBSERVED_MASK!r}]"
    if masks is None:
        return None
    allowed = np.asarray(masks).reshape(len(demonstrations), -1) != 0
    problem = mask_problem(allowed, demonstrations, name)
    if problem is not None:
        raise DataError(problem)
    return allowed


def mask_problem(
    allowed: np.ndarray, demonstrations: Demonstrations, name: str, first_episode: int = 0
) -> str | None:
    """Say what is wrong with masks, or None.

    :param allowed: shape (N, number of choices), bool
    :param name: of the column, for the message
    :param first_episode: the number of the first episode, for the message
    """
    space = demonstrations.action_space
    sizes = _choices(space)
    if sizes is None:
        return f"{name}: only choices can be masked, not actions of the space {space}"
    if allowed.shape[1] != sum(sizes):
        return (
            f"{name}: a mask has {allowed.shape[1]} entries, the space {space} needs {sum(sizes)}"
        )
    first = np.cumsum([0, *sizes[:-1]])
    taken = first + demonstrations.actions.reshape(len(allowed), -1).astype(np.int64)
    forbidden = ~np.take_along_axis(allowed, taken, axis=1).all(axis=1)
    if not forbidden.any():
        return None
    row = int(np.argmax(forbidden))
    episode = int(demonstrations.episode_index[row])
    step = row - int(demonstrations.offsets[episode])
    return (
        f"{name}: episode {first_episode + episode}, step {step}: the mask "
        f"forbids the action that was taken, {demonstrations.actions[row]}"
    )


def masks_for(actor: Any, venv: VecEnv) -> Callable[[], np.ndarray] | None:
    """What to call for the masks of every copy's next action, shape (n_envs, number of choices).

    :param actor: a model, policy or `Expert`
    :return: None where the actor reads no masks, or the environment has no method `action_masks`
    """
    policy = getattr(actor, "policy", actor)
    if not any(cls.__name__ == "MaskableActorCriticPolicy" for cls in type(policy).__mro__):
        return None
    from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

    def ask() -> np.ndarray:
        with _deprecation_silenced():
            return get_action_masks(venv)

    with _deprecation_silenced():
        return ask if is_masking_supported(venv) else None


@contextmanager
def _deprecation_silenced() -> Iterator[None]:
    """Old gymnasium warns of how sb3-contrib reaches the method through the wrappers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*env.action_masks to get variables")
        yield


def _choices(space: spaces.Space) -> list[int] | None:
    """Number of choices of each component of an action; None where actions are no choices."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(n) for n in space.nvec.flatten()]
    if isinstance(space, spaces.MultiBinary):
        return [2] * int(np.prod(space.shape))
    return None
