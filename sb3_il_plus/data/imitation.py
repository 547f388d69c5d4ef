"""From and to the trajectories and transitions of `imitation`.

`imitation` knows one flag, `terminal` (in transitions `dones`): the episode ended, for whatever
reason. Which reason stands in the info that SB3 attaches to the last step:

    terminated    terminal, `info["TimeLimit.truncated"]` is false
    truncated     terminal, `info["TimeLimit.truncated"]` is true, or missing: an end that nothing
                  explains is never taken for a terminal state
    both          as terminated, with `info["sb3_il_plus.truncated_too"]`
    neither       not terminal: a fragment, whose episode goes on elsewhere

`imitation`'s `rollout` drops the infos unless it is told `exclude_infos=False`.
So the way there and back changes no column. `imitation` has no place for the spaces, which must be
given on the way back, nor for the metadata; all other infos are lost on the way here.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.arrays import guess_observation_space, resolve_spaces
from sb3_il_plus.data.assembly import breaks, from_episodes
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.demonstrations import Demonstrations, Episode
from sb3_il_plus.data.state_only import require_actions
from sb3_il_plus.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from imitation.data.types import Trajectory, Transitions

_TRUNCATED = "TimeLimit.truncated"
_TRUNCATED_TOO = "sb3_il_plus.truncated_too"


def from_imitation(
    source: Any,
    *,
    observation_space: spaces.Space | None = None,
    action_space: spaces.Space | None = None,
    env: Any = None,
) -> Demonstrations:
    """Convert a sequence of `Trajectory`, or one `Transitions`, with rewards or without.

    Transitions are cut into episodes where `dones` says so, and where one's next observation is not
    the next one's observation (which then is the end of a fragment).

    :param observation_space: guessed from the observations where neither it nor `env` is given
    :param action_space: in place of `env`
    :param env: environment id, `Env` or `VecEnv` to take the spaces from
    :raises DataError: it is neither, its values do not fit the spaces, or the action space is
        unknown
    """
    episodes = _episodes(source)
    observation_space, action_space = resolve_spaces(env, observation_space, action_space)
    if observation_space is None:
        observation_space = guess_observation_space(episodes[0].observations)
    return from_episodes(episodes, observation_space, action_space)


def _episodes(source: Any) -> list[Episode]:
    if hasattr(source, "acts") and hasattr(source, "dones"):
        return _from_transitions(source)
    if _is_trajectory(source):
        return [_from_trajectory(source)]
    listable = isinstance(source, Iterable) and not isinstance(source, (str, bytes))
    items = list(source) if listable else []
    if items and all(map(_is_trajectory, items)):
        return [_from_trajectory(trajectory) for trajectory in items]
    kinds = ", ".join(sorted({type(item).__name__ for item in items})) or "nothing"
    raise DataError(
        f"cannot make demonstrations from a {type(source).__name__}"
        f"{f' of {kinds}' if listable else ''}: give a Demonstrations, the path of saved ones, or "
        "imitation's trajectories or transitions; for arrays of your own there is "
        "Demonstrations.from_arrays(observations, actions, ...)"
    )


def to_trajectories(demonstrations: Demonstrations) -> list[Trajectory]:
    """One `TrajectoryWithRew` for each episode, or `Trajectory` where there are no rewards.

    :raises MissingExtraError: `imitation` is not installed
    """
    require_actions(demonstrations, "imitation")
    types = _import_types()
    trajectories = []
    for episode in demonstrations.episodes():
        fields = {
            "obs": types.maybe_wrap_in_dictobs(episode.observations),
            "acts": episode.actions,
            "infos": np.array([{}] * (len(episode) - 1) + [info_of(episode)], dtype=object),
            "terminal": episode.terminated or episode.truncated,
        }
        if episode.rewards is None:
            trajectories.append(types.Trajectory(**fields))
        else:
            rewards = _as_floats(episode.rewards)
            trajectories.append(types.TrajectoryWithRew(**fields, rews=rewards))
    return trajectories


def to_transitions(demonstrations: Demonstrations) -> Transitions:
    """All steps as one `TransitionsWithRew`, or `Transitions` where there are no rewards.

    :raises MissingExtraError: `imitation` is not installed
    """
    require_actions(demonstrations, "imitation")
    types = _import_types()
    index = np.arange(len(demonstrations))
    infos = np.array([{} for _ in index], dtype=object)
    infos[demonstrations.offsets[1:] - 1] = [
        info_of(episode) for episode in demonstrations.episodes()
    ]
    fields = {
        "obs": types.maybe_wrap_in_dictobs(demonstrations.observations_at(index)),
        "acts": demonstrations.actions,
        "infos": infos,
        "next_obs": types.maybe_wrap_in_dictobs(demonstrations.next_observations_at(index)),
        "dones": demonstrations.terminations | demonstrations.truncations,
    }
    if demonstrations.rewards is None:
        return types.Transitions(**fields)
    return types.TransitionsWithRew(**fields, rews=_as_floats(demonstrations.rewards))


def _import_types() -> Any:
    try:
        from imitation.data import types
    except ImportError as error:
        raise MissingExtraError(
            "trajectories and transitions are types of the package 'imitation': "
            f"pip install 'sb3_il_plus[imitation]' ({error})"
        ) from error
    return types


def _is_trajectory(item: Any) -> bool:
    # By its attributes: importing `imitation` takes seconds, and whoever has one, has imported it.
    return all(hasattr(item, name) for name in ("obs", "acts", "infos", "terminal"))


def _from_trajectory(trajectory: Any) -> Episode:
    info = {} if trajectory.infos is None else trajectory.infos[-1]
    return Episode(
        _unwrap(trajectory.obs),
        np.asarray(trajectory.acts),
        getattr(trajectory, "rews", None),
        *ends_of(bool(trajectory.terminal), info),
    )


def _from_transitions(transitions: Any) -> list[Episode]:
    observations, following = _unwrap(transitions.obs), _unwrap(transitions.next_obs)
    acts, rewards = np.asarray(transitions.acts), getattr(transitions, "rews", None)
    if len(acts) == 0:
        raise DataError("the transitions are empty: demonstrations need at least one step")
    last = np.asarray(transitions.dones, dtype=bool) | breaks(observations, following)
    bounds = np.concatenate([[0], np.flatnonzero(last) + 1])
    return [
        Episode(
            col.concatenate(
                [
                    col.take(observations, slice(start, stop)),
                    col.take(following, slice(stop - 1, stop)),
                ]
            ),
            acts[start:stop],
            None if rewards is None else rewards[start:stop],
            *ends_of(bool(transitions.dones[stop - 1]), transitions.infos[stop - 1]),
        )
        for start, stop in pairwise(bounds)
    ]


def ends_of(terminal: bool, info: Any) -> tuple[bool, bool]:
    """What a trajectory's `terminal` and its last info say: terminated and truncated."""
    info = info or {}
    terminated = terminal and not info.get(_TRUNCATED, True)
    truncated = terminal and (not terminated or bool(info.get(_TRUNCATED_TOO)))
    return terminated, truncated


def info_of(episode: Episode) -> dict[str, bool]:
    """The info of an episode's last step."""
    if not (episode.terminated or episode.truncated):
        return {}
    info = {_TRUNCATED: not episode.terminated}
    return {**info, _TRUNCATED_TOO: True} if episode.terminated and episode.truncated else info


def _unwrap(observations: Any) -> Columns:
    """From `imitation`'s `DictObs` to a dict."""
    unwrap = getattr(observations, "unwrap", None)
    return col.as_columns(observations if unwrap is None else unwrap())


def _as_floats(rewards: np.ndarray) -> np.ndarray:
    return rewards if rewards.dtype.kind == "f" else rewards.astype(np.float64)
