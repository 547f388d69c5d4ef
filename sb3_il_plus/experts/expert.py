"""`Expert`: one face for everything that can act, so that the rest of the package knows only this.

An SB3 or sb3-contrib model, a bare policy and a plain function all become an object with SB3's
`predict`, which takes raw observations, applies the wrappers and the normalisation that it was
trained with, and checks what comes back. Nothing here reads files or builds environments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.errors import DataError, InapplicableError
from sb3_il_plus.experts.wrappers import (
    FrameStack,
    ObservationStatistics,
    ObservationWrapper,
    each_part,
    wrapped_space,
)
from sb3_il_plus.spaces import outside

ModelSource: TypeAlias = Any
"""An `Expert`, anything with SB3's `predict`, or a callable `observation -> action`."""


class ExpertState(NamedTuple):
    """What an expert has to know of its episodes so far, from one `predict` to the next."""

    actor: Any
    """State of a recurrent policy."""
    memories: tuple[Any, ...]
    """What each wrapper remembers."""


class Expert:
    """Anything that can act, as an object with SB3's `predict` on raw observations.

    Build one with `as_expert`, `load_expert` or `train_expert`.

    An observation goes through `wrappers`, then `statistics`, then `frame_stack`, which is RL Zoo's
    order in training.

    :param actor: an object with SB3's `predict`
    :param observation_space: of the raw, single observations
    :param action_space: every action is checked against it
    :param name: used in messages and metadata
    :param statistics: normalisation that `actor` expects of its observations
    :param wrappers: other changes of observations that `actor` expects
    :param frame_stack: observations that `actor` expects to be put together; 1 for one at a time
    :param metadata: JSON-like facts about where it comes from
    :raises InapplicableError: a wrapper does not fit the observation space
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
        wrappers: Sequence[ObservationWrapper] = (),
        frame_stack: int = 1,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.actor = actor
        self.observation_space = observation_space
        self.action_space = action_space
        self.name = name
        self.wrappers = tuple(wrappers)
        self.frame_stack = frame_stack
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.statistics = statistics

    def __repr__(self) -> str:
        return f"Expert({self.name!r}, {self.observation_space} -> {self.action_space})"

    @property
    def policy(self) -> BasePolicy | None:
        """The SB3 policy that acts; None where the expert is a function."""
        candidate = getattr(self.actor, "policy", self.actor)
        return candidate if isinstance(candidate, BasePolicy) else None

    @property
    def statistics(self) -> ObservationStatistics | None:
        """The normalisation that the actor expects; may be set."""
        return self._statistics

    @statistics.setter
    def statistics(self, statistics: ObservationStatistics | None) -> None:
        self._statistics = statistics
        stages: list[ObservationWrapper] = list(self.wrappers)
        if statistics is not None:
            stages.append(statistics)
        if self.frame_stack > 1:
            stages.append(FrameStack(self.frame_stack))
        spaces_before = (wrapped_space(self.observation_space, stages[:i]) for i in count())
        self._stages = list(zip(stages, spaces_before, strict=False))

    @property
    def remembers(self) -> bool:
        """Whether it needs `state` and `episode_start`, as recurrent policies do."""
        policy = self.policy
        recurrent = getattr(policy, "lstm_actor", None) is not None
        recurrent |= getattr(policy, "remembers", False)
        return recurrent or any(stage.has_memory for stage, _ in self._stages)

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
        :param state: what the last call returned, for experts that remember (see `remembers`);
            None begins an episode
        :param episode_start: shape (n,), where an episode begins (for the same)
        :param deterministic: the most likely action instead of a sampled one
        :param action_masks: choices that are allowed; for experts that read them (`MaskablePPO`)
        :return: the action, or shape (n, *action shape), and the next state
        :raises DataError: what came back is no action of the action space
        """
        shape = batch_shape(observation, self.observation_space)
        memories: tuple[Any, ...] = ()
        if isinstance(state, ExpertState):
            state, memories = state
        observation, memories = self._wrapped(observation, shape, memories, episode_start)
        masks = {} if action_masks is None else {"action_masks": action_masks}
        with _exploration_drawn(None if deterministic else self.policy, *shape):
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
        actions, next_state = self._checked(answer[0], shape), answer[1]
        if any(memory is not None for memory in memories):
            next_state = ExpertState(next_state, memories)
        return actions, next_state

    def _wrapped(
        self,
        observation: Any,
        batch: tuple[int, ...],
        memories: tuple[Any, ...],
        episode_start: np.ndarray | None,
    ) -> tuple[Any, tuple[Any, ...]]:
        """What the actor sees, and what the wrappers remember of it."""
        if not self._stages:
            return observation, ()
        if not batch:
            observation = each_part(lambda part: np.asarray(part)[None], observation)
        starts = np.full(batch or (1,), not memories)
        if memories and episode_start is not None:
            starts |= np.asarray(episode_start, dtype=bool)
        memories = memories or (None,) * len(self._stages)
        kept = []
        for (stage, space), memory in zip(self._stages, memories, strict=True):
            observation, memory = stage.apply(observation, memory, starts, space)
            kept.append(memory)
        if not batch:
            observation = each_part(lambda part: part[0], observation)
        return observation, tuple(kept)

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


@contextmanager
def _exploration_drawn(policy: BasePolicy | None, n: int = 1) -> Iterator[None]:
    """Draw the noise of gSDE (Raffin et al. 2022) anew, and put back what was there.

    It is a part of the policy's state, which SB3 draws every few steps while it trains. Left alone,
    it would disturb all actions of all episodes in the same way, and be no sample of them.
    """
    owner: Any = getattr(policy, "actor", policy)
    if policy is None or not getattr(owner, "use_sde", False):
        yield
        return
    state = vars(owner.action_dist)
    before = dict(state)
    try:
        policy.reset_noise(n)  # type: ignore[operator]
        yield
    finally:
        state.update(before)


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
