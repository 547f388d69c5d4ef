"""Gaussian policies: the one of IQL and AWAC, and the logarithms of densities.

`GaussianPolicy` is SB3's `SACPolicy` with another actor, so SB3's `SAC` goes on with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, Actor, SACPolicy
from torch import nn

from sb3_il_plus.errors import InapplicableError

STATE_FREE_LOG_STD = (-5.0, 2.0)
"""Within which the logarithm of a `GaussianActor`'s deviation is kept, as in the code of IQL."""

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class GaussianActor(Actor):
    """An actor whose mean ends in a tanh, and whose deviation is the same in all states.

    Actions are not squashed but clipped to [-1, 1], so that the data's actions have a density even
    at the bounds. Arguments are those of SAC's `Actor`.
    """

    mu: Any
    log_std: nn.Parameter

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.use_sde:
            raise InapplicableError("use_sde=True is for SAC's own actor, not for a Gaussian one")
        del self.log_std
        self.log_std = nn.Parameter(th.zeros(self.mu.out_features))

    def get_action_dist_params(self, obs: Any) -> tuple[th.Tensor, th.Tensor, dict[str, Any]]:
        """Mean and logarithm of the deviation, shape (B, action dimension) each."""
        latent = self.latent_pi(self.extract_features(obs, self.features_extractor))
        mean = th.tanh(self.mu(latent))
        return mean, self.log_std.clamp(*STATE_FREE_LOG_STD).expand_as(mean), {}

    def forward(self, obs: Any, deterministic: bool = False) -> th.Tensor:
        """Actions in [-1, 1], shape (B, action dimension)."""
        mean, log_std, _ = self.get_action_dist_params(obs)
        if deterministic:
            return mean
        return (mean + log_std.exp() * th.randn_like(mean)).clamp(-1.0, 1.0)

    def action_log_prob(self, obs: Any) -> tuple[th.Tensor, th.Tensor]:
        """Sampled actions and the logarithm of their density, as SB3's `SAC` asks for them."""
        mean, log_std, _ = self.get_action_dist_params(obs)
        actions = mean + log_std.exp() * th.randn_like(mean)
        return actions.clamp(-1.0, 1.0), gaussian_log_prob(actions, mean, log_std)


class GaussianPolicy(SACPolicy):
    """SAC's policy with a `GaussianActor`."""

    aliases: ClassVar[dict[str, type[BasePolicy]]]

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> GaussianActor:
        """Build the actor, as SB3's policies do."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return GaussianActor(**kwargs).to(self.device)


GaussianPolicy.aliases = dict.fromkeys(SAC.policy_aliases, GaussianPolicy)


def as_sacs(state: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of a `GaussianPolicy` as those of a `SACPolicy` with the same deterministic actions.

    SAC's deviation depends on the state and is that of an action before its tanh; here all but its
    bias is zero.

    :param state: the policy's `state_dict`
    """
    converted = dict(state)
    log_std = converted.pop("actor.log_std").clamp(*STATE_FREE_LOG_STD)
    converted["actor.log_std.weight"] = th.zeros_like(converted["actor.mu.weight"])
    converted["actor.log_std.bias"] = log_std
    return converted


def gaussian_log_prob(actions: th.Tensor, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """Logarithm of a diagonal Gaussian's density, shape (B,).

    :param actions: shape (B, action dimension), as are the others
    """
    normal = (actions - mean) * (-log_std).exp()
    constant = log_std.sum(-1) + actions.shape[-1] * _LOG_SQRT_2PI
    return -0.5 * normal.square().sum(-1) - constant


def clipped_sample(mean: th.Tensor, log_std: th.Tensor, noise: th.Tensor) -> th.Tensor:
    """Actions of a `GaussianActor`: mean + deviation * noise, within [-1, 1]."""
    return (mean + log_std.exp() * noise).clamp(-1.0, 1.0)


def squashed_sample(
    mean: th.Tensor, log_std: th.Tensor, noise: th.Tensor
) -> tuple[th.Tensor, th.Tensor]:
    """SAC's actions tanh(mean + deviation * noise), and the logarithm of their density.

    :param noise: standard normal, shape (..., action dimension), as the actions
    :return: actions, and shape (...)
    """
    actions = th.tanh(mean + log_std.exp() * noise)
    density = -(0.5 * noise.square() + log_std + _LOG_SQRT_2PI)
    # The small number is SB3's, against the logarithm of 0.
    return actions, (density - (1.0 - actions.square() + 1e-6).log()).sum(-1)


def squashed_params(outputs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Mean and logarithm of the deviation, from what a stacked actor of SAC's kind gives."""
    mean, log_std = outputs.chunk(2, -1)
    return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
