"""What stood between environment and agent in training, done again inside an `Expert`.

An expert acts on raw observations, so the wrappers that changed them in training are part of it.
RL Zoo's order is: wrappers of the environment, `VecNormalize`, stacked frames. Each is a small
value here; what one has to remember of an episode (its step, the last frames) is handed in and out
by `predict`, in SB3's argument `state`, so that an expert itself never changes.

Wrappers that only change rewards or ends of episodes make no difference to how an agent acts. All
others are refused by name: they need actions, or another environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.errors import FileError, InapplicableError

Observation: TypeAlias = np.ndarray | dict[str, np.ndarray]


class ObservationWrapper(Protocol):
    """One change of observations."""

    has_memory: ClassVar[bool]
    """Whether it depends on earlier observations of the episode."""

    def output_space(self, space: spaces.Space) -> spaces.Space:
        """The space of what it returns.

        :raises InapplicableError: it cannot change observations of `space`
        """

    def apply(
        self, observation: Observation, memory: Any, starts: np.ndarray, space: spaces.Space
    ) -> tuple[Any, Any]:
        """Change a batch of observations.

        :param observation: shape (n, *shape of `space`)
        :param memory: what the last call of the same episodes returned; None at the beginning
        :param starts: shape (n,), where an episode begins
        :return: the changed observations and the next memory
        """


@dataclass(frozen=True)
class TimeFeature:
    """Appends the share of the episode that is left, as sb3-contrib's `TimeFeatureWrapper`.

    :param max_steps: length of an episode
    :param test_mode: append 1 throughout
    """

    max_steps: int
    test_mode: bool = False
    has_memory: ClassVar[bool] = True

    def output_space(self, space: spaces.Space) -> spaces.Space:
        """The space with one more component in [0, 1]; that of `"observation"` in a Dict."""
        if isinstance(space, spaces.Dict) and "observation" in space.spaces:
            inner = self.output_space(space["observation"])
            return spaces.Dict({**space.spaces, "observation": inner})
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise InapplicableError(f"a time feature cannot be appended to {space}")
        low, high = np.append(space.low, 0.0), np.append(space.high, 1.0)
        return spaces.Box(low.astype(space.dtype), high.astype(space.dtype), dtype=space.dtype)  # type: ignore[arg-type]

    def apply(
        self, observation: Observation, memory: Any, starts: np.ndarray, space: spaces.Space
    ) -> tuple[Any, Any]:
        """Append it; the memory is the number of the step, shape (n,)."""
        steps = np.zeros(len(starts), np.int64) if memory is None else np.where(starts, 0, memory)
        if isinstance(observation, dict):
            changed = self._appended(observation["observation"], steps)
            return {**observation, "observation": changed}, steps + 1
        return self._appended(observation, steps), steps + 1

    def _appended(self, observation: np.ndarray, steps: np.ndarray) -> np.ndarray:
        left = np.ones(len(steps)) if self.test_mode else 1 - steps / self.max_steps
        return np.column_stack([observation, left.astype(observation.dtype)])


@dataclass(frozen=True)
class MaskVelocity:
    """Sets components to zero, as RL Zoo's `MaskVelocityWrapper`.

    :param indices: of the velocities
    """

    indices: tuple[int, ...]
    has_memory: ClassVar[bool] = False

    def output_space(self, space: spaces.Space) -> spaces.Space:
        """The same space."""
        if not isinstance(space, spaces.Box) or max(self.indices) >= space.shape[-1]:
            raise InapplicableError(f"{space} has no velocities at {list(self.indices)}")
        return space

    def apply(
        self, observation: Any, memory: Any, starts: np.ndarray, space: spaces.Space
    ) -> tuple[Any, Any]:
        """Return a copy without velocities."""
        masked = np.array(observation)
        masked[..., list(self.indices)] = 0
        return masked, None


@dataclass(frozen=True)
class Flatten:
    """Makes one vector of an observation, as gymnasium's `FlattenObservation`."""

    has_memory: ClassVar[bool] = False

    def output_space(self, space: spaces.Space) -> spaces.Space:
        """A `Box` of one axis."""
        return spaces.flatten_space(space)

    def apply(
        self, observation: Observation, memory: Any, starts: np.ndarray, space: spaces.Space
    ) -> tuple[Any, Any]:
        """Flatten each observation of the batch."""
        rows = (each_part(itemgetter(i), observation) for i in range(len(starts)))
        return np.stack([np.asarray(spaces.flatten(space, row)) for row in rows]), None


@dataclass(frozen=True)
class LeaveOut:
    """Drops the first components, such as the position that an agent was not shown.

    :param n_first: how many
    """

    n_first: int
    has_memory: ClassVar[bool] = False

    def output_space(self, space: spaces.Space) -> spaces.Space:
        """The space without its first components."""
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise InapplicableError(f"{space} has no first components to leave out")
        low, high = space.low[self.n_first :], space.high[self.n_first :]
        return spaces.Box(low, high, dtype=space.dtype)  # type: ignore[arg-type]

    def apply(
        self, observation: Any, memory: Any, starts: np.ndarray, space: spaces.Space
    ) -> tuple[Any, Any]:
        """Return a view of the others."""
        return observation[..., self.n_first :], None


@dataclass(frozen=True)
class FrameStack:
    """Puts the last observations together, as SB3's `VecFrameStack`.

    :param n_stack: how many; those before the episode's first are zero
    """

    n_stack: int
    has_memory: ClassVar[bool] = True

    def output_space(self, space: spaces.Space) -> spaces.Space:
        """The space with `n_stack` times as many channels, or components."""
        if isinstance(space, spaces.Dict):
            return spaces.Dict({key: self.output_space(part) for key, part in space.spaces.items()})
        if not isinstance(space, spaces.Box):
            raise InapplicableError(f"observations of {space} cannot be stacked")
        low, high = (
            np.repeat(bound, self.n_stack, _stacked_axis(space))
            for bound in (space.low, space.high)
        )
        return spaces.Box(low, high, dtype=space.dtype)  # type: ignore[arg-type]

    def apply(
        self, observation: Observation, memory: Any, starts: np.ndarray, space: spaces.Space
    ) -> tuple[Any, Any]:
        """Append the observation to those before it, which are the memory."""
        if isinstance(observation, dict):
            assert isinstance(space, spaces.Dict)
            stacked = {
                key: self.apply(part, memory and memory[key], starts, space[key])[0]
                for key, part in observation.items()
            }
            return stacked, stacked
        axis = _stacked_axis(space)
        axis = axis if axis < 0 else axis + 1
        if memory is None:
            memory = np.concatenate([np.zeros_like(observation)] * self.n_stack, axis)
        first = observation.shape[axis]
        kept = np.take(memory, range(first, memory.shape[axis]), axis)
        kept[starts] = 0
        frames = np.concatenate([kept, observation], axis)
        return frames, frames


@dataclass(frozen=True)
class ObservationStatistics:
    """Fixed statistics that turn raw observations into what a policy was trained on.

    :param mean: shape of an observation; for `Dict` observations a dict of such arrays, whose
        missing entries are passed through unchanged
    :param var: variance, of the same shape
    :param clip_obs: normalised observations are clipped to ±`clip_obs`
    :param epsilon: added to the variance
    """

    mean: Observation
    var: Observation
    clip_obs: float = 10.0
    epsilon: float = 1e-8
    has_memory: ClassVar[bool] = False

    @classmethod
    def from_vec_normalize(cls, vec_normalize: VecNormalize | None) -> ObservationStatistics | None:
        """Copy the statistics of SB3's `VecNormalize`; None where it leaves observations alone."""
        if vec_normalize is None or not vec_normalize.norm_obs:
            return None
        statistics = vec_normalize.obs_rms
        mean: Observation
        var: Observation
        if isinstance(statistics, dict):
            mean = {key: entry.mean.copy() for key, entry in statistics.items()}
            var = {key: entry.var.copy() for key, entry in statistics.items()}
        else:
            mean, var = statistics.mean.copy(), statistics.var.copy()
        return cls(mean, var, float(vec_normalize.clip_obs), float(vec_normalize.epsilon))

    def normalize(self, observation: Observation) -> Observation:
        """Return `clip((x - mean) / sqrt(var + epsilon))`, exactly as `VecNormalize` does.

        :param observation: one raw observation, or a batch of them
        """
        if isinstance(self.mean, Mapping) and isinstance(self.var, Mapping):
            normalized = dict(observation)
            for key, mean in self.mean.items():
                normalized[key] = self._normalize(normalized[key], mean, self.var[key])
            return normalized
        return self._normalize(observation, self.mean, self.var)  # type: ignore[arg-type]

    def output_space(self, space: spaces.Space) -> spaces.Space:
        """The same space; SB3's policies do not know the bounds of normalised observations."""
        return space

    def apply(
        self, observation: Observation, memory: Any, starts: np.ndarray, space: spaces.Space
    ) -> tuple[Any, Any]:
        """Normalise a batch."""
        return self.normalize(observation), None

    def fits(self, space: spaces.Space) -> bool:
        """Whether these are statistics of observations of `space`."""
        if isinstance(self.mean, Mapping) and isinstance(self.var, Mapping):
            return isinstance(space, spaces.Dict) and all(
                key in space.spaces
                and key in self.var
                and mean.shape == self.var[key].shape == space[key].shape
                for key, mean in self.mean.items()
            )
        return np.asarray(self.mean).shape == np.asarray(self.var).shape == space.shape

    def _normalize(self, value: np.ndarray, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
        scaled = (value - mean) / np.sqrt(var + self.epsilon)
        return np.clip(scaled, -self.clip_obs, self.clip_obs).astype(np.float32)


WRAPPERS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (TimeFeature, MaskVelocity, Flatten, LeaveOut)
}
"""What a file of ours may name."""

_ANOTHER_REWARD_OR_END = frozenset(
    {
        "TruncatedOnSuccessWrapper",
        "DoneOnSuccessWrapper",
        "DelayedRewardWrapper",
        "PlotActionWrapper",
        "Monitor",
        "VecMonitor",
    }
)

_VELOCITIES = {
    "CartPole": (1, 3),
    "MountainCar": (1,),
    "MountainCarContinuous": (1,),
    "Pendulum": (2,),
    "LunarLander": (2, 3, 5),
    "LunarLanderContinuous": (2, 3, 5),
}
"""Environment -> components that RL Zoo's `MaskVelocityWrapper` hides."""

_POSITIONS = {"Ant": 2, "HalfCheetah": 1, "Hopper": 1, "Humanoid": 2, "Swimmer": 2, "Walker2d": 1}
"""MuJoCo's bodies -> coordinates that `seals` shows before all else, and `gymnasium` does not."""


def between_environments(trained_in: str | None, acts_in: str | None) -> list[ObservationWrapper]:
    """What makes observations of one environment look like those of another, where that is known.

    An agent of `Hopper-v3` can act in `seals/Hopper-v1`: the body is the same, and so is the rest
    of what it sees.
    """
    body = (trained_in or "").rpartition("-v")[0]
    if body in _POSITIONS and (acts_in or "").startswith(f"seals/{body}-v"):
        return [LeaveOut(_POSITIONS[body])]
    return []


def wrapper_named(
    name: str, arguments: Mapping[str, Any], env_id: str | None, max_episode_steps: int | None
) -> ObservationWrapper | None:
    """What a wrapper's name in RL Zoo's `config.yml` means for observations.

    :param name: such as `"sb3_contrib.common.wrappers.TimeFeatureWrapper"`; it is not imported
    :param arguments: of its constructor
    :param env_id: of the environment
    :param max_episode_steps: time limit of the environment, where it is known
    :return: None where observations stay as they are
    :raises FileError: it is none of those that are known
    """
    kind = name.rpartition(".")[2]
    if kind in _ANOTHER_REWARD_OR_END:
        return None
    try:
        if kind == "TimeFeatureWrapper":
            max_steps = int(max_episode_steps or arguments.get("max_steps", 1000))
            return TimeFeature(max_steps, bool(arguments.get("test_mode", False)))
        if kind == "MaskVelocityWrapper":
            base = (env_id or "").rpartition("-v")[0].removesuffix("NoVel")
            return MaskVelocity(_VELOCITIES[base])
        if kind == "FlattenObservation":
            return Flatten()
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"wrapper {name} with {dict(arguments)} is not understood in {env_id}: {error}"
        ) from error
    known = "TimeFeatureWrapper, MaskVelocityWrapper and FlattenObservation"
    raise FileError(
        f"it was trained through the wrapper {name}, which an expert cannot redo on raw "
        f"observations (it can {known}): put it around the environment yourself, and pass that as "
        "env=, with wrappers=False"
    )


def wrapped_space(space: spaces.Space, wrappers: Sequence[ObservationWrapper]) -> spaces.Space:
    """The space of observations that have gone through `wrappers`."""
    for wrapper in wrappers:
        space = wrapper.output_space(space)
    return space


def _stacked_axis(space: spaces.Space) -> int:
    """The axis of channels, or the last one."""
    return 0 if is_image_space(space) and is_image_space_channels_first(space) else -1  # type: ignore[arg-type]


def each_part(change: Callable[[Any], Any], observation: Any) -> Any:
    """Change an observation, or each entry of a Dict observation."""
    if isinstance(observation, Mapping):
        return {key: each_part(change, part) for key, part in observation.items()}
    return change(observation)
