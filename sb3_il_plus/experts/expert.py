"""`Expert`: one face for everything that can act, so that the rest of the package knows only this.

An SB3 or sb3-contrib model, a bare policy and a plain function all become an object with SB3's
`predict`, which takes raw observations, applies the normalisation that it was trained with, and
checks what comes back. Nothing here reads files or builds environments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.errors import DataError, InapplicableError
from sb3_il_plus.spaces import outside

Observation: TypeAlias = np.ndarray | dict[str, np.ndarray]
ModelSource: TypeAlias = Any
"""An `Expert`, anything with SB3's `predict`, or a callable `observation -> action`."""


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


class Expert:
    """Anything that can act, as an object with SB3's `predict` on raw observations.

    Build one with `as_expert`, `load_expert` or `train_expert`.

    :param actor: an object with SB3's `predict`
    :param observation_space: of the raw, single observations
    :param action_space: every action is checked against it
    :param name: used in messages and metadata
    :param statistics: normalisation that `actor` expects of its observations
    :param metadata: JSON-like facts about where it comes from
    """

    raw_observations = True

    def __init__(
        self,
        actor: Any,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        name: str = "expert",
        statistics: ObservationStatistics | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.actor = actor
        self.observation_space = observation_space
        self.action_space = action_space
        self.name = name
        self.statistics = statistics
        self.metadata: dict[str, Any] = dict(metadata or {})

    def __repr__(self) -> str:
        return f"Expert({self.name!r}, {self.observation_space} -> {self.action_space})"

    @property
    def policy(self) -> BasePolicy | None:
        """The SB3 policy that acts; None where the expert is a function."""
        candidate = getattr(self.actor, "policy", self.actor)
        return candidate if isinstance(candidate, BasePolicy) else None

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose actions, as SB3's `predict`.

        :param observation: one raw observation, or a batch with one more axis in front
        :param state: hidden state of a recurrent policy
        :param episode_start: shape (n,), where an episode begins (for recurrent policies)
        :param deterministic: the most likely action instead of a sampled one
        :param action_masks: choices that are allowed; for experts that read them (`MaskablePPO`)
        :return: the action, or shape (n, *action shape), and the next state
        :raises DataError: what came back is no action of the action space
        """
        shape = batch_shape(observation, self.observation_space)
        if self.statistics is not None:
            observation = self.statistics.normalize(observation)
        masks = {} if action_masks is None else {"action_masks": action_masks}
        answer = self.actor.predict(
            observation,
            state=state,
            episode_start=episode_start,
            deterministic=deterministic,
            **masks,
        )
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise DataError(
                f"{self.name!r}: predict() returned {_describe(answer)}; "
                "SB3's predict returns (actions, state)"
            )
        return self._checked(answer[0], shape), answer[1]

    def save(self, path: str | Path) -> None:
        """Write a file that `load_expert` reads, without any pickle in it.

        :raises FileError: the expert is a function, or its policy has a class of one's own
        """
        from sb3_il_plus.experts.archive import save_expert

        save_expert(self, path)

    def _checked(self, actions: Any, batch: tuple[int, ...]) -> np.ndarray:
        """Return the actions as an array of the action space's dtype, or say what is wrong."""
        space = self.action_space
        expected = (*batch, *(space.shape or ()))
        try:
            array = np.asarray(actions)
        except ValueError:  # lists of different lengths
            array = np.empty(0, dtype=object)
        # SB3 returns floats for MultiBinary; `outside` sees to it that they are 0 and 1.
        integers = not isinstance(space, (spaces.Box, spaces.MultiBinary))
        if array.shape != expected or array.dtype.kind not in ("iub" if integers else "fiub"):
            raise DataError(
                f"expert {self.name!r} returned {_describe(actions)}; the action space {space} "
                f"needs {'integers' if integers else 'numbers'} of shape {expected}"
            )
        if (bad := outside(array, space)).any():
            position = tuple(int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"expert {self.name!r} returned {array[position]} at index {position}, "
                f"which lies outside the action space {space}"
            )
        return array.astype(space.dtype, copy=False)


def as_expert(
    source: ModelSource,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    name: str | None = None,
) -> Expert:
    """Turn anything that acts into an `Expert`.

    :param source: an `Expert`; an SB3 or sb3-contrib model or policy (anything with `predict`),
        whose `VecNormalize` statistics are copied with it; or a function of one raw observation
        that returns one action
    :param observation_space: of the environment in which it shall act
    :param action_space: of that environment
    :param name: for messages; by default the name of its class or function
    :raises InapplicableError: it was trained on other spaces, or it is nothing that can act
    """
    if isinstance(source, (str, Path)):
        raise InapplicableError(
            f"{str(source)!r} is a path or a name, not a demonstrator; "
            "load_expert(path) reads a saved one, train_expert(env_id) trains one"
        )
    check_spaces(source, observation_space, action_space)
    if isinstance(source, Expert):
        return source
    if hasattr(source, "predict") and not isinstance(source, type):
        return Expert(
            source,
            observation_space,
            action_space,
            name=name or type(source).__name__,
            statistics=ObservationStatistics.from_vec_normalize(own_vec_normalize(source)),
        )
    if callable(source) and not isinstance(source, type):
        label = name or str(getattr(source, "__name__", type(source).__name__))
        actor = _PerObservation(source, observation_space, label)
        return Expert(actor, observation_space, action_space, name=label)
    raise InapplicableError(
        f"a demonstrator must have SB3's predict(), or be a function observation -> action; "
        f"got {source!r}"
    )


def own_vec_normalize(model: Any) -> VecNormalize | None:
    """The `VecNormalize` wrapper around the environment a model was trained in, if any."""
    return model.get_vec_normalize_env() if isinstance(model, BaseAlgorithm) else None


def check_spaces(source: Any, observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """Refuse a demonstrator that was made for other spaces.

    :raises InapplicableError: the message shows both spaces
    """
    for role, own, given in (
        ("observation", getattr(source, "observation_space", None), observation_space),
        ("action", getattr(source, "action_space", None), action_space),
    ):
        if isinstance(own, spaces.Space) and not _same_form(own, given):
            name = getattr(source, "name", type(source).__name__)
            raise InapplicableError(
                f"{name!r} was made for the {role} space {own}, which does not fit the "
                f"environment's {given}; is it an expert of another environment, or does the "
                "environment lack a wrapper (frame stacking, flattening)?"
            )


def batch_shape(observation: Any, space: spaces.Space) -> tuple[int, ...]:
    """`()` for a single observation of `space`, `(n,)` for a batch of n."""
    while isinstance(space, spaces.Dict):
        key = next(iter(space.spaces))
        observation, space = observation[key], space.spaces[key]
    shape = np.shape(observation)
    return shape[:1] if len(shape) > len(space.shape or ()) else ()


class _PerObservation:
    """Gives a function of one observation SB3's `predict`."""

    def __init__(self, function: Callable[[Any], Any], space: spaces.Space, name: str) -> None:
        self.function = function
        self.space = space
        self.name = name

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, **_: Any
    ) -> tuple[Any, Any]:
        batch = batch_shape(observation, self.space)
        if not batch:
            return self.function(observation), state
        rows = [self.function(_row(observation, index)) for index in range(batch[0])]
        shapes = {np.shape(row) for row in rows if not isinstance(row, (tuple, dict))}
        if len(shapes) > 1:
            raise DataError(f"expert {self.name!r} returned actions of different shapes: {shapes}")
        return rows, state


def _row(observation: Any, index: int) -> Any:
    if isinstance(observation, Mapping):
        return {key: value[index] for key, value in observation.items()}
    return observation[index]


def _same_form(own: spaces.Space, given: spaces.Space) -> bool:
    """Whether values of `given` can be used as values of `own`: bounds of Box spaces aside."""
    if isinstance(own, spaces.Dict):
        return isinstance(given, spaces.Dict) and all(
            key in given.spaces and _same_form(inner, given.spaces[key])
            for key, inner in own.spaces.items()
        )
    if isinstance(own, spaces.Box):
        # SB3's policies move image channels to the front themselves.
        return isinstance(given, spaces.Box) and (
            own.shape == given.shape
            or (is_image_space(given) and sorted(own.shape) == sorted(given.shape))
        )
    return own == given


def _describe(value: Any) -> str:
    """Say what a demonstrator returned, shortly: type, and shape and dtype if it has them."""
    if isinstance(value, (np.ndarray, np.generic)):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, list) and value:
        return f"{len(value)} times {_describe(value[0])}"
    shown = repr(value)
    return f"{type(value).__name__} {shown[:60]}{'...' if len(shown) > 60 else ''}"
