"""Percentage BC: behavioural cloning of the best episodes alone, the reference of offline RL."""

from __future__ import annotations

from typing import Any, Unpack

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.adapters.bc import BC, BCArguments
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError, UserError


class PercentileBC(BC):
    """%BC (Chen et al. 2021, arXiv:2106.01345, section 5.1): clone the best x % of the episodes.

    Episodes are ranked by their undiscounted return; at least one is kept. Where episodes hold what
    is to be done from beginning to end, this is hard to beat; offline RL can put parts of different
    ones together.

    The paper counts the best x % of the transitions; CORL, and this, those of the episodes.

    :param policy: as for `BC`
    :param env: optional
    :param demonstrations: data with rewards
    :param percentage: of the episodes, within (0, 100]; the paper has 10, 25, 40 and 100
    :param kwargs: see `BC`
    :raises DataError: the data has no rewards, or the best episodes fewer transitions than a batch
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        percentage: float = 10.0,
        _init_setup_model: bool = True,
        **kwargs: Unpack[BCArguments],
    ) -> None:
        if not 0 < percentage <= 100:
            raise UserError(f"percentage={percentage} must lie within (0, 100]")
        self.percentage = percentage
        super().__init__(policy, env, demonstrations, _init_setup_model=_init_setup_model, **kwargs)

    def set_demonstrations(self, demonstrations: Any) -> None:
        """Replace the data, whose best episodes are cloned; the policy and its optimiser stay."""
        data = Demonstrations.coerce(demonstrations, env=self)
        if data.rewards is None:
            raise DataError(
                "the demonstrations have no rewards, so nobody knows which episodes are the best: "
                "give rewards=... to Demonstrations.from_arrays, or clone all of them with BC"
            )
        super().set_demonstrations(data)

    def _to_learn_from(self, demonstrations: Demonstrations) -> Demonstrations:
        return demonstrations.top(self.percentage / 100)
