"""`GoesOnOnline`: the mixin by which an offline algorithm goes on in an environment.

The objective stays the algorithm's own. Each batch is in part drawn from the data and in part from
new experience: half and half is the symmetric sampling of RLPD (Ball et al. 2023, arXiv:2302.02948)
and of Cal-QL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise, NormalActionNoise
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.td3.policies import TD3Policy

from sb3_il_plus.data import columns as col
from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.batch import Batch, joined
from sb3_il_plus.offline.bcq_policy import BCQPolicy
from sb3_il_plus.offline.experience import Experience, Path, Step
from sb3_il_plus.offline.graphs import updates_of
from sb3_il_plus.offline.precision import products_in
from sb3_il_plus.randomness import child_generator

EXPLORATION_NOISE = 0.1
"""Deviation of the noise of policies that are deterministic, in scaled actions: TD3's."""

EXPLORATION_RATE = 0.05
"""Share of random choices where the best one is always taken: SB3's DQN's, in the end."""


class GoesOnOnline:
    """Mixin of offline algorithms that can learn in an environment (`learn_online`)."""

    def learn_online(
        self,
        env: GymEnv | str | None,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        *,
        offline_fraction: float = 0.5,
        buffer_size: int = 1_000_000,
        learning_starts: int = 100,
        train_freq: int = 1,
        gradient_steps: int = 1,
        action_noise: ActionNoise | None = None,
    ) -> Self:
        """Go on in an environment, with the algorithm's own objective.

        Names are those of SB3's off-policy algorithms. One timestep is one step of the environment,
        for callbacks, logs and schedules, which begin anew. There are no random actions to begin
        with: the policy already knows something.

        Actions are those that `predict` gives without `deterministic`. Policies that have no
        randomness of their own get some: noise, or random choices in one of twenty steps.

        New experience is not in the model's file, as in SB3. An algorithm that reads what followed
        a step (ReBRAC, Cal-QL) learns from an episode when it is over.

        :param env: to learn in; None for the one that the model has
        :param total_timesteps: steps of the environment
        :param callback: SB3's; called after each step
        :param log_interval: episodes between two lines in the log
        :param tb_log_name: of the run in TensorBoard; by default the class's name with `_online`
        :param reset_num_timesteps: whether to count from zero
        :param progress_bar: whether to show one
        :param offline_fraction: share of the data in each batch; 0.5 for symmetric sampling, 0 for
            new experience alone
        :param buffer_size: transitions of new experience that are kept
        :param learning_starts: steps before the first update
        :param train_freq: steps of each environment between updates
        :param gradient_steps: updates each time; -1 for as many as there were steps
        :param action_noise: added to scaled actions; None for what is said above
        :raises UserError: there is neither an environment nor data, or an argument is none
        """
        if not 0 <= offline_fraction <= 1:
            raise UserError(f"offline_fraction={offline_fraction} must lie within [0, 1]")
        if train_freq < 1 or gradient_steps < -1 or gradient_steps == 0:
            raise UserError(
                f"train_freq={train_freq} must be at least 1, and gradient_steps={gradient_steps} "
                "at least 1, or -1 for as many as there were steps"
            )
        model: Any = self
        if env is not None:
            model.set_env(env)
        model._require_environment()
        model._require_demonstrations()
        if tb_log_name == "run":
            tb_log_name = f"{type(self).__name__}_online"
        total_timesteps, prepared = model._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        phase = OnlinePhase(model, Experience(buffer_size), action_noise, offline_fraction)
        prepared.on_training_start(locals(), globals())
        end_of_warm_up = model.num_timesteps + learning_starts
        while model.num_timesteps < total_timesteps:
            if not phase.collect(train_freq, prepared, log_interval):
                break
            if model.num_timesteps >= end_of_warm_up:
                phase.update(train_freq * model.n_envs if gradient_steps < 0 else gradient_steps)
        model.policy.set_training_mode(False)
        prepared.on_training_end()
        return self


class OnlinePhase:
    """Steps in the environment, and updates from them and the data.

    :param model: an offline algorithm with an environment and data
    :param experience: where new transitions go
    :param action_noise: added to scaled actions; None for the default
    :param offline_fraction: share of the data in each batch
    """

    def __init__(
        self,
        model: Any,
        experience: Experience,
        action_noise: ActionNoise | None,
        offline_fraction: float,
    ) -> None:
        self.model = model
        self.experience = experience
        self.action_noise = action_noise or _default_noise(model)
        self.n_offline = round(model.batch_size * offline_fraction)
        self._rng = child_generator(model._base_seed, f"online from {model.num_timesteps}")
        self._generator = th.Generator(model.device)
        self._generator.manual_seed(int(self._rng.integers(2**63)))
        # What follows a step is known when its episode is over.
        self._waits = bool(model._columns)
        self._make_update = updates_of(model)
        self._paths = [Path() for _ in range(model.n_envs)]

    # -- steps -----------------------------------------------------------------------------------

    def collect(self, n_steps: int, callback: BaseCallback, log_interval: int) -> bool:
        """Make steps of each environment.

        :return: whether to go on
        """
        callback.on_rollout_start()
        for _ in range(n_steps):
            n_over, names = self._step()
            callback.update_locals({"self": self.model, **names})
            go_on = callback.on_step()
            for _ in range(n_over):
                self.model._episode_num += 1
                if self.model._episode_num % log_interval == 0:
                    go_on = self.model._log() and go_on
            if not go_on:
                return False
        callback.on_rollout_end()
        return True

    def _step(self) -> tuple[int, dict[str, Any]]:
        """One step of each environment.

        :return: episodes that are over, and what callbacks look for
        """
        model, before = self.model, self.model._last_obs
        actions = self._choose(before)
        after, rewards, dones, infos = model.env.step(actions)
        normalizer = model._vec_normalize_env
        original = rewards if normalizer is None else normalizer.get_original_reward()
        model.num_timesteps += model.n_envs
        model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
        model._update_info_buffer(infos, dones)
        for i, path in enumerate(self._paths):
            info = infos[i]
            led_to = info["terminal_observation"] if dones[i] else col.take(after, i)
            cut = bool(info.get("TimeLimit.truncated", False))
            terminal = bool(dones[i]) and not cut
            path.add(Step(col.take(before, i), actions[i], float(original[i]), led_to, terminal))
            if dones[i] or not self._waits:
                self.experience.add(path.take().to_batch(model))
        model._last_obs = after
        return int(np.sum(dones)), {"rewards": rewards, "dones": dones, "infos": infos}

    def _choose(self, observations: Any) -> np.ndarray:
        model, noise = self.model, self.action_noise
        actions, _ = model.predict(observations, deterministic=False)
        if noise is not None:
            scaled = model.policy.scale_action(actions) + np.stack([noise() for _ in actions])
            unscaled: np.ndarray = model.policy.unscale_action(np.clip(scaled, -1.0, 1.0))
            return unscaled.astype(actions.dtype)
        if hasattr(model.policy, "q_net"):
            is_random = self._rng.random(len(actions)) < EXPLORATION_RATE
            choices = self._rng.integers(int(model.action_space.n), size=len(actions))
            return np.where(is_random, choices, actions)
        chosen: np.ndarray = actions
        return chosen

    # -- updates ---------------------------------------------------------------------------------

    def update(self, n_updates: int) -> None:
        """Make gradient updates."""
        model = self.model
        model.policy.set_training_mode(True)
        with products_in(model.matmul_precision):
            for _ in range(n_updates):
                model._follow_schedules()
                model._figures.add(self._make_update(self._batch()))
                model._n_updates += 1

    def _batch(self) -> Batch:
        """Transitions of the data, and then of the experience; of the data while there is none."""
        of_data: Batch = self.model._batches.sample()
        n_new = len(of_data.rewards) - self.n_offline
        if n_new == 0 or len(self.experience) == 0:
            return of_data
        noise: Mapping[str, Any] = self.model._noise()
        new = self.experience.sample(n_new, noise, self._rng, self._generator)
        return joined(of_data, self.n_offline, new)


def _default_noise(model: Any) -> ActionNoise | None:
    """For deterministic policies of continuous actions: TD3's, but for BCQ's, which draws."""
    if not isinstance(model.policy, TD3Policy) or isinstance(model.policy, BCQPolicy):
        return None
    size = spaces.flatdim(model.action_space)
    return NormalActionNoise(np.zeros(size), np.full(size, EXPLORATION_NOISE))
