"""Heads of conditional policies: one branch for each command, and layers that a command modulates.

All of them read features whose last columns are the command (one-hot, or a goal), as
`perception.CommandLast` puts them, and stand in for SB3's `MlpExtractor`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch as th
from torch import nn


def mlp(
    sizes: Sequence[int], activation_fn: type[nn.Module] = nn.ReLU, dropout: float = 0.0
) -> nn.Sequential:
    """Linear layers, each followed by the activation and, where asked for, dropout.

    :param sizes: of the input and of each layer's output
    """
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), activation_fn()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers)


class BranchedLinear(nn.Module):
    """A linear layer for each branch, computed together.

    :param n_branches: how many, C
    :param n_in: size of the input
    :param n_out: size of each branch's output
    """

    def __init__(self, n_branches: int, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(th.empty(n_branches, n_in, n_out))
        self.bias = nn.Parameter(th.empty(n_branches, 1, n_out))
        self.initialize(partial(nn.init.kaiming_uniform_, a=5**0.5), bias=0.0)

    @th.no_grad()
    def initialize(self, fill: Callable[[th.Tensor], object], bias: float) -> None:
        """Draw new weights.

        :param fill: fills the weights of one branch in place, which have the shape of those of an
            `nn.Linear`
        :param bias: of every output
        """
        _, n_in, n_out = self.weight.shape
        for number in range(len(self.weight)):
            weight = th.empty(n_out, n_in)
            fill(weight)
            self.weight[number] = weight.t()
        self.bias.fill_(bias)

    def forward(self, inputs: th.Tensor) -> th.Tensor:
        """Shape (C, B, n_in), or (B, n_in) that is the same for all branches, to (C, B, n_out)."""
        if inputs.dim() == 2:
            inputs = inputs.expand(len(self.weight), *inputs.shape)
        return th.baddbmm(self.bias, inputs, self.weight)


class CommandedBranch(nn.Module):
    """Layers of their own for each command; what comes out is that of the commanded branch.

    The other branches are computed and not used, which is faster than sorting a batch by its
    commands, and their gradient is zero.

    :param n_commands: branches, C
    :param sizes: of the input and of each layer's output
    :param activation_fn: after every layer; None for linear ones
    :param dropout: behind every activation
    """

    def __init__(
        self,
        n_commands: int,
        sizes: Sequence[int],
        activation_fn: type[nn.Module] | None = nn.ReLU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self._n_commands = n_commands
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers.append(BranchedLinear(n_commands, n_in, n_out))
            layers += [activation_fn()] if activation_fn is not None else []
            layers += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers)

    def forward(self, features: th.Tensor) -> th.Tensor:
        """Features and one-hot command, shape (B, size + C), to the commanded output, (B, out)."""
        inputs, command = features[:, : -self._n_commands], features[:, -self._n_commands :]
        if not len(self.layers):
            return inputs
        outputs = self.layers(inputs)
        return outputs[command.argmax(dim=1), th.arange(len(inputs), device=inputs.device)]


class FilmLayers(nn.Module):
    """Layers whose outputs a command scales and shifts: act((1 + γ(c)) ⊙ (W h + b) + β(c)).

    Perez et al. 2018, arXiv:1709.07871 (FiLM), equation 2.

    :param command_size: numbers of the command
    :param sizes: of the input and of each layer's output
    :param activation_fn: after every layer
    :param dropout: behind every activation
    """

    def __init__(
        self,
        command_size: int,
        sizes: Sequence[int],
        activation_fn: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self._command_size = command_size
        pairs = list(pairwise(sizes))
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairs)
        self.modulations = nn.ModuleList(nn.Linear(command_size, 2 * n) for _, n in pairs)
        self.after = nn.Sequential(activation_fn(), nn.Dropout(dropout))

    def forward(self, features: th.Tensor) -> th.Tensor:
        """Features and command, shape (B, size + command_size), to (B, out)."""
        hidden, command = features[:, : -self._command_size], features[:, -self._command_size :]
        for layer, modulation in zip(self.layers, self.modulations, strict=True):
            scale, shift = modulation(command).chunk(2, dim=1)
            hidden = self.after((1 + scale) * layer(hidden) + shift)
        return hidden


class ConditionalHeads(nn.Module):
    """What a policy and its critic compute from features, in the interface of `MlpExtractor`.

    :param actor: the conditional layers
    :param critic: plain layers, which read the command as an input
    :param latent_dim_pi: size of the actor's output
    :param latent_dim_vf: size of the critic's output
    :param command_size: where not 0, the command is appended to the actor's output, for an output
        layer that reads it, too; it counts in `latent_dim_pi`
    """

    def __init__(
        self,
        actor: nn.Module,
        critic: nn.Module,
        latent_dim_pi: int,
        latent_dim_vf: int,
        command_size: int = 0,
    ) -> None:
        super().__init__()
        self.actor, self.critic = actor, critic
        self.latent_dim_pi, self.latent_dim_vf = latent_dim_pi, latent_dim_vf
        self._command_size = command_size

    def forward(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Both outputs."""
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: th.Tensor) -> th.Tensor:
        """Shape (B, size) to (B, latent_dim_pi)."""
        latent: th.Tensor = self.actor(features)
        if not self._command_size:
            return latent
        return th.cat([latent, features[:, -self._command_size :]], dim=1)

    def forward_critic(self, features: th.Tensor) -> th.Tensor:
        """Shape (B, size) to (B, latent_dim_vf)."""
        latent: th.Tensor = self.critic(features)
        return latent


def layer_sizes(net_arch: Any) -> tuple[list[int], list[int]]:
    """Sizes of the actor's and of the critic's layers, from SB3's `net_arch`."""
    if isinstance(net_arch, dict):
        return list(net_arch.get("pi", [])), list(net_arch.get("vf", []))
    return list(net_arch), list(net_arch)
