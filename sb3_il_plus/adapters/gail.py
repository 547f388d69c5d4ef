"""GAIL (`imitation.algorithms.adversarial.gail`) as an SB3 algorithm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Unpack

from imitation.rewards.reward_nets import BasicRewardNet, RewardNet
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.adapters.adversarial import AdversarialAlgorithm, AdversarialArguments
from sb3_il_plus.adapters.discriminator import DiscriminatorTrainer, GAILTrainer
from sb3_il_plus.adapters.reward_features import FeaturesRewardNet, needs_features
from sb3_il_plus.adapters.reward_forms import FORMS, RewardForm
from sb3_il_plus.errors import UserError


class GAIL(AdversarialAlgorithm):
    """Generative adversarial imitation learning (Ho and Ermon 2016, Algorithm 1).

    The discriminator D(s, a) is a classifier with label 1 for the expert, and the generator's
    reward is −log(1 − D). The paper writes D for the probability of the generator, so its cost
    log D is the same thing. It uses TRPO (`generator="trpo"`); the default here is PPO.

    :param policy: policy alias or class of the generator
    :param env: where the generator acts; its own rewards are never used
    :param demonstrations: the expert's transitions
    :param reward_form: `"gail"` for −log(1 − D), `"log_d"`, `"airl"` for log D − log(1 − D), or
        `"fairl"` (see `reward_forms.py`)
    :param kwargs: see `AdversarialAlgorithm`
    :raises InapplicableError: the generator does not suit the algorithm or the spaces
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        reward_form: RewardForm = "gail",
        _init_setup_model: bool = True,
        **kwargs: Unpack[AdversarialArguments],
    ) -> None:
        if reward_form not in FORMS:
            raise UserError(f"reward_form={reward_form!r} must be one of {', '.join(FORMS)}")
        self.reward_form: RewardForm = reward_form
        super().__init__(policy, env, demonstrations, _init_setup_model=_init_setup_model, **kwargs)

    def _default_reward_net(self) -> Callable[..., RewardNet]:
        return FeaturesRewardNet if needs_features(self._reward_space) else BasicRewardNet

    def _trainer_class(self) -> Callable[..., DiscriminatorTrainer]:
        return partial(GAILTrainer, reward_form=self.reward_form)
