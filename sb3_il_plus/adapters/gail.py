"""GAIL (`imitation.algorithms.adversarial.gail`) as an SB3 algorithm."""

from __future__ import annotations

from collections.abc import Callable

from imitation.algorithms.adversarial.common import AdversarialTrainer
from imitation.algorithms.adversarial.gail import GAIL as UpstreamGAIL
from imitation.rewards.reward_nets import BasicRewardNet, RewardNet

from sb3_il_plus.adapters.adversarial import AdversarialAlgorithm


class GAIL(AdversarialAlgorithm):
    """Generative adversarial imitation learning (Ho and Ermon 2016, Algorithm 1).

    The discriminator D(s, a) is a classifier with label 1 for the expert, and the generator's
    reward is −log(1 − D). The paper writes D for the probability of the generator, so its cost
    log D is the same thing. It uses TRPO (`generator="trpo"`); the default here is PPO.

    See `AdversarialAlgorithm` for the arguments.
    """

    def _default_reward_net(self) -> Callable[..., RewardNet]:
        return BasicRewardNet

    def _trainer_class(self) -> type[AdversarialTrainer]:
        return UpstreamGAIL
