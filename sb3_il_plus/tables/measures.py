"""Measures: what claims need to know of a trained agent beside its return.

Each is a function of a `Subject` and gives one number; what a job calls it is its key in
`MEASURES`. Episodes are recorded anew, with a seed of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.collect import collect
from sb3_il_plus.diagnostics import compounding_error, covariate_shift
from sb3_il_plus.diagnostics.agreement import compare_actions
from sb3_il_plus.errors import DataError
from sb3_il_plus.experts.expert import Expert
from sb3_il_plus.randomness import child_seed


@dataclass(frozen=True)
class Subject:
    """An agent, and what it learned from.

    :param agent: what is measured; the expert itself, to know what chance gives
    :param demonstrations: of the agent's training
    :param environment: id
    :param n_episodes: to record
    :param seed: of these episodes
    """

    agent: Any
    expert: Expert
    demonstrations: Demonstrations
    environment: str
    n_episodes: int
    seed: int

    def episodes(self, agent: Any, name: str) -> Demonstrations:
        """Record an agent's most likely actions.

        :param name: recordings with the same one begin in the same states
        """
        return collect(
            agent, self.environment, n_episodes=self.n_episodes, seed=child_seed(self.seed, name)
        )


def shift(subject: Subject) -> float:
    """Mean distance of the visited states to those of the expert, see `covariate_shift`.

    In the expert's standard deviations; that of the expert to itself is what chance gives.
    """
    expert = subject.episodes(subject.expert, "of the expert")
    return covariate_shift(expert, subject.episodes(subject.agent, "of the agent")).mean


def regret_growth(subject: Subject) -> float:
    """Regret in the second half of an episode minus that in the first, see `compounding_error`.

    0 where each step costs the same, positive where errors compound: for a regret of c T^k, it is
    (1 - 2^(1-k)) times the whole. Both agents begin in the same states.
    """
    sides = [subject.episodes(each, "of both") for each in (subject.expert, subject.agent)]
    regret = compounding_error(*sides, n_resamples=1).regret
    return float(regret[-1] - 2 * regret[len(regret) // 2 - 1])


def copied_mistakes(subject: Subject) -> float:
    """Share of the demonstrated mistakes that the agent repeats rather than corrects.

    A mistake is a demonstrated action that is not the expert's in this state. It is repeated where
    the agent's own action is nearer to it than to the expert's.

    :raises DataError: no mistake was demonstrated
    """
    data = subject.demonstrations
    observations = data.observations_at(np.arange(len(data)))
    right, _ = subject.expert.predict(observations, deterministic=True)
    corrected = dataclasses.replace(data, actions=right.reshape(data.actions.shape))
    _, is_right = compare_actions(subject.expert, data)
    if is_right.all():
        raise DataError("the demonstrations hold no mistakes that could be copied")
    to_mistake, _ = compare_actions(subject.agent, data)
    to_right, _ = compare_actions(subject.agent, corrected)
    return float((to_mistake < to_right)[~is_right].mean())


MEASURES: Mapping[str, Callable[[Subject], float]] = {
    "covariate shift": shift,
    "regret growth": regret_growth,
    "copied mistakes": copied_mistakes,
}
