"""Inverse dynamics: which action led from one state to the next, learned from one's own steps.

`InverseDynamics` is the network, `inverse_dynamics_loss` the mathematics, and `Interactions` what
it is trained on, kept so that it is saved with the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    Distribution,
    make_proba_distribution,
)
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_il_plus.adapters import reward_inputs
from sb3_il_plus.adapters.reward_inputs import DemonstrationNorm
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import TensorColumns


class InverseDynamics(nn.Module):
    """p(a | s, s'): features of both states, an MLP, and SB3's distribution of such actions.

    The MLP is given φ(s) and φ(s') − φ(s), standardised with fixed statistics: consecutive states
    are nearly equal, and what the action did is their difference. A Gaussian has one standard
    deviation for each component of the action, the same in all states.

    :param policy: for which to find actions; features are extracted as it does, by a copy
    :param hid_sizes: units of each hidden layer
    """

    log_std: nn.Parameter | None

    def __init__(self, policy: BasePolicy, hid_sizes: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self._observation_space, self._action_space = policy.observation_space, policy.action_space
        self._normalize_images = policy.normalize_images
        self.features_extractor = policy.make_features_extractor()
        n_inputs = 2 * self.features_extractor.features_dim
        # Statistics of features that are learned would not stay right.
        learned = any(True for _ in self.features_extractor.parameters())
        self.norm = nn.Identity() if learned else DemonstrationNorm(n_inputs)
        self.mlp = nn.Sequential(*create_mlp(n_inputs, -1, list(hid_sizes)))
        self._distribution = make_proba_distribution(policy.action_space)
        n_latent = hid_sizes[-1] if hid_sizes else n_inputs
        net = self._distribution.proba_distribution_net(n_latent)
        # A Gaussian has its logarithmic standard deviation beside the layer of its mean.
        self.head, self.log_std = net if isinstance(net, tuple) else (net, None)

    def forward(
        self, observations: TensorColumns, next_observations: TensorColumns
    ) -> Distribution:
        """The distribution of the action, given B observations and those that followed.

        :param observations: shape (B, *observation shape), or a dict of such
        """
        first, second = (self._features(seen) for seen in (observations, next_observations))
        latent = self.mlp(self.norm(th.cat([first, second - first], dim=1)))
        more = () if self.log_std is None else (self.log_std,)
        return self._distribution.proba_distribution(self.head(latent), *more)

    def fit_inputs(self, observations: TensorColumns, next_observations: TensorColumns) -> None:
        """Take the statistics that standardise the inputs from these N transitions."""
        if reward_inputs.is_fitted(self):
            reward_inputs.fit(self, observations, next_observations)

    def targets(self, actions: np.ndarray) -> np.ndarray:
        """Actions as the distribution reads them: bounded continuous ones scaled to [-1, 1].

        :param actions: shape (N, *action shape)
        """
        space = self._action_space
        if isinstance(space, spaces.MultiBinary):
            return actions.astype(np.float32)
        if isinstance(space, spaces.Box):
            centre, scale = _centre_and_scale(space)
            return ((actions - centre) / scale).reshape(len(actions), -1).astype(np.float32)
        return actions

    @th.no_grad()
    def infer(self, observations: TensorColumns, next_observations: TensorColumns) -> np.ndarray:
        """The most likely actions of B transitions, shape (B, *action shape), within the space."""
        found = self(observations, next_observations).mode().cpu().numpy()
        space = self._action_space
        found = found.reshape(len(found), *(space.shape or ()))
        if isinstance(space, spaces.Box):
            centre, scale = _centre_and_scale(space)
            found = np.clip(found * scale + centre, space.low, space.high)
        return found.astype(space.dtype)

    def _features(self, observations: TensorColumns) -> th.Tensor:
        seen = preprocess_obs(observations, self._observation_space, self._normalize_images)
        features: th.Tensor = self.features_extractor(seen)
        return features


@dataclass(frozen=True)
class InverseDynamicsLoss:
    """Named scalars of a batch."""

    neglogp: th.Tensor
    """The mean of -log p(a | s, s') over the batch: what is minimised."""
    prob_true_act: th.Tensor
    """The mean of p(a | s, s') over the batch."""


def inverse_dynamics_loss(
    model: InverseDynamics,
    observations: TensorColumns,
    next_observations: TensorColumns,
    actions: th.Tensor,
) -> InverseDynamicsLoss:
    """The negative log-likelihood of the actions (Torabi et al. 2018, Section 4.1).

    :param actions: shape (B, *action shape)
    """
    log_prob = model(observations, next_observations).log_prob(actions)
    return InverseDynamicsLoss(-log_prob.mean(), log_prob.detach().exp().mean())


class Interactions:
    """The learner's own steps, in the interface of torch's modules: saved with the model.

    :param observation_space: of the model
    :param action_space: of the model
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self._spaces = observation_space, action_space
        self.data: Demonstrations | None = None

    def add(self, gathered: Demonstrations) -> None:
        """Append steps."""
        parts = [part for part in (self.data, gathered) if part is not None]
        self.data = Demonstrations.concatenate(parts)

    def state_dict(self) -> dict[str, th.Tensor]:
        """The columns of the data, by name."""
        columns = {} if self.data is None else self.data.columns()
        return {name: th.as_tensor(np.array(column)) for name, column in columns.items()}

    def load_state_dict(self, state: Mapping[str, th.Tensor], strict: bool = True) -> None:
        """Put back what `state_dict` returned."""
        columns = {name: column.cpu().numpy() for name, column in state.items()}
        self.data = Demonstrations.from_columns(columns, *self._spaces) if columns else None


def _centre_and_scale(space: spaces.Box) -> tuple[Any, Any]:
    """What maps [-1, 1] to the bounds, or leaves an unbounded space as it is."""
    if not space.is_bounded():
        return 0.0, 1.0
    return (space.high + space.low) / 2, np.maximum((space.high - space.low) / 2, 1e-8)
