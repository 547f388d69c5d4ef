"""What every direct call needs: a base class that only holds settings, and upstream's own types."""

from __future__ import annotations

import tempfile
from typing import Any, Self

import numpy as np
from imitation.data.types import Transitions
from imitation.policies.base import NonTrainablePolicy, NormalizeFeaturesExtractor
from imitation.util.logger import HierarchicalLogger, configure
from stable_baselines3.common.policies import BasePolicy

from sb3_il_plus.algorithm import DemonstrationAlgorithm
from sb3_il_plus.experts.expert import Expert


class DirectCall(DemonstrationAlgorithm):
    """Mixed into an adapter: takes its arguments, but learns by calling upstream.

    Nothing is shown to callbacks while it learns, and only the policy is saved.
    """

    def learn(self, total_timesteps: int, callback: Any = None, **kwargs: Any) -> Self:
        """Make the direct call, and take over the policy that comes out of it."""
        self.policy, self.num_timesteps = self.call(total_timesteps)
        return self

    def call(self, total_timesteps: int) -> tuple[BasePolicy, int]:
        """Build upstream's trainer, train it, and return its policy and the timesteps taken."""
        raise NotImplementedError

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[np.ndarray, Any]:
        """Act with the policy of the direct call, not with the adapter's own generator."""
        return self.policy.predict(observation, *args, **kwargs)

    def transitions(self) -> Transitions:
        """The demonstrations as upstream knows them."""
        return self._require_demonstrations().to_transitions()

    def rng(self) -> np.random.Generator:
        """Upstream's source of randomness."""
        return np.random.default_rng(self.seed)

    def upstream_policy_kwargs(self) -> dict[str, Any]:
        """The policy's arguments, with upstream's own normalisation where ours is asked for."""
        kwargs = dict(self.policy_kwargs)
        if self.normalize_observations:
            kwargs["features_extractor_class"] = NormalizeFeaturesExtractor
        return kwargs

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []

    def _state(self) -> dict[str, Any]:
        return {"num_timesteps": self.num_timesteps}


class ExpertPolicy(NonTrainablePolicy):
    """Our expert as the kind of policy that upstream asks for labels."""

    def __init__(self, expert: Expert) -> None:
        super().__init__(expert.observation_space, expert.action_space)
        self.expert = expert

    def _choose_action(self, obs: Any) -> np.ndarray:
        return self.expert.predict(obs, deterministic=True)[0]


def quiet_logger() -> HierarchicalLogger:
    """A logger of upstream's that prints nothing."""
    return configure(tempfile.mkdtemp(prefix="direct_imitation_"), ["csv"])
