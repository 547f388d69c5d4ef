"""BCQ: takes the best of the actions that a model of the data's behaviour proposes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn, Unpack

import torch as th
import torch.nn.functional as F
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.offline.actor_critic import (
    ActorCritic,
    ActorCriticArguments,
    minimize,
    squared_error,
    stacked_actor,
)
from sb3_il_plus.offline.batch import Batch, Noise
from sb3_il_plus.offline.bcq_policy import LATENT_CLIP, BCQPolicy, perturbed
from sb3_il_plus.offline.stack import StackedMLP

_LOG_STD = (-4.0, 15.0)
"""Within which the logarithm of the encoder's deviation is kept, as in the authors' code."""


class BCQ(ActorCritic):
    """BCQ (Fujimoto, Meger and Precup 2019, arXiv:1812.02900): batch-constrained Q-learning.

    Algorithm 1: a variational auto-encoder learns which actions the data has in a state; an actor
    changes what it decodes by at most `phi`; the policy takes what the first critic values most.
    All defaults and the order of the updates are those of the authors' code.

    :param policy: `MlpPolicy`, which is `BCQPolicy` with hidden layers of 400 and 300; those of the
        auto-encoder are `policy_kwargs={"vae_arch": [750, 750]}`
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param phi: largest change of an action's component, in scaled actions; 0.05
    :param lam: λ of the soft clipped double Q-learning, equation 13: weight of the lowest value in
        the target, where the highest has the rest; 0.75, `lmbda` in the authors' code
    :param n_target_actions: actions of which the target takes the best; 10
    :param n_action_samples: actions of which the policy takes the best; 100 in the authors' code,
        10 in the paper
    :param kl_weight: of the divergence in the auto-encoder's loss; 0.5
    :param learning_rate: of all networks; 1e-3
    :param batch_size: 100
    :param kwargs: see `ActorCritic` and `OfflineAlgorithm`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = BCQPolicy.aliases
    default_net_arch: ClassVar[list[int]] = [400, 300]

    def __init__(  # type: ignore[misc]  # some defaults are not those of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        phi: float = 0.05,
        lam: float = 0.75,
        n_target_actions: int = 10,
        n_action_samples: int = 100,
        kl_weight: float = 0.5,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 100,
        _init_setup_model: bool = True,
        **kwargs: Unpack[ActorCriticArguments],
    ) -> None:
        if not 0 <= lam <= 1:
            raise UserError(f"lam={lam} must lie within [0, 1]")
        if n_target_actions < 1 or n_action_samples < 1:
            raise UserError(
                f"n_target_actions={n_target_actions} and n_action_samples={n_action_samples} must "
                "be at least 1"
            )
        self.phi = phi
        self.lam = lam
        self.n_target_actions = n_target_actions
        self.n_action_samples = n_action_samples
        self.kl_weight = kl_weight
        super().__init__(
            policy,
            env,
            demonstrations,
            learning_rate=learning_rate,
            batch_size=batch_size,
            **kwargs,
        )
        if _init_setup_model:
            self._setup_model()

    def _build_policy_kwargs(self) -> dict[str, Any]:
        own = {"phi": self.phi, "n_action_samples": self.n_action_samples}
        return {**super()._build_policy_kwargs(), **own}

    def _build_networks(self) -> None:
        super()._build_networks()
        vae = self.policy.vae
        self.target_actor = stacked_actor(self.policy.actor_target)
        self.encoder = StackedMLP([*vae.encoder, (vae.mean, vae.log_std)])
        self.decoder = StackedMLP(list(vae.decoder))
        vae.optimizer = self._build_optimizer(
            [self.encoder.flat, self.decoder.flat], "policy.vae.optimizer"
        )

    def _optimizers(self) -> Mapping[str, th.optim.Optimizer]:
        return {**super()._optimizers(), "policy.vae.optimizer": self.policy.vae.optimizer}

    def _noise(self) -> Mapping[str, Noise]:
        latent_dim = self.policy.vae.latent_dim
        return {
            "vae": Noise((latent_dim,)),
            "target": Noise((self.n_target_actions, latent_dim)),
            "policy": Noise((latent_dim,)),
        }

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        model_loss = self._vae_loss(batch)
        minimize(model_loss, self.policy.vae.optimizer)

        target = self._target(batch)
        values = self.critics.values(batch.observations, batch.actions)
        critic_loss = squared_error(values, target)
        self._minimize_critics(critic_loss)

        with th.no_grad():
            proposed = self._decode(batch.observations, batch.noise["policy"])
        direction = self.actor(th.cat([batch.observations, proposed], -1))
        actions = perturbed(proposed, direction, self.phi)
        actor_loss = -self.critics.fixed_values(batch.observations, actions, first=True).mean()
        self._minimize_actor(actor_loss)
        self.target_critics.follow(self.critics, self.tau)
        self.target_actor.follow(self.actor, self.tau)
        return {
            "vae_loss": model_loss,
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "q_value": target.mean(),
        }

    def _vae_loss(self, batch: Batch) -> th.Tensor:
        encoded = self.encoder(th.cat([batch.observations, batch.actions], -1))
        mean, log_std = encoded.chunk(2, -1)
        log_std = log_std.clamp(*_LOG_STD)
        latents = mean + log_std.exp() * batch.noise["vae"]
        decoded = self.decoder(th.cat([batch.observations, latents], -1))
        return vae_loss(decoded, batch.actions, mean, log_std, self.kl_weight)

    def _decode(self, observations: th.Tensor, noise: th.Tensor) -> th.Tensor:
        """Actions that the data could have, from standard normal numbers."""
        latents = noise.clamp(-LATENT_CLIP, LATENT_CLIP)
        return self.decoder.frozen(th.cat([observations, latents], -1))

    @th.no_grad()
    def _target(self, batch: Batch) -> th.Tensor:
        """r + γ max_a [λ min_i Q'_i(s', a) + (1 - λ) max_i Q'_i(s', a)], shape (B,)."""
        observations = batch.next_observations.repeat_interleave(self.n_target_actions, 0)
        proposed = self._decode(observations, batch.noise["target"].flatten(0, 1))
        direction = self.target_actor.frozen(th.cat([observations, proposed], -1))
        actions = perturbed(proposed, direction, self.phi)
        values = self.target_critics.fixed_values(observations, actions)
        best = soft_clipped(values, self.lam).view(-1, self.n_target_actions).amax(1)
        return batch.rewards + batch.discounts * best

    def _online_class(self) -> NoReturn:
        raise InapplicableError(
            "no SB3 algorithm can go on with the BCQPolicy of BCQ, which chooses among the actions "
            "of a model of the data; clone it with BC into a policy that one can, or train IQL"
        )


def vae_loss(
    decoded: th.Tensor,
    actions: th.Tensor,
    mean: th.Tensor,
    log_std: th.Tensor,
    kl_weight: float,
) -> th.Tensor:
    """Mean squared error, and the divergence from the standard normal distribution.

    Both are means over components, too, as in the authors' code.

    :param mean: of the latent numbers, shape (B, latent dimension), as is `log_std`
    """
    divergence = -0.5 * (1.0 + 2.0 * log_std - mean.square() - (2.0 * log_std).exp()).mean()
    return F.mse_loss(decoded, actions) + kl_weight * divergence


def soft_clipped(values: th.Tensor, lam: float) -> th.Tensor:
    """λ times the lowest value plus 1 - λ times the highest (equation 13), shape (B,).

    :param values: shape (N, B)
    """
    return lam * values.amin(0) + (1.0 - lam) * values.amax(0)
