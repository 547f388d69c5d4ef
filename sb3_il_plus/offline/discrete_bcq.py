"""Discrete BCQ: double DQN among the choices that the data makes often enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch as th
import torch.nn.functional as F
from stable_baselines3 import DQN
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.dqn.policies import DQNPolicy
from torch import nn

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.actor_critic import minimize
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.discrete import ChoiceCritics, DiscreteArguments, QLearning, of_choices


class BCQPolicy(DQNPolicy):
    """DQN's policy with a network that imitates, which rules out what the data seldom does.

    :param threshold: probability of a choice, relative to the likeliest one, below which it is out
    """

    aliases: ClassVar[dict[str, type[BasePolicy]]]

    def __init__(self, *args: Any, threshold: float = 0.3, **kwargs: Any) -> None:
        self.threshold = threshold
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        n_features, n_choices = self.q_net.features_dim, int(self.q_net.action_space.n)
        layers = create_mlp(n_features, n_choices, self.net_arch, self.activation_fn)
        self.imitation_net = nn.Sequential(*layers)

    def _predict(self, obs: Any, deterministic: bool = True) -> th.Tensor:
        features = self.q_net.extract_features(obs, self.q_net.features_extractor)
        values, logits = self.q_net.q_net(features), self.imitation_net(features)
        return best_allowed(values, logits, self.threshold)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "threshold": self.threshold}


BCQPolicy.aliases = dict.fromkeys(DQN.policy_aliases, BCQPolicy)


class DiscreteBCQ(QLearning):
    """Discrete BCQ (Fujimoto, Conti, Ghavamzadeh and Pineau 2019, arXiv:1910.01708).

    Batch-constrained Q-learning, algorithm 1: a network G imitates the data, and the target and the
    policy take the best of the choices whose G(a | s) / max G(. | s) exceeds a threshold.

    As in the authors' code for vectors, both networks are their own and share an optimiser, and
    logits are regularised. The `DQN` that `to_sb3` gives acts among the same choices, with G as it
    is, and needs this package to be loaded.

    :param policy: `MlpPolicy`, which is `BCQPolicy`: DQN's with a network that imitates
    :param env: optional
    :param demonstrations: data with rewards and Discrete actions
    :param threshold: its tau: 0 for double DQN, towards 1 for cloning; 0.3 in the paper.
        `BCQ_threshold` in the authors' code, `action_flexibility` in d3rlpy
    :param logit_weight: of the mean squared logit of G; 0.01 in the authors' code, `beta` in d3rlpy
    :param batch_size: 64 in the authors' code for vectors
    :param kwargs: see `DiscreteAlgorithm` and `OfflineAlgorithm`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = BCQPolicy.aliases

    def __init__(  # type: ignore[misc]  # one default is not that of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        threshold: float = 0.3,
        logit_weight: float = 0.01,
        batch_size: int = 64,
        _init_setup_model: bool = True,
        **kwargs: Unpack[DiscreteArguments],
    ) -> None:
        if not 0 <= threshold < 1:
            raise UserError(f"threshold={threshold} must lie within [0, 1)")
        self.threshold = threshold
        self.logit_weight = logit_weight
        super().__init__(policy, env, demonstrations, batch_size=batch_size, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _build_policy_kwargs(self) -> dict[str, Any]:
        return {**super()._build_policy_kwargs(), "threshold": self.threshold}

    def _trained_parameters(self) -> list[nn.Parameter]:
        self.imitation = ChoiceCritics(self.policy.imitation_net)
        return [*super()._trained_parameters(), self.imitation.flat]

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        with th.no_grad():
            best = best_allowed(
                self.critics.fixed_values(batch.next_observations)[0],
                self.imitation.fixed_values(batch.next_observations)[0],
                self.threshold,
            )
            values = self.target_critics.fixed_values(batch.next_observations)
            target = batch.rewards + batch.discounts * of_choices(values, best)[0]
        values = of_choices(self.critics.values(batch.observations), batch.actions)
        critic_loss = F.smooth_l1_loss(values[0], target)
        logits = self.imitation.values(batch.observations)[0]
        imitation_loss = F.cross_entropy(logits, batch.actions)
        regularizer = self.logit_weight * logits.square().mean()
        minimize(critic_loss + imitation_loss + regularizer, self.policy.optimizer)
        self._follow_targets()
        return {
            "critic_loss": critic_loss,
            "imitation_loss": imitation_loss,
            "q_value": target.mean(),
        }


def best_allowed(values: th.Tensor, logits: th.Tensor, threshold: float) -> th.Tensor:
    """The best of the choices that are likely enough, shape (B,) (algorithm 1).

    :param values: shape (B, choices)
    :param logits: of the data's choices, shape (B, choices)
    :param threshold: what a choice's probability, relative to the likeliest one's, must exceed
    """
    relative = logits - logits.amax(-1, keepdim=True)
    too_rare = relative <= (math.log(threshold) if threshold > 0 else -math.inf)
    return values.masked_fill(too_rare, -math.inf).argmax(-1)
