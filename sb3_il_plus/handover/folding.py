"""Normalisation inside a policy without a module of its own: in its first layers.

A layer that reads (x - mean) / std is a layer that reads x, with other weights:
W (x - mean) / std + b = (W / std) x + (b - W mean / std). So a `StandardizedExtractor` can go, and
what remains is SB3's own policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from torch import nn

from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.normalization import StandardizedExtractor

_REMEDY = "; pass env=VecNormalize(venv), which takes the statistics instead"
_NETWORKS = ("actor", "actor_target", "critic", "critic_target", "q_net", "q_net_target")
_QUANTILES = ("quantile_net", "quantile_net_target")


def find_extractor(policy: nn.Module) -> StandardizedExtractor | None:
    """The policy's normalising extractor; all that it has share their statistics."""
    found = (each for each in policy.modules() if isinstance(each, StandardizedExtractor))
    return next(found, None)


def without_extractor(state: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of a policy that normalises under the names of one that does not."""
    if not any("extractor.statistics." in name for name in state):
        return dict(state)
    return {
        re.sub(r"features_extractor\.base\.", "features_extractor.", name): value
        for name, value in state.items()
        if "features_extractor.statistics." not in name
    }


@th.no_grad()
def fold(policy: Any, extractor: StandardizedExtractor) -> set[nn.Parameter]:
    """Have a policy without an extractor read observations as one with it does.

    :param policy: with the weights of one that reads normalised observations
    :return: the parameters that have changed
    :raises InapplicableError: what reads observations is not linear
    """
    mean, std = _statistics_of_features(extractor)
    changed: set[nn.Parameter] = set()
    for layer in _readers(policy):
        weight, bias = _weights(layer)
        read = weight.double()[:, : len(mean)] / std  # critics read actions, too
        bias.copy_(bias.double() - read @ mean)
        weight[:, : len(mean)] = read.to(weight.dtype)
        changed |= {weight, bias}
    return changed


def _statistics_of_features(extractor: StandardizedExtractor) -> tuple[th.Tensor, th.Tensor]:
    """Means and deviations of what the layers behind the extractor read, shape (features,)."""
    base: Any = extractor.base
    statistics: dict[str, Any] = dict(extractor.statistics.items())
    if isinstance(base, FlattenExtractor):
        parts = [(statistics["all"], extractor.features_dim)] if "all" in statistics else []
    elif isinstance(base, CombinedExtractor):
        assert isinstance(extractor._observation_space, spaces.Dict)
        entries = extractor._observation_space.spaces
        parts = [(statistics.get(f"key_{key}"), size) for key, size in _sizes(base, entries)]
    else:
        raise InapplicableError(
            f"the statistics of normalize_observations cannot be put into the first layers behind "
            f"a {type(base).__name__}{_REMEDY}"
        )
    empty = extractor.features_dim if not parts else 0
    means = [th.zeros(size) if each is None else each.mean.flatten() for each, size in parts]
    stds = [th.ones(size) if each is None else each.std.flatten() for each, size in parts]
    device = next(iter(extractor.buffers()), th.zeros(0)).device
    mean = th.cat([*(each.to(device) for each in means), th.zeros(empty, device=device)])
    std = th.cat([*(each.to(device) for each in stds), th.ones(empty, device=device)])
    return mean.double(), std.double()


def _sizes(
    base: CombinedExtractor, entries: Mapping[str, spaces.Space]
) -> Iterator[tuple[str, int]]:
    for key, module in base.extractors.items():
        flat = get_flattened_obs_dim(entries[key])
        size: Any = getattr(module, "features_dim", flat)
        yield key, size


def _weights(layer: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    read: Any = layer
    if isinstance(layer, nn.LSTM):
        return read.weight_ih_l0, read.bias_ih_l0
    return read.weight, read.bias


def _readers(policy: Any) -> Iterator[nn.Module]:
    """The layers that read features."""
    if hasattr(policy, "lstm_actor"):
        yield policy.lstm_actor
        if (critic := policy.lstm_critic or policy.critic) is not None:
            yield critic
    elif hasattr(policy, "mlp_extractor"):
        yield from _first(policy.mlp_extractor.policy_net, policy.action_net)
        yield from _first(policy.mlp_extractor.value_net, policy.value_net)
    else:
        for name in (*_NETWORKS, *_QUANTILES):
            if getattr(policy, name, None) is not None:
                yield from _readers_of_network(getattr(policy, name))


def _readers_of_network(network: Any) -> Iterator[nn.Module]:
    if hasattr(network, "latent_pi"):  # SAC's actor
        yield from _first(network.latent_pi, network.mu, network.log_std)
        return
    found = [
        getattr(network, name) for name in ("mu", "q_net", "quantile_net") if hasattr(network, name)
    ]
    for sequence in [*found, *getattr(network, "q_networks", ())]:
        yield from _first(sequence)


def _first(sequence: Any, *heads: Any) -> Iterator[nn.Module]:
    """The first layer, or what follows where there is none."""
    modules = [next(iter(sequence))] if len(sequence) else list(heads)
    for module in modules:
        if not isinstance(module, nn.Linear):
            raise InapplicableError(
                f"the statistics of normalize_observations cannot be put into a "
                f"{type(module).__name__}, which reads the observations here{_REMEDY}"
            )
        yield module
