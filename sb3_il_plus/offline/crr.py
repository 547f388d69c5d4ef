"""CRR: a policy that imitates the actions that its critics find better than its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Unpack

import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.actor_critic import (
    ActorCritic,
    ActorCriticArguments,
    minimize,
    squared_error,
    stacked_actor,
)
from sb3_il_plus.offline.batch import Batch, Noise
from sb3_il_plus.offline.gaussian import (
    STATE_FREE_LOG_STD,
    GaussianPolicy,
    clipped_sample,
    gaussian_log_prob,
)


class CRR(ActorCritic):
    """CRR (Wang et al. 2020, arXiv:2006.15134): critic regularized regression.

    Algorithm 1: the critics learn the values of the target policy; the policy maximises
    f(s, a) log π(a | s), in which f is 1 where the advantage is not negative, or
    exp(advantage / beta). The advantage is Q(s, a) minus the mean, or the maximum, of
    `n_action_samples` of the policy's actions (section 3).

    The paper's networks are recurrent and residual, its policy a mixture of Gaussians, and its
    critic gives a distribution of returns. This one has d3rlpy's: perceptrons, one Gaussian and the
    mean of returns. The paper also resamples actions by their values when it acts (CWP), as d3rlpy
    does; here the policy acts itself, as SB3's `SAC` goes on with it. Batches are of 256,
    as elsewhere here, where d3rlpy has 100; the learning rate is d3rlpy's.

    :param policy: `MlpPolicy`, which is `GaussianPolicy`
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param weight_type: f: `"binary"`, or `"exp"` (d3rlpy's names)
    :param advantage_type: `"mean"` or `"max"`, of the policy's actions' values
    :param n_action_samples: m in the paper, where it is 4
    :param beta: temperature of `"exp"`; 1 in the paper
    :param max_weight: largest exp(advantage / beta); 20 in the paper
    :param n_critics: 1, as in the paper; the lowest value counts where there are several
    :param tau: part of the way that target networks go; 1, to copy them
    :param target_update_interval: updates from one such time to the next; 100 in the paper
    :param kwargs: see `ActorCritic` and `OfflineAlgorithm`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = GaussianPolicy.aliases
    online = SAC
    actor_target: Any

    def __init__(  # type: ignore[misc]  # one default is not that of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        weight_type: Literal["binary", "exp"] = "exp",
        advantage_type: Literal["mean", "max"] = "mean",
        n_action_samples: int = 4,
        beta: float = 1.0,
        max_weight: float = 20.0,
        n_critics: int = 1,
        tau: float = 1.0,
        target_update_interval: int = 100,
        _init_setup_model: bool = True,
        **kwargs: Unpack[ActorCriticArguments],
    ) -> None:
        check_crr_arguments(weight_type, advantage_type, beta)
        for name, value in (
            ("n_action_samples", n_action_samples),
            ("n_critics", n_critics),
            ("target_update_interval", target_update_interval),
        ):
            if value < 1:
                raise UserError(f"{name}={value} must be at least 1")
        self.weight_type = weight_type
        self.advantage_type = advantage_type
        self.n_action_samples = n_action_samples
        self.beta = beta
        self.max_weight = max_weight
        self.n_critics = n_critics
        self.target_update_interval = target_update_interval
        super().__init__(policy, env, demonstrations, tau=tau, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _build_policy_kwargs(self) -> dict[str, Any]:
        return {**super()._build_policy_kwargs(), "n_critics": self.n_critics}

    def _build_networks(self) -> None:
        super()._build_networks()
        self.actor_target = self.policy.make_actor()
        self.actor_target.load_state_dict(self.policy.actor.state_dict())
        self.target_actor = stacked_actor(self.actor_target)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, variables = super()._get_torch_save_params()
        return [*names, "actor_target"], variables

    def _noise(self) -> Mapping[str, Noise]:
        return {
            "target": Noise((self.action_dim,)),
            "policy": Noise((self.n_action_samples, self.action_dim)),
        }

    def _kind_of_update(self) -> bool:
        return (self._n_updates + 1) % self.target_update_interval == 0

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        target = self._target(batch)
        values = self.critics.values(batch.observations, batch.actions)
        critic_loss = squared_error(values, target)

        log_std = self.policy.actor.log_std.clamp(*STATE_FREE_LOG_STD)
        means = self.actor(batch.observations)
        with th.no_grad():
            actions = clipped_sample(means[:, None], log_std, batch.noise["policy"])
            advantages = values.amin(0) - self._baseline(batch.observations, actions)
            weights = crr_weights(advantages, self.weight_type, self.beta, self.max_weight)
        actor_loss = -(weights * gaussian_log_prob(batch.actions, means, log_std)).mean()
        minimize(critic_loss + actor_loss, *self._optimizers().values())
        if self._kind_of_update():
            self._follow_targets()
        return {
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "weight": weights.mean(),
            "q_value": target.mean(),
        }

    @th.no_grad()
    def _target(self, batch: Batch) -> th.Tensor:
        """r + γ min_i Q'_i(s', a') with an action of the target policy, shape (B,)."""
        log_std = self.actor_target.log_std.clamp(*STATE_FREE_LOG_STD)
        means = self.target_actor.frozen(batch.next_observations)
        actions = clipped_sample(means, log_std, batch.noise["target"])
        values = self.target_critics.fixed_values(batch.next_observations, actions)
        return batch.rewards + batch.discounts * values.amin(0)

    def _baseline(self, observations: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Mean or maximum of the values of several actions in each state, shape (B,).

        :param actions: shape (B, m, action dimension)
        """
        repeated = observations[:, None].expand(-1, actions.shape[1], -1)
        values = self.critics.fixed_values(repeated.flatten(0, 1), actions.flatten(0, 1))
        by_state = values.amin(0).view(actions.shape[:2])
        return by_state.mean(1) if self.advantage_type == "mean" else by_state.amax(1)

    @th.no_grad()
    def _follow_targets(self) -> None:
        self.target_critics.follow(self.critics, self.tau)
        self.target_actor.follow(self.actor, self.tau)
        self.actor_target.log_std.lerp_(self.policy.actor.log_std, self.tau)


def check_crr_arguments(weight_type: str, advantage_type: str, beta: float) -> None:
    """Refuse what is none of CRR's choices.

    :raises UserError: it is none
    """
    if weight_type not in ("binary", "exp"):
        raise UserError(f"weight_type={weight_type!r} must be 'binary' or 'exp'")
    if advantage_type not in ("mean", "max"):
        raise UserError(f"advantage_type={advantage_type!r} must be 'mean' or 'max'")
    if beta <= 0:
        raise UserError(f"beta={beta} must be greater than 0")


def crr_weights(
    advantages: th.Tensor, weight_type: str, beta: float, max_weight: float
) -> th.Tensor:
    """f of the advantages, shape (B,) (section 3).

    An advantage of 0 counts: where the policy has one choice alone, nothing is better than it.
    """
    if weight_type == "binary":
        return (advantages >= 0).float()
    return (advantages / beta).exp().clamp(max=max_weight)
