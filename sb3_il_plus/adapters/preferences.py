"""What preference comparisons are made of, beside `imitation`'s own parts.

When to ask (`comparisons_by_turn`), whom (`AskingGatherer`), what was answered so far, for files
(`ComparisonMemory`), and an environment that tells of the steps that upstream takes in it on its
own (`ToldVecEnv`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch as th
from imitation.algorithms import preference_comparisons as pc
from imitation.data.types import TrajectoryWithRew
from imitation.util.logger import HierarchicalLogger
from imitation.util.util import oric
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from torch import nn

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError, UserError

PreferenceFn = Callable[[TrajectoryWithRew, TrajectoryWithRew], float]
"""Two fragments -> 1 if the first is preferred, 0 if the second is, or a probability in between.

A fragment of T steps has `obs` of shape (T + 1, *observation shape), `acts` of shape (T, *action
shape), `infos`, what the environment said in each step, and `rews`, its rewards (T,).
"""


QuerySchedule = Literal["hyperbolic", "constant", "inverse_quadratic"] | Callable[[float], float]
"""How comparisons are spread over turns: a name of upstream's, or a function of the turn in [0, 1].
"""


def comparisons_by_turn(
    total: int, initial_frac: float, n_turns: int, schedule: QuerySchedule
) -> np.ndarray:
    """Comparisons to ask for in each turn, as upstream apportions them.

    :param total: of all turns together
    :param initial_frac: part of the first turn
    :param n_turns: turns that share the others
    :param schedule: see `QuerySchedule`
    :return: shape (n_turns + 1,)
    :raises UserError: there is no such schedule, or the first turn has none
    """
    if not callable(schedule) and schedule not in pc.QUERY_SCHEDULES:
        raise UserError(
            f"query_schedule={schedule!r} must be a function or one of "
            f"{', '.join(map(repr, pc.QUERY_SCHEDULES))}"
        )
    n_first = int(total * initial_frac)
    if not 0 <= initial_frac <= 1 or n_first < 1:
        raise UserError(
            f"initial_comparison_frac={initial_frac} of total_comparisons={total} must be at least "
            "one comparison, and at most all"
        )
    weigh = schedule if callable(schedule) else pc.QUERY_SCHEDULES[schedule]
    weights = np.array([weigh(turn) for turn in np.linspace(0, 1, n_turns)])
    return np.array([n_first, *oric(weights / weights.sum() * (total - n_first))])


class AskingGatherer(pc.PreferenceGatherer):
    """Asks a function, and so maybe a person, about one pair of fragments after the other.

    :param ask: see `PreferenceFn`
    :param custom_logger: where upstream logs to
    """

    def __init__(self, ask: PreferenceFn, custom_logger: HierarchicalLogger) -> None:
        super().__init__(custom_logger=custom_logger)
        self.ask = ask

    def __call__(
        self, fragment_pairs: Sequence[tuple[TrajectoryWithRew, TrajectoryWithRew]]
    ) -> np.ndarray:
        """Preferences for the first of each pair, shape (pairs,).

        :raises UserError: an answer is no probability
        """
        answers = [self.ask(first, second) for first, second in fragment_pairs]
        for answer in answers:
            if not isinstance(answer, (bool, int, float, np.number)) or not 0 <= answer <= 1:
                raise UserError(
                    f"preference_fn returned {answer!r}; it must return 1 where the first fragment "
                    "is preferred, 0 where the second is, or a probability in between"
                )
        return np.array(answers, dtype=np.float32)


def as_episodes(
    demonstrations: Demonstrations, observe: Callable[[Any], Any]
) -> list[TrajectoryWithRew]:
    """Demonstrations in the form of what the agent does.

    :param observe: from raw observations to those that the environment shows
    :raises DataError: they have no rewards
    """
    if demonstrations.rewards is None:
        raise DataError("the demonstrations have no rewards, by which they are compared")
    return [
        TrajectoryWithRew(
            obs=observe(episode.observations),
            acts=episode.actions,
            rews=np.asarray(episode.rewards, dtype=np.float32),
            infos=None,
            terminal=episode.terminated or episode.truncated,
        )
        for episode in demonstrations.episodes()
    ]


class ComparisonMemory(nn.Module):
    """Upstream's data set of comparisons, as tensors in a model's file.

    :param dataset: what is written and read
    """

    def __init__(self, dataset: pc.PreferenceDataset) -> None:
        super().__init__()
        self._dataset = dataset

    def get_extra_state(self) -> dict[str, th.Tensor]:
        """All fragments one after the other, the first of each pair and then the second."""
        fragments = [*self._dataset.fragments1, *self._dataset.fragments2]
        if not fragments:
            return {}
        columns = {
            name: np.concatenate([getattr(fragment, name) for fragment in fragments])
            for name in ("obs", "acts", "rews")
        }
        columns["lengths"] = np.array([len(fragment) for fragment in fragments])
        columns["terminal"] = np.array([fragment.terminal for fragment in fragments])
        columns["preferences"] = self._dataset.preferences
        return {name: th.tensor(column) for name, column in columns.items()}

    def set_extra_state(self, state: dict[str, th.Tensor]) -> None:
        """Put back what `get_extra_state` returned."""
        fragments: list[TrajectoryWithRew] = []
        preferences = np.array([])
        if state:
            column = {name: tensor.numpy().copy() for name, tensor in state.items()}
            preferences = column["preferences"]
            ends = np.cumsum(column["lengths"])
            for number, (end, terminal) in enumerate(zip(ends, column["terminal"], strict=True)):
                start = end - column["lengths"][number]
                fragments.append(
                    TrajectoryWithRew(
                        obs=column["obs"][start + number : end + number + 1],
                        acts=column["acts"][start:end],
                        rews=column["rews"][start:end],
                        infos=None,
                        terminal=bool(terminal),
                    )
                )
        n_pairs = len(fragments) // 2
        self._dataset.fragments1, self._dataset.fragments2 = (
            fragments[:n_pairs],
            fragments[n_pairs:],
        )
        self._dataset.preferences = preferences


class ToldVecEnv(VecEnvWrapper):
    """An environment that tells of its steps while somebody wants to know.

    :param venv: the environment
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.on_step: Callable[[np.ndarray, list[dict[str, Any]]], None] | None = None
        """Called with the dones and infos of each step; may raise to end whatever takes steps."""

    def reset(self) -> VecEnvObs:
        """Begin new episodes."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Finish a step, and tell of it."""
        result = self.venv.step_wait()
        if self.on_step is not None:
            self.on_step(result[2], result[3])
        return result
