"""Let an expert act in vectorised environments and record what it does.

What is recorded is always raw: observations and rewards as they are below any `VecNormalize`, whose
statistics are left as they were. Episodes are spread evenly over the copies of the environment
beforehand, as in SB3's `evaluate_policy`; taking the first ones that end would prefer short ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.masks import masks_for
from sb3_il_plus.data.metadata import library_versions
from sb3_il_plus.data.recorder import EpisodeRecorder, RawTap, tapped
from sb3_il_plus.errors import UserError
from sb3_il_plus.evaluation import frozen, global_seed, opened
from sb3_il_plus.experts.expert import Expert, as_expert
from sb3_il_plus.randomness import child_seed, fresh_seed


def collect(
    expert: Any,
    env: str | gym.Env | VecEnv,
    n_episodes: int | None = None,
    n_timesteps: int | None = None,
    *,
    deterministic: bool = True,
    seed: int | None = None,
    n_envs: int = 1,
    progress_bar: bool = False,
) -> Demonstrations:
    """Record demonstrations of an expert.

    :param expert: an `Expert`, anything with SB3's `predict`, or a function of one raw observation.
        An `Expert` and a function are given raw observations; anything else is given what `env`
        yields where that has a `VecNormalize`, and otherwise raw observations through its own one.
        One that reads action masks (`MaskablePPO`) is given those of `env`, and they are recorded
    :param env: id (closed again at the end), `Env` or `VecEnv` (reset, and left where it stopped)
    :param n_episodes: whole episodes to record, `n_episodes // n_envs` or one more in each copy;
        in the order first episode of each copy, second episode of each copy, and so on
    :param n_timesteps: steps to record instead, exactly; an episode that is cut because they are
        reached neither terminated nor was truncated, and stands at the end
    :param deterministic: the most likely actions instead of sampled ones
    :param seed: of the environments and of sampled actions; the same seed gives the same data, and
        one that was drawn is kept in the metadata
    :param n_envs: copies to run, where `env` is an id
    :param progress_bar: show one
    :return: demonstrations with rewards; the metadata names environment, expert and seed
    :raises DataError: the expert returned no action of the action space
    :raises InapplicableError: the expert was made for other spaces
    :raises UserError: not exactly one of `n_episodes` and `n_timesteps` is given
    """
    with collecting(progress_bar, *_amount(n_episodes, n_timesteps)) as advance:
        (recorded,) = collect_pieces(
            expert,
            env,
            n_episodes,
            n_timesteps,
            deterministic=deterministic,
            seed=seed,
            n_envs=n_envs,
            advance=advance,
        )
    return recorded


def collect_pieces(
    expert: Any,
    env: str | gym.Env | VecEnv,
    n_episodes: int | None = None,
    n_timesteps: int | None = None,
    *,
    deterministic: bool = True,
    seed: int | None = None,
    n_envs: int = 1,
    piece_steps: int | None = None,
    advance: Callable[[int], None] = lambda amount: None,
) -> Iterator[Demonstrations]:
    """`collect` piece by piece, so that more can be recorded than the memory holds.

    :param piece_steps: a piece ends with the first episode that ends after so many steps; None for
        a single piece
    :param advance: called with how many episodes, or steps, were recorded since the last call
    :return: a stream of pieces with equal metadata; the other parameters are those of `collect`
    """
    amount, unit = _amount(n_episodes, n_timesteps)
    if n_envs != 1 and not isinstance(env, str):
        raise UserError(
            f"n_envs={n_envs} needs an environment id to make copies of; "
            "a VecEnv brings its own number"
        )
    seed = fresh_seed() if seed is None else seed
    with opened(env, n_envs) as venv, frozen(venv), tapped(venv) as (venv, tap):
        actor = _actor(expert, venv, tap)
        venv.seed(child_seed(seed, "demonstrations"))
        metadata = {
            "env_id": env if isinstance(env, str) else _env_id(venv),
            "expert": actor.name,
            "seed": seed,
            "deterministic": deterministic,
            "versions": library_versions(),
        }
        quota = _Quota(amount, venv.num_envs, of_episodes=unit == "episodes")
        recording = _Recording(actor, venv, tap, quota, deterministic)
        for number in count():
            # The global generators are borrowed for one piece at a time, never across a `yield`.
            with global_seed(seed if number == 0 else child_seed(seed, f"piece {number}")):
                recording.run(piece_steps, advance)
            piece = recording.take(metadata)
            if piece is not None:
                yield piece
            if not quota.open.any():
                return


class _Recording:
    """An actor in an environment, run for a while at a time.

    :param quota: how much there is to record
    """

    def __init__(
        self, actor: Expert, venv: VecEnv, tap: RawTap, quota: _Quota, deterministic: bool
    ) -> None:
        self._actor, self._venv, self._tap, self._quota = actor, venv, tap, quota
        self._deterministic = deterministic
        self._recorder = EpisodeRecorder(tap.observation_space, tap.action_space)
        self._masks = masks_for(actor, venv)
        self._observations: Any = None
        self._state: Any = None
        self._starts = np.ones(venv.num_envs, dtype=bool)

    def run(self, n_steps: int | None, advance: Callable[[int], None]) -> None:
        """Go on until the quota is met, or an episode ends after `n_steps` steps."""
        if self._observations is None:
            self._observations = self._venv.reset()
            self._recorder.reset(self._tap.raw_observations)
        n_recorded, quota = 0, self._quota
        while quota.open.any():
            n_recorded += int(quota.open.sum())
            advance(self._step())
            if n_steps is not None and n_recorded >= n_steps and self._starts.any():
                return

    def take(self, metadata: dict[str, Any]) -> Demonstrations | None:
        """The episodes that have ended since the last call, and at the end what is unfinished."""
        at_end = not self._quota.open.any()
        recorded = self._recorder.demonstrations(
            keep_unfinished=at_end and not self._quota.of_episodes, metadata=metadata
        )
        if recorded is None:
            return None
        self._recorder.forget_finished()
        return recorded[self._quota.in_turn(recorded.n_episodes)].validate()

    def _step(self) -> int:
        quota, tap = self._quota, self._tap
        masks = None if self._masks is None else self._masks()
        actions, self._state = self._actor.predict(
            tap.raw_observations if self._actor.raw_observations else self._observations,
            state=self._state,
            episode_start=self._starts,
            deterministic=self._deterministic,
            action_masks=masks,
        )
        actions = _clipped(actions, tap.action_space)
        self._observations, _, self._starts, _ = self._venv.step(actions)
        self._recorder.add(actions, *tap.raw_step, recording=quota.open, action_masks=masks)
        return quota.count(self._starts)


def _amount(n_episodes: int | None, n_timesteps: int | None) -> tuple[int, str]:
    """How much to record, and of what."""
    given = {"n_episodes": n_episodes, "n_timesteps": n_timesteps}
    amounts = {name: amount for name, amount in given.items() if amount is not None}
    if len(amounts) != 1:
        raise UserError("give either n_episodes=... or n_timesteps=...")
    ((name, amount),) = amounts.items()
    if amount < 1:
        raise UserError(f"{name}={amount} must be at least 1")
    return amount, "episodes" if name == "n_episodes" else "steps"


class _Quota:
    """How many episodes, or steps, each copy of the environment has yet to give."""

    def __init__(self, amount: int, n_envs: int, of_episodes: bool) -> None:
        self.of_episodes = of_episodes
        self._left = (amount + np.arange(n_envs)) // n_envs
        self._n_finished = [0] * n_envs
        self._finished: list[tuple[int, int]] = []
        """Of each episode finished since `in_turn`: its number within its copy, and the copy."""

    @property
    def open(self) -> np.ndarray:
        """Shape (n_envs,): the copies that are still recorded."""
        return self._left > 0

    def count(self, dones: np.ndarray) -> int:
        """Note one step of every copy, and return how many units it gave."""
        finished = self.open & dones
        for copy in np.flatnonzero(finished).tolist():
            self._finished.append((self._n_finished[copy], copy))
            self._n_finished[copy] += 1
        given = finished if self.of_episodes else self.open
        self._left = self._left - given
        return int(given.sum())

    def in_turn(self, n_episodes: int) -> list[int]:
        """Order the episodes by their number within their copy; fragments stay at the end.

        In the order in which they end, the first ones would be the short ones.
        """
        finished, self._finished = self._finished, []
        whole = sorted(range(len(finished)), key=finished.__getitem__)
        return [*whole, *range(len(whole), n_episodes)]


def _actor(expert: Any, venv: VecEnv, tap: RawTap) -> Expert:
    normalizer = unwrap_vec_normalize(venv)
    normalized = normalizer is not None and normalizer.norm_obs
    if isinstance(expert, Expert) or not normalized or not hasattr(expert, "predict"):
        return as_expert(expert, tap.observation_space, tap.action_space)
    actor = Expert(expert, venv.observation_space, venv.action_space, name=type(expert).__name__)
    actor.raw_observations = False
    return actor


def _clipped(actions: np.ndarray, space: spaces.Space) -> np.ndarray:
    """Continuous actions within the bounds, which rounding may exceed."""
    if isinstance(space, spaces.Box):
        return np.clip(actions, space.low, space.high)
    return actions


def _env_id(venv: VecEnv) -> str | None:
    try:
        spec = venv.get_attr("spec")[0]
    except (AttributeError, NotImplementedError):  # a VecEnv that is no stack of gymnasium's
        return None
    return None if spec is None else str(spec.id)


@contextmanager
def collecting(shown: bool, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar, if `shown`; gives what to call with how much was collected."""
    if not shown:
        yield lambda amount: None
        return
    from rich.progress import MofNCompleteColumn, Progress

    with Progress(*Progress.get_default_columns(), MofNCompleteColumn()) as bar:
        task = bar.add_task(f"Collecting {unit}", total=total)
        yield lambda amount: bar.advance(task, amount)
