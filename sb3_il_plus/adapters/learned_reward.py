"""`LearnedReward`: what algorithms that learn a reward hand over beside their policy.

The reward can be asked, pay a fresh agent in place of the environment's reward or beside it, and
be saved alone (`reward_files.py` loads it). `train_on_reward` trains that agent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from imitation.rewards.reward_nets import RewardNet
from imitation.rewards.reward_wrapper import RewardVecEnvWrapper
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_il_plus.adapters import reward_files


class LearnedReward:
    """Mixin of algorithms whose `reward_net` can be asked, and can train a fresh agent."""

    reward_net: RewardNet
    """The learned reward, r(s, a, s', done)."""

    def predict_reward(
        self, obs: Any, acts: np.ndarray, next_obs: Any, dones: np.ndarray
    ) -> np.ndarray:
        """The learned reward of n transitions, as the environment shows them.

        :param obs: shape (n, *observation shape)
        :param acts: shape (n, *action shape)
        :param next_obs: as `obs`
        :param dones: shape (n,)
        :return: shape (n,)
        """
        return self.reward_net.predict_processed(obs, acts, next_obs, dones)

    def as_reward_wrapper(
        self, venv: VecEnv, *, learned_weight: float = 1.0, environment_weight: float = 0.0
    ) -> VecEnvWrapper:
        """Wrap an environment so that it pays the learned reward, for training a fresh agent.

        :param venv: normalised as the one that the reward was learned in
        :param learned_weight: of the learned reward
        :param environment_weight: of the environment's own, which is added where it is not 0
        """
        wrapped = self._reward_wrapper(venv)
        if (learned_weight, environment_weight) == (1.0, 0.0):
            return wrapped
        return MixedRewards(wrapped, learned_weight, environment_weight)

    def save_reward(self, path: Any) -> None:
        """Write the reward alone to a file, atomically and without pickle; see `load_reward`.

        :param path: where to; `.zip` is added where there is no suffix
        """
        reward_files.save(self, path)

    def _reward_wrapper(self, venv: VecEnv) -> RewardVecEnvWrapper:
        return RewardVecEnvWrapper(venv, self.predict_reward)

    def _reward_parts(self) -> tuple[str, ...]:
        """Names of what `get_parameters` has of the reward."""
        return ("reward_net",)


class MixedRewards(VecEnvWrapper):
    """Pays a weighted sum of the learned reward and the environment's own.

    :param venv: pays the learned reward and keeps the other one in its infos
    :param learned_weight: of the learned reward
    :param environment_weight: of the environment's own
    """

    def __init__(
        self, venv: RewardVecEnvWrapper, learned_weight: float, environment_weight: float
    ) -> None:
        super().__init__(venv)
        self.learned_weight = learned_weight
        self.environment_weight = environment_weight

    def reset(self) -> VecEnvObs:
        """Begin new episodes."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Step, with both rewards added."""
        observations, learned, dones, infos = self.venv.step_wait()
        own = np.array([info["original_env_rew"] for info in infos])
        rewards = self.learned_weight * learned + self.environment_weight * own
        return observations, rewards.astype(np.float32), dones, infos
