"""`BCQPolicy`: proposes actions that the data could have, changes them a little, takes the best."""

from __future__ import annotations

from typing import Any, ClassVar

import torch as th
from stable_baselines3 import TD3
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import nn

LATENT_CLIP = 0.5
"""Largest size of the latent numbers that actions are decoded from, as in the authors' code."""


class VAE(nn.Module):
    """A variational auto-encoder of actions in states (Kingma and Welling 2014).

    :param n_features: of an observation
    :param action_dim: components of an action
    :param net_arch: hidden layers of the encoder and of the decoder
    """

    optimizer: Any

    def __init__(self, n_features: int, action_dim: int, net_arch: list[int]) -> None:
        super().__init__()
        self.latent_dim = 2 * action_dim
        self.encoder = nn.Sequential(*create_mlp(n_features + action_dim, -1, net_arch))
        self.mean = nn.Linear(net_arch[-1], self.latent_dim)
        self.log_std = nn.Linear(net_arch[-1], self.latent_dim)
        layers = create_mlp(n_features + self.latent_dim, action_dim, net_arch, squash_output=True)
        self.decoder = nn.Sequential(*layers)


class PerturbingActor(Actor):
    """TD3's actor, which is shown an action, too, and gives the direction in which to change it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        action_dim = get_action_dim(self.action_space)
        layers = create_mlp(
            self.features_dim + action_dim,
            action_dim,
            self.net_arch,
            self.activation_fn,
            squash_output=True,
        )
        self.mu = nn.Sequential(*layers)


class BCQPolicy(TD3Policy):
    """TD3's policy with a `VAE`, and an actor that perturbs the actions which that decodes.

    It decodes several actions, perturbs them, and takes the one that the first critic values most.
    What they are decoded from is drawn anew each time; with `deterministic=True` it is what was
    drawn when the policy was made, which is saved with it.

    :param args: see `TD3Policy`
    :param phi: largest change of an action's component
    :param n_action_samples: actions to choose from
    :param vae_arch: hidden layers of encoder and decoder; two of 750 in the authors' code
    :param kwargs: see `TD3Policy`
    """

    aliases: ClassVar[dict[str, type[BasePolicy]]]
    latents: th.Tensor

    def __init__(
        self,
        *args: Any,
        phi: float = 0.05,
        n_action_samples: int = 100,
        vae_arch: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        self._own_arguments = {
            "phi": phi,
            "n_action_samples": n_action_samples,
            "vae_arch": list(vae_arch or [750, 750]),
        }
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        own: Any = self._own_arguments
        action_dim = get_action_dim(self.action_space)
        self.vae = VAE(self.actor.features_dim, action_dim, own["vae_arch"])
        latents = th.randn(own["n_action_samples"], self.vae.latent_dim)
        self.register_buffer("latents", latents.clamp(-LATENT_CLIP, LATENT_CLIP))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self._own_arguments}

    def make_actor(
        self, features_extractor: BaseFeaturesExtractor | None = None
    ) -> PerturbingActor:
        """Build the actor, as SB3's policies do."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return PerturbingActor(**kwargs).to(self.device)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        features = self.actor.extract_features(observation, self.actor.features_extractor)
        latents = self.latents.expand(len(features), -1, -1)
        if not deterministic:
            latents = th.randn_like(latents).clamp(-LATENT_CLIP, LATENT_CLIP)
        features = features[:, None].expand(-1, latents.shape[1], -1)
        actions = self.vae.decoder(th.cat([features, latents], -1))
        direction = self.actor.mu(th.cat([features, actions], -1))
        phi: Any = self._own_arguments["phi"]
        actions = perturbed(actions, direction, phi)
        values = self.critic.q_networks[0](th.cat([features, actions], -1))
        return actions[th.arange(len(actions)), values[:, :, 0].argmax(1)]


BCQPolicy.aliases = dict.fromkeys(TD3.policy_aliases, BCQPolicy)


def perturbed(actions: th.Tensor, direction: th.Tensor, phi: float) -> th.Tensor:
    """Actions, changed by `phi` times a direction, within [-1, 1]."""
    return (actions + phi * direction).clamp(-1.0, 1.0)
