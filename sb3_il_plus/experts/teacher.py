"""`Teacher`: a demonstrator that is asked about a whole round at once, such as a person.

An `Expert` answers in the middle of a step. A person cannot: they look at what the learner did
afterwards, or watch it and take over. A teacher therefore gets a round to arrange as it likes.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.data.demonstrations import Demonstrations


@dataclass(frozen=True)
class Lesson:
    """What a round has brought.

    :param demonstrations: the states that have a label, with the labels as actions; None if none
    :param n_steps: steps that were taken for it in the environment
    """

    demonstrations: Demonstrations | None
    n_steps: int


class Teacher(abc.ABC):
    """Gives a lesson in each round."""

    @abc.abstractmethod
    def teach(
        self,
        round_num: int,
        n_steps: int,
        drive: Callable[[], Demonstrations],
        act: Callable[[Any], np.ndarray],
    ) -> Lesson:
        """Have a round driven, and say what should have been done.

        A round that was interrupted is asked for again, under the same number.

        :param round_num: counts from 0
        :param n_steps: steps that the round shall have
        :param drive: lets the learner drive alone; what it did is not in the actions
        :param act: the learner's action in one observation, for a teacher that drives along
        """

    def watch(self, venv: VecEnv) -> None:  # noqa: B027 (most have nothing to do)
        """Called before each step of `drive`, with the environment as the learner sees it."""
