"""Whether adversarial training is healthy: what is measured, and when a user is warned.

A generator learns from differences between rewards. There are none to learn from where the
discriminator is always right, however the generator acts, or where it pays the same for everything.
docs/gail_is_not_learning.md is the page for users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from imitation.rewards.reward_nets import PredictProcessedWrapper, RewardNet

SATURATED_ACCURACY = 0.98
"""A discriminator that is right more often than this, on both sides, is ahead of its generator."""

CONSTANT_STD = 1e-3
"""Rewards with a smaller standard deviation are constant; GAIL's begin around 0.1."""

PATIENCE = 10
"""Rounds in a row before a warning: at first, every discriminator is ahead for a while."""

PAGE = "docs/gail_is_not_learning.md"


class AdversarialHealthWarning(UserWarning):
    """The discriminator has been saturated, or its rewards constant, for `PATIENCE` rounds."""


class RewardScale(PredictProcessedWrapper):
    """Measures the rewards of new transitions as they pass, before they are normalised.

    :param base: the learned reward
    """

    def __init__(self, base: RewardNet) -> None:
        super().__init__(base)
        self._paid: list[np.ndarray] = []

    def predict_processed(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        done: np.ndarray,
        **kwargs: Any,
    ) -> np.ndarray:
        """Rewards of a batch of transitions, shape (n,)."""
        rewards: np.ndarray = self.base.predict_processed(state, action, next_state, done, **kwargs)
        if kwargs.get("update_stats", True):
            self._paid.append(rewards)
        return rewards

    def pop(self) -> dict[str, float]:
        """Mean, standard deviation, least and largest reward since the last call."""
        rewards = np.concatenate(self._paid)
        self._paid.clear()
        return {
            "reward_mean": float(rewards.mean()),
            "reward_std": float(rewards.std()),
            "reward_min": float(rewards.min()),
            "reward_max": float(rewards.max()),
        }


@dataclass(frozen=True)
class Round:
    """What one round says of its health.

    :param accuracy_expert: how often the discriminator takes the expert for the expert, in [0, 1]
    :param accuracy_generator: how often it takes the generator for the generator
    :param reward_std: standard deviation of the generator's rewards, before normalisation
    """

    accuracy_expert: float
    accuracy_generator: float
    reward_std: float

    @classmethod
    def of(cls, updates: Sequence[Mapping[str, float]], reward_std: float) -> Round:
        """Means over the updates of a round.

        :param updates: what upstream's `train_disc` returned for each
        """
        expert, generator = (
            float(np.mean([update[name] for update in updates]))
            for name in ("disc_acc_expert", "disc_acc_gen")
        )
        return cls(expert, generator, reward_std)


@dataclass
class HealthMonitor:
    """Counts unhealthy rounds in a row, and warns of each kind once.

    :param patience: unhealthy rounds in a row before a warning
    """

    patience: int = PATIENCE
    _in_a_row: dict[str, int] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set)

    def judge(self, this: Round) -> list[str]:
        """Take note of a round.

        :return: the warnings that are due
        """
        saturated = min(this.accuracy_expert, this.accuracy_generator) > SATURATED_ACCURACY
        # A saturated discriminator pays next to nothing everywhere; one cause, one warning.
        constant = not saturated and not this.reward_std >= CONSTANT_STD
        warnings = []
        if self._is_due("saturated", saturated):
            warnings.append(
                f"for {self.patience} rounds the discriminator has told expert from generator in "
                f"more than {SATURATED_ACCURACY:.0%} of the transitions of both (now "
                f"{this.accuracy_expert:.1%} and {this.accuracy_generator:.1%}), so nothing that "
                "the generator does is paid; try gradient_penalty=10, a smaller "
                f"n_disc_updates_per_round or disc_learning_rate, and see {PAGE}"
            )
        if self._is_due("constant", constant):
            warnings.append(
                f"for {self.patience} rounds the learned reward has been nearly constant (standard "
                f"deviation {this.reward_std:.2g}, below {CONSTANT_STD:g}): unless the generator "
                "already matches the expert, it has nothing to learn from; try a larger "
                f"disc_learning_rate or normalize_reward_inputs='demonstrations', and see {PAGE}"
            )
        return warnings

    def _is_due(self, kind: str, unhealthy: bool) -> bool:
        self._in_a_row[kind] = self._in_a_row.get(kind, 0) + 1 if unhealthy else 0
        due = self._in_a_row[kind] >= self.patience and kind not in self._warned
        if due:
            self._warned.add(kind)
        return due
