"""AIRL (`imitation.algorithms.adversarial.airl`) as an SB3 algorithm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from imitation.algorithms.adversarial.airl import STOCHASTIC_POLICIES
from imitation.rewards.reward_nets import BasicShapedRewardNet, RewardNet
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_il_plus.adapters.absorbing import AbsorbingRewardNet
from sb3_il_plus.adapters.adversarial import AdversarialAlgorithm
from sb3_il_plus.adapters.discriminator import AIRLTrainer, DiscriminatorTrainer
from sb3_il_plus.adapters.reward_features import ShapedFeaturesRewardNet, needs_features
from sb3_il_plus.errors import InapplicableError


class AIRL(AdversarialAlgorithm):
    """Adversarial inverse reinforcement learning (Fu, Luo and Levine 2018, Algorithm 1).

    The discriminator's logit is f(s, a, s') − log π(a|s) with f = r(s, a) + γΦ(s') − Φ(s), so that
    the reward r can be told from its shaping and trained on again (`reward_net`). The generator
    maximises f. It has to be stochastic: PPO, A2C, TRPO or SAC, not TD3 or DQN.

    See `AdversarialAlgorithm` for the arguments. For a reward that depends on the state alone, as
    the paper's transfer experiments need it, pass `reward_net_kwargs={"use_action": False}`.
    """

    def _default_reward_net(self) -> Callable[..., RewardNet]:
        # Shaping leaves the optimal policy alone only under the discount that the generator uses.
        gamma = getattr(self.generator_model, "gamma", 0.99)
        seen = needs_features(self._reward_space)
        build = ShapedFeaturesRewardNet if seen else BasicShapedRewardNet
        return partial(build, discount_factor=gamma)

    def _trainer_class(self) -> Callable[..., DiscriminatorTrainer]:
        return AIRLTrainer

    def _build_generator(self, **arguments: Any) -> BaseAlgorithm:
        generator = super()._build_generator(**arguments)
        if not isinstance(generator.policy, STOCHASTIC_POLICIES):
            raise InapplicableError(
                f"AIRL needs the probability of an action, which {type(generator).__name__} does "
                "not have; use a stochastic generator such as 'ppo', 'trpo' or 'sac'"
            )
        if hasattr(generator.policy, "lstm_actor"):
            raise InapplicableError(
                "AIRL asks for the probability of single actions, and that of "
                f"{type(generator).__name__} depends on its memory; use 'ppo', or GAIL"
            )
        return generator

    @property
    def reward_net(self) -> RewardNet:
        """The learned reward r(s, a, s', done), without its shaping."""
        net = super().reward_net
        return net.unshaped() if isinstance(net, AbsorbingRewardNet) else net
