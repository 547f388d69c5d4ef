"""The density behind `Density`: fitted and scored by upstream, as a reward and in files.

Upstream scores transition by transition, in milliseconds each, and cannot say what a transition
pays whose step matters; and what it fits would have to be pickled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from imitation.algorithms import density
from imitation.data import types
from imitation.rewards.reward_wrapper import RewardVecEnvWrapper
from imitation.util.networks import RunningNorm
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from torch import nn

from sb3_il_plus.errors import DataError


class DensityTrainer(density.DensityAlgorithm):
    """Upstream's trainer, which would score transition by transition, scoring whole batches."""

    def __call__(
        self,
        state: Any,
        action: np.ndarray,
        next_state: Any,
        done: np.ndarray,
        steps: np.ndarray | None = None,
    ) -> np.ndarray:
        """Logarithms of the density, as upstream's `__call__` gives them.

        :param state: shape (n, *observation shape), or a dict of such; `next_state` likewise
        :param action: shape (n, *action shape)
        :param steps: number of each transition within its episode, shape (n,); needed by densities
            that are not stationary
        :return: shape (n,), float32
        :raises DataError: there are no demonstrations of such a late step
        """
        batch = zip(
            types.maybe_wrap_in_dictobs(state),
            action,
            types.maybe_wrap_in_dictobs(next_state),
            strict=True,
        )
        rows = self._scaler.transform(np.stack([self._preprocess_transition(*t) for t in batch]))
        if self.is_stationary:
            return self._density_models[None].score_samples(rows).astype(np.float32)
        if steps is None:
            raise DataError("a density that is not stationary needs the number of each step")
        rewards = np.empty(len(rows), dtype=np.float32)
        for step in np.unique(steps):
            if step not in self._density_models:
                raise DataError(
                    f"an episode came to step {step}, counted from 0, and the longest "
                    f"demonstration has {len(self._density_models)}: use is_stationary=True, or "
                    "demonstrations of whole episodes"
                )
            chosen = steps == step
            rewards[chosen] = self._density_models[step].score_samples(rows[chosen])
        return rewards


class DensityReward(nn.Module):
    """The density as a reward, and as what is saved of it: the rows that it is fitted to.

    :param trainer: what fits and scores
    """

    def __init__(self, trainer: DensityTrainer) -> None:
        super().__init__()
        self._trainer = trainer

    def predict(
        self,
        state: Any,
        action: np.ndarray,
        next_state: Any,
        done: np.ndarray,
        steps: np.ndarray | None = None,
    ) -> np.ndarray:
        """Rewards of transitions that are not normalised; see `DensityTrainer.__call__`."""
        return self._trainer(state, action, next_state, done, steps)

    predict_processed = predict

    def get_extra_state(self) -> dict[str, th.Tensor]:
        """The flattened transitions of the demonstrations, and the steps that they were."""
        parts = self._trainer.transitions.items()
        return {
            f"{'all' if step is None else step}": th.as_tensor(rows.copy()) for step, rows in parts
        }

    def set_extra_state(self, state: dict[str, th.Tensor]) -> None:
        """Fit the density again, to what `get_extra_state` returned."""
        self._trainer.transitions = {
            None if step == "all" else int(step): rows.numpy().copy()
            for step, rows in state.items()
        }
        if state:
            self._trainer.train()


class DensityVecEnvWrapper(RewardVecEnvWrapper):
    """An environment that pays what a density says of the raw transitions.

    The density is of what the demonstrations show, so that it must not be asked about observations
    that a `VecNormalize` has scaled with statistics of the day.

    :param venv: the environment
    :param reward_net: the density
    :param normalizer: standardises the rewards with running statistics; None for none
    """

    def __init__(
        self, venv: VecEnv, reward_net: DensityReward, normalizer: RunningNorm | None = None
    ) -> None:
        self._reward_net, self._normalizer = reward_net, normalizer
        self._vec_normalize = unwrap_vec_normalize(venv)
        super().__init__(venv, self._reward)

    def reset(self) -> Any:
        """Begin new episodes."""
        observations = super().reset()
        self._steps = np.zeros(self.num_envs, dtype=np.int64)
        self._raw = self._original(observations)
        return observations

    def _original(self, observations: Any) -> Any:
        normalize = self._vec_normalize
        return observations if normalize is None else normalize.get_original_obs()

    def _reward(self, state: Any, action: np.ndarray, next_state: Any, done: np.ndarray) -> Any:
        if self._vec_normalize is not None:
            # Where an episode ended, the environment already shows the next one's beginning.
            state, next_state = self._raw, self._vec_normalize.unnormalize_obs(next_state)
            self._raw = self._vec_normalize.get_original_obs()
        rewards = self._reward_net.predict(state, action, next_state, done, self._steps)
        self._steps = np.where(done, 0, self._steps + 1)
        if self._normalizer is None:
            return rewards
        with th.no_grad():
            batch = th.as_tensor(rewards)
            normalized = self._normalizer.eval()(batch).numpy()
            self._normalizer.update_stats(batch)
        return normalized
