"""`LearnedReward`: what algorithms that learn a reward hand over beside their policy."""

from __future__ import annotations

from typing import Any

import numpy as np
from imitation.rewards.reward_nets import RewardNet
from imitation.rewards.reward_wrapper import RewardVecEnvWrapper
from stable_baselines3.common.vec_env import VecEnv


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

    def as_reward_wrapper(self, venv: VecEnv) -> RewardVecEnvWrapper:
        """Wrap an environment so that its reward is the learned one, for training a fresh agent."""
        return RewardVecEnvWrapper(venv, self.predict_reward)
