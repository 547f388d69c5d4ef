"""Reward nets that see images and dicts: upstream's own, behind one of SB3's features extractors.

A vector goes into upstream's nets as it is, for they are made for it. An image or a dict first
goes through an extractor like the policy's (`NatureCNN`, `CombinedExtractor` or the user's), with
weights of its own. What follows is upstream's net, on features in place of observations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from imitation.rewards.reward_nets import BasicPotentialMLP, BasicRewardNet, ShapedRewardNet
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from sb3_il_plus.adapters.observations import FlatSpace


def needs_features(observation_space: spaces.Space) -> bool:
    """Whether observations are images or flattened dicts."""
    return isinstance(observation_space, FlatSpace) or is_image_space(observation_space)


def holds_images(observation_space: spaces.Space) -> bool:
    """Whether observations are images, or dicts with some among their entries."""
    if isinstance(observation_space, spaces.Dict):
        return any(map(holds_images, observation_space.spaces.values()))
    return is_image_space(observation_space)


class Features(nn.Module):
    """Maps preprocessed observations, shape (n, *observation shape), to features, shape (n, size).

    :param observation_space: of images, vectors or flattened dicts
    :param extractor_class: one of SB3's features extractors
    :param extractor_kwargs: its arguments
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        extractor_class: type[BaseFeaturesExtractor],
        extractor_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._flat = observation_space if isinstance(observation_space, FlatSpace) else None
        seen = self._flat.original if self._flat is not None else observation_space
        self.extractor = extractor_class(seen, **(extractor_kwargs or {}))
        self.space = spaces.Box(-np.inf, np.inf, (self.extractor.features_dim,), np.float32)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Extract."""
        entries = observations if self._flat is None else self._flat.split(observations)
        features: th.Tensor = self.extractor(entries)
        return features


class FeaturesRewardNet(BasicRewardNet):
    """Upstream's `BasicRewardNet`, an MLP on state, action, next state and `done`, on features.

    :param observation_space: of images or flattened dicts
    :param action_space: any that SB3 acts in
    :param features_extractor_class: one of SB3's features extractors
    :param features_extractor_kwargs: its arguments, such as `{"features_dim": 64}`
    :param kwargs: of `BasicRewardNet`: `use_state`, `use_action`, `use_next_state`, `use_done`,
        `hid_sizes`, ...
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Space,
        *,
        features_extractor_class: type[BaseFeaturesExtractor],
        features_extractor_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        features = Features(observation_space, features_extractor_class, features_extractor_kwargs)
        super().__init__(features.space, action_space, **kwargs)
        self.observation_space = observation_space
        self.features = features

    def forward(
        self, state: th.Tensor, action: th.Tensor, next_state: th.Tensor, done: th.Tensor
    ) -> th.Tensor:
        """Rewards (or logits) of preprocessed transitions, shape (n,)."""
        if self.use_state:
            state = self.features(state)
        if self.use_next_state:
            next_state = self.features(next_state)
        return super().forward(state, action, next_state, done)


class ShapedFeaturesRewardNet(ShapedRewardNet):
    """Upstream's `BasicShapedRewardNet`, AIRL's r(s, a) + γΦ(s') − Φ(s), on features.

    :param observation_space: of images or flattened dicts
    :param action_space: any that SB3 acts in
    :param features_extractor_class: one of SB3's features extractors; r and Φ have one each
    :param features_extractor_kwargs: its arguments
    :param reward_hid_sizes: widths of the hidden layers of r
    :param potential_hid_sizes: widths of the hidden layers of Φ
    :param discount_factor: γ
    :param use_state: whether r sees the state, as in `BasicRewardNet`
    :param use_action: the same for the action
    :param use_next_state: the same for the next state
    :param use_done: the same for the mark of an episode's end
    :param kwargs: of both MLPs, such as `normalize_input_layer`
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Space,
        *,
        features_extractor_class: type[BaseFeaturesExtractor],
        features_extractor_kwargs: Mapping[str, Any] | None = None,
        reward_hid_sizes: Sequence[int] = (32,),
        potential_hid_sizes: Sequence[int] = (32, 32),
        discount_factor: float = 0.99,
        use_state: bool = True,
        use_action: bool = True,
        use_next_state: bool = False,
        use_done: bool = False,
        **kwargs: Any,
    ) -> None:
        reward = FeaturesRewardNet(
            observation_space,
            action_space,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            use_state=use_state,
            use_action=use_action,
            use_next_state=use_next_state,
            use_done=use_done,
            hid_sizes=reward_hid_sizes,
            **kwargs,
        )
        features = Features(observation_space, features_extractor_class, features_extractor_kwargs)
        potential = BasicPotentialMLP(features.space, potential_hid_sizes, **kwargs)
        super().__init__(reward, nn.Sequential(features, potential), discount_factor)
