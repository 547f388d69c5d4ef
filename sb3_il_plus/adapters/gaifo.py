"""GAIfO, GAIL from observation alone, as an SB3 algorithm: the discriminator sees no actions."""

from __future__ import annotations

from typing import Any, Unpack

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.adapters.adversarial import AdversarialArguments
from sb3_il_plus.adapters.gail import GAIL
from sb3_il_plus.adapters.reward_forms import RewardForm
from sb3_il_plus.errors import InapplicableError, UserError


class GAIfOArguments(AdversarialArguments, total=False):
    """Constructor arguments that GAIfO passes through (see `GAIL`)."""

    reward_form: RewardForm


class GAIfO(GAIL):
    """Generative adversarial imitation from observation (Torabi, Warnell and Stone 2018, Alg. 1).

    The discriminator D(s, s') judges what a step led to and not what was done, so demonstrations
    need no actions, and any that they have are never read. All else is GAIL.

    :param policy: policy alias or class of the generator
    :param env: where the generator acts; its own rewards are never used
    :param demonstrations: the expert's states, with or without actions
    :param kwargs: see `GAIL` and `AdversarialAlgorithm`. The `reward_net_kwargs` cannot have
        `use_action`, and `bc_warm_start` would need actions to clone
    :raises InapplicableError: an argument needs the expert's actions
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        _init_setup_model: bool = True,
        **kwargs: Unpack[GAIfOArguments],
    ) -> None:
        given = kwargs.get("reward_net_kwargs") or {}
        kwargs["reward_net_kwargs"] = {"use_action": False, "use_next_state": True, **given}
        if given.get("use_action"):
            raise UserError("reward_net_kwargs has use_action=True, but GAIfO sees no actions")
        if kwargs.get("bc_warm_start"):
            raise InapplicableError(
                "bc_warm_start clones the expert's actions, which GAIfO never reads; train bco and "
                "load its policy with set_parameters(), or use gail"
            )
        super().__init__(policy, env, demonstrations, _init_setup_model=_init_setup_model, **kwargs)
