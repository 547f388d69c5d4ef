"""Behavioural cloning that imitates good episodes more than bad ones."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch as th
from scipy.special import softmax
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_il_plus import AlgorithmSpec, DemonstrationAlgorithm, Demonstrations
from sb3_il_plus.randomness import child_generator


class ReturnWeightedBC(DemonstrationAlgorithm):
    """Clone episode e with probability proportional to exp(return_e / (temperature * spread)).

    The spread is the standard deviation of the returns. One timestep is one gradient update.

    :param batch_size: pairs of observation and action in each update
    :param temperature: infinity clones all episodes alike, 0 in the limit only the best
    """

    spec = AlgorithmSpec(
        name="return_weighted_bc",
        entry_point="sb3_il_plus_example.return_weighted_bc:ReturnWeightedBC",
        summary="Behavioural cloning that prefers episodes of high return",
        consumes=frozenset({"demonstrations", "rewards"}),
        action_spaces=("Box", "Discrete", "MultiDiscrete", "MultiBinary"),
        observation_spaces=("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict"),
        timestep="gradient update",
    )

    policy: ActorCriticPolicy

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 32,
        temperature: float = 1.0,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(policy, env, demonstrations, learning_rate=learning_rate, **kwargs)
        self.batch_size = batch_size
        self.temperature = temperature
        self._rng = child_generator(self._base_seed, "batches")
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._build_policy()

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "ReturnWeightedBC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Make `total_timesteps` gradient updates; `log_interval` is in updates, too."""
        data = self._require_demonstrations()
        weights = step_weights(data, self.temperature)
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        self.policy.set_training_mode(True)
        go_on = True
        while go_on and self.num_timesteps < total_timesteps:
            self._update(data, self._rng.choice(len(data), self.batch_size, p=weights))
            go_on = self._after_update(callback)
            if self.num_timesteps % log_interval == 0:
                self._dump_logs()
        self.policy.set_training_mode(False)
        callback.on_training_end()
        return self

    def _update(self, data: Demonstrations, index: np.ndarray) -> None:
        seen = self._as_env_observes(data.observations_at(index))
        observations, _ = self.policy.obs_to_tensor(seen)
        actions = th.as_tensor(self._as_policy_acts(data.actions[index]), device=self.device)
        _, log_prob, _ = self.policy.evaluate_actions(observations, actions)
        loss = -log_prob.mean()
        self._update_learning_rate(self.policy.optimizer)
        self.policy.optimizer.zero_grad()
        loss.backward()
        self.policy.optimizer.step()
        self.logger.record("train/loss", loss.item())

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "rng": self._rng.bit_generator.state}

    def _load_state(self, state: dict[str, Any]) -> None:
        super()._load_state(state)
        self._rng.bit_generator.state = state["rng"]


def step_weights(data: Demonstrations, temperature: float) -> np.ndarray:
    """Probability of drawing each transition, shape (N,): episode weights, spread over steps."""
    returns = data.episode_returns
    scale = temperature * max(returns.std(), 1e-8)
    per_episode = softmax(returns / scale)
    per_step = (per_episode / data.episode_lengths)[data.episode_index]
    return per_step / per_step.sum()
