"""`EvaluationData`: data, and what a policy would have done in it, for fitted Q evaluation.

The policy does not change. So it is asked once, for all states of the data, and then only its
answers are needed: a policy of any kind, in any form, costs the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, create_mlp
from torch import nn

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import to_tensors
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.experts.expert import Expert, as_expert
from sb3_il_plus.normalization import StandardizedExtractor, set_statistics
from sb3_il_plus.offline.stack import StackedMLP

_ASKED_AT_ONCE = 4096
"""States that the policy is shown at a time."""


class EvaluationData:
    """Transitions as critics read them, beside the policy's own actions.

    A critic gives one value for a state and a continuous action, or the values of all choices in a
    state. What it gives is standardised: `in_units_of_rewards` turns it into a return.

    :param data: with rewards
    :param policy: what `as_expert` takes
    :param n_actions: actions to sample in each state; 1 for the policy's most likely one
    :param gamma: discount
    :param device: where to compute
    :raises InapplicableError: policy or spaces do not fit
    """

    def __init__(
        self, data: Demonstrations, policy: Any, n_actions: int, gamma: float, device: th.device
    ) -> None:
        space = data.action_space
        if not isinstance(space, (spaces.Box, spaces.Discrete)):
            raise InapplicableError(f"values are fitted for Box and Discrete actions, not {space}")
        expert = as_expert(policy, data.observation_space, space)
        if expert.remembers:
            raise InapplicableError(
                f"{expert.name!r} has a memory, and states of the data are shown one by one"
            )
        index = np.arange(len(data))
        rows = data.observation_rows(index)
        self.n_choices = int(space.n) if isinstance(space, spaces.Discrete) else 0
        self._space, self._device = space, device
        self._features = _features_of(data, device)
        self._policy = self._as_read(_actions_of(expert, data, n_actions))
        self._data = self._as_read(data.actions[:, None])
        self._rows = th.as_tensor(rows, device=device)
        self.following = self._rows + 1
        """Rows of the next observations, shape (N,)."""
        self.first = self._rows[th.tensor(data.offsets[:-1], device=device)]
        """Rows of the initial observations, shape (E,)."""
        returns = _returns_to_go(data, gamma)
        self._shift, self._scale = returns.mean(), max(returns.std(), 1e-3)
        columns = (data.rewards, gamma * (1.0 - data.terminations))
        self._rewards, self._discounts = (
            th.tensor(column, dtype=th.float32, device=device) for column in columns
        )

    def _as_read(self, actions: np.ndarray) -> th.Tensor:
        """Actions in the form that critics read.

        :param actions: M in each state, shape (n, M, *action shape)
        :return: scaled to [-1, 1], shape (n, M, dimension); or how often each choice is among them,
            shape (n, choices)
        """
        if isinstance(self._space, spaces.Discrete):
            choices = th.tensor(actions, device=self._device).long() - int(self._space.start)
            return nn.functional.one_hot(choices, self.n_choices).float().mean(1)
        low, high = (bound.flatten() for bound in (self._space.low, self._space.high))
        flat = actions.reshape(*actions.shape[:2], -1)
        scaled = 2.0 * (flat - low) / (high - low) - 1.0
        return th.as_tensor(scaled, dtype=th.float32, device=self._device)

    def build_critics(self, n_critics: int, net_arch: Sequence[int]) -> StackedMLP:
        """New critics."""
        width = self._features.shape[1]
        sizes = (width, self.n_choices) if self.n_choices else (width + self._data.shape[-1], 1)
        networks = (
            nn.Sequential(*create_mlp(*sizes, list(net_arch))).to(self._device)
            for _ in range(n_critics)
        )
        return StackedMLP(*map(list, networks))

    def values_of_data(self, critics: StackedMLP, steps: th.Tensor) -> th.Tensor:
        """Of what was done in the steps, shape (n critics, B)."""
        return self._values(critics, self._rows[steps], self._data[steps])

    def values_of_policy(self, critics: StackedMLP, rows: th.Tensor) -> th.Tensor:
        """Of what the policy would do, the mean over critics, shape (B,).

        :param rows: of observations
        """
        return self._values(critics, rows, self._policy[rows]).mean(0)

    def _values(self, critics: StackedMLP, rows: th.Tensor, actions: th.Tensor) -> th.Tensor:
        features = self._features[rows]
        if self.n_choices:
            values = critics(features).view(critics.n, len(rows), -1)
            return (values * actions).sum(-1)
        features = features[:, None].expand(-1, actions.shape[1], -1)
        values = critics(th.cat([features, actions], -1).flatten(0, 1))
        return values.view(critics.n, len(rows), -1).mean(-1)

    def target(self, steps: th.Tensor, following: th.Tensor) -> th.Tensor:
        """r + γ Q', standardised, shape (B,).

        :param following: standardised values of where the steps led, shape (B,)
        """
        following = self.in_units_of_rewards(following)
        returns = self._rewards[steps] + self._discounts[steps] * following
        return (returns - self._shift) / self._scale

    def in_units_of_rewards(self, values: th.Tensor) -> th.Tensor:
        """Discounted returns from standardised values."""
        return self._shift + self._scale * values


def _features_of(data: Demonstrations, device: th.device) -> th.Tensor:
    """All observations as vectors, standardised, shape (rows, features)."""
    space = data.observation_space
    base = CombinedExtractor if isinstance(space, spaces.Dict) else FlattenExtractor
    extractor = StandardizedExtractor(space, base).to(device)
    if is_image_space(space) or any(True for _ in extractor.parameters()):
        raise InapplicableError(f"values are fitted to vectors, and {space} holds images")
    set_statistics(extractor, data.observations)
    with th.no_grad():
        observed = preprocess_obs(to_tensors(data.observations, device), space)
        features: th.Tensor = extractor(observed)
    return features


def _actions_of(expert: Expert, data: Demonstrations, n_actions: int) -> np.ndarray:
    """What the policy does in every row of observations, shape (rows, M, *action shape)."""
    n_rows = len(data) + data.n_episodes
    answers = []
    for start in range(0, n_rows, _ASKED_AT_ONCE):
        shown = col.take(data.observations, slice(start, start + _ASKED_AT_ONCE))
        asked = [expert.predict(shown, deterministic=n_actions == 1)[0] for _ in range(n_actions)]
        answers.append(np.stack(asked, 1))
    return np.concatenate(answers)


def _returns_to_go(data: Demonstrations, gamma: float) -> np.ndarray:
    """Discounted returns from each step to the end of its episode, shape (N,)."""
    assert data.rewards is not None
    returns = np.array(data.rewards, dtype=np.float64)
    ends = set((data.offsets[1:] - 1).tolist())
    for step in reversed(range(len(returns))):
        if step not in ends:
            returns[step] += gamma * returns[step + 1]
    return returns
