"""Networks with layer norms, which keep values from growing where there is no data.

`LayerNormTD3Policy` is SB3's `TD3Policy` with other critics, so SB3's `TD3` goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from stable_baselines3 import TD3
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.td3.policies import TD3Policy
from torch import nn


def with_layer_norms(modules: Iterable[nn.Module], before: bool = False) -> nn.Sequential:
    """A perceptron with a `LayerNorm` behind each activation.

    :param modules: linear layers and activations, as SB3's `create_mlp` gives them
    :param before: have it in front of each activation
    """
    found: list[nn.Module] = []
    width = 0
    for module in modules:
        if isinstance(module, nn.Linear):
            found.append(module)
            width = module.out_features
        else:
            norm = nn.LayerNorm(width)
            found += [norm, module] if before else [module, norm]
    return nn.Sequential(*found)


class LayerNormCritic(ContinuousCritic):
    """SB3's critics with a layer norm behind each hidden layer; the same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        networks: Any = self.q_networks
        self.q_networks = [with_layer_norms(network) for network in networks]
        for i, network in enumerate(self.q_networks):
            setattr(self, f"qf{i}", network)


class LayerNormTD3Policy(TD3Policy):
    """TD3's policy with `LayerNormCritic`."""

    aliases: ClassVar[dict[str, type[BasePolicy]]]

    def make_critic(
        self, features_extractor: BaseFeaturesExtractor | None = None
    ) -> LayerNormCritic:
        """Build the critics, as SB3's policies do."""
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return LayerNormCritic(**kwargs).to(self.device)


LayerNormTD3Policy.aliases = dict.fromkeys(TD3.policy_aliases, LayerNormTD3Policy)
