"""Observation normalisation inside the policy, with fixed statistics of the data.

`StandardizedExtractor` wraps any SB3 features extractor. Its statistics are buffers, so they travel
in the policy's `state_dict`: whoever has the weights has the normalisation.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import nn

from sb3_il_plus.data.columns import Columns

CLIP = 10.0
"""Normalised observations are clipped to ±CLIP, `VecNormalize`'s default."""

EPSILON = 1e-3
"""Smallest standard deviation, as TD3+BC uses (Fujimoto and Gu 2021): a constant column stays small
off the data, where dividing by nearly nothing would blow it up."""


class StandardizedExtractor(BaseFeaturesExtractor):
    """A features extractor that first maps x to clip((x − mean) / std, ±10).

    Only floating-point vectors are touched: images and one-hot encoded entries pass unchanged.

    :param observation_space: what the policy observes
    :param base_class: the features extractor that follows
    :param base_kwargs: its arguments
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        base_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        base_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        base = base_class(observation_space, **(base_kwargs or {}))
        super().__init__(observation_space, base.features_dim)
        self.base = base
        self.statistics = nn.ModuleDict(
            {
                _module_name(key): _Standardize(space.shape)
                for key, space in _entries(observation_space)
                if isinstance(space, spaces.Box) and not is_image_space(space)
            }
        )

    def forward(self, observations: th.Tensor | dict[str, th.Tensor]) -> th.Tensor:
        """Normalise, then extract; shapes as the base extractor's."""
        if isinstance(observations, Mapping):
            return self.base(
                {key: self._standardize(key, value) for key, value in observations.items()}
            )
        return self.base(self._standardize(None, observations))

    def _standardize(self, key: str | None, value: th.Tensor) -> th.Tensor:
        name = _module_name(key)
        return self.statistics[name](value) if name in self.statistics else value


class _Standardize(nn.Module):
    mean: th.Tensor
    std: th.Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", th.zeros(shape))
        self.register_buffer("std", th.ones(shape))

    def forward(self, value: th.Tensor) -> th.Tensor:
        return ((value - self.mean) / self.std).clamp(-CLIP, CLIP)


def add_to_policy_kwargs(
    policy_kwargs: dict[str, Any], policy_class: type[BasePolicy]
) -> dict[str, Any]:
    """Return policy arguments whose features extractor is wrapped in a `StandardizedExtractor`."""
    base_class = policy_kwargs.get("features_extractor_class", _default_extractor(policy_class))
    base_kwargs = policy_kwargs.get("features_extractor_kwargs", {})
    return {
        **policy_kwargs,
        "features_extractor_class": StandardizedExtractor,
        "features_extractor_kwargs": {"base_class": base_class, "base_kwargs": base_kwargs},
    }


def set_statistics(policy: nn.Module, observations: Columns) -> None:
    """Set every `StandardizedExtractor` inside `policy` to the mean and deviation of the data.

    :param observations: shape (N, *observation shape), or a dict of such
    """
    columns = {
        _module_name(key): column
        for key, column in (
            observations.items() if isinstance(observations, Mapping) else [(None, observations)]
        )
    }
    for module in policy.modules():
        if isinstance(module, StandardizedExtractor):
            for name, statistics in module.statistics.items():
                column = np.asarray(columns[name], dtype=np.float64)
                statistics.mean.copy_(th.as_tensor(column.mean(axis=0)))  # type: ignore[operator]
                std = np.maximum(column.std(axis=0), EPSILON)
                statistics.std.copy_(th.as_tensor(std))  # type: ignore[operator]


def _default_extractor(policy_class: type[BasePolicy]) -> type[BaseFeaturesExtractor]:
    # A class that hands its arguments on does not name them itself.
    classes: tuple[Any, ...] = policy_class.__mro__
    signatures = (inspect.signature(cls.__init__) for cls in classes)
    named = (signature.parameters.get("features_extractor_class") for signature in signatures)
    default: type[BaseFeaturesExtractor] = next(filter(None, named)).default
    return default


def _entries(space: spaces.Space) -> list[tuple[str | None, spaces.Space]]:
    return list(space.spaces.items()) if isinstance(space, spaces.Dict) else [(None, space)]


def _module_name(key: str | None) -> str:
    # The prefix keeps keys such as "values" apart from ModuleDict's own methods.
    return "all" if key is None else f"key_{key}"
