"""`RoundsAlgorithm`: supervised learning on what is gathered in an environment, round by round.

DAgger and BCO share it. A round drives the environments for a while, keeps what was seen, and then
trains the policy on all that is known by now. This file drives, records and counts environment
steps, shows each of them to SB3's callbacks, and makes rounds repeatable; who drives, and what is
learned from the record, is the subclass's.
"""

from __future__ import annotations

import abc
from typing import Any, Self, Unpack

import numpy as np
import torch as th
from imitation.algorithms import bc
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.adapters.bridge import upstream_warnings_silenced
from sb3_il_plus.adapters.policy_kinds import MASKED, RECURRENT
from sb3_il_plus.adapters.supervised import SupervisedAlgorithm, SupervisedArguments
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.recorder import EpisodeRecorder, tapped
from sb3_il_plus.data.validation import fit_to
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.randomness import child_seed


class RoundsArguments(SupervisedArguments, total=False):
    """Constructor arguments that subclasses pass through (see `RoundsAlgorithm`)."""

    n_epochs: int


class RoundsAlgorithm(SupervisedAlgorithm):
    """Gather in the environment, train the policy, and so on.

    One timestep is one environment step.

    :param n_epochs: passes over all pairs of observation and action after each round
    :param kwargs: see `SupervisedAlgorithm` and `DemonstrationAlgorithm`
    :raises InapplicableError: the policy has a memory or needs action masks
    """

    _bc_trainer: bc.BC

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        n_epochs: int = 4,
        **kwargs: Unpack[SupervisedArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        if self._kind in (RECURRENT, MASKED):
            raise InapplicableError(
                f"{type(self).__name__} cannot train a {self.policy_class.__name__}: while it "
                "drives an environment, nobody keeps its memory or asks for action masks"
            )
        self.n_epochs = n_epochs
        self.round_num = 0
        self._round_start: dict[str, Any] | None = None

    # -- what subclasses differ in ---------------------------------------------------------------

    @abc.abstractmethod
    def _actions(
        self, observations: Any, raw_observations: Any, episode_starts: np.ndarray
    ) -> np.ndarray:
        """The actions to step with and to record, shape (n_envs, *action shape).

        :param observations: as the policy sees them
        :param raw_observations: as the environment shows them, below a `VecNormalize`
        :param episode_starts: shape (n_envs,), where an episode begins
        """

    @abc.abstractmethod
    def _round_is_over(self, n_steps: int, n_episodes: int) -> bool:
        """Whether `n_steps` in all copies, with `n_episodes` that ended, are enough for a round."""

    @abc.abstractmethod
    def _keep(self, gathered: Demonstrations) -> None:
        """Add what a round has gathered to what is known."""

    @abc.abstractmethod
    def _train(self) -> None:
        """Train on all that is known; see `_train_policy`."""

    @abc.abstractmethod
    def _run_trainer(self, arguments: dict[str, Any]) -> None:
        """Have upstream's trainer make its updates.

        :param arguments: of its BC trainer's `train`
        """

    def _driven(self, venv: VecEnv, rng: np.random.Generator) -> VecEnv:
        """What is stepped with `_actions` in this round."""
        return venv

    def _check_before_learning(self, total_timesteps: int) -> None:
        """Refuse to learn without what is needed for it."""
        self._require_environment()

    # -- learning --------------------------------------------------------------------------------

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Take `total_timesteps` environment steps (rounded up to the number of copies), in rounds.

        :param log_interval: rounds between two lines in the log
        :param tb_log_name: TensorBoard's name of the run; None for the algorithm's
        """
        self._check_before_learning(total_timesteps)
        total_timesteps, callback = self._setup_learn(
            total_timesteps,
            callback,
            reset_num_timesteps,
            tb_log_name or type(self).__name__,
            progress_bar,
        )
        callback.on_training_start(locals(), globals())
        go_on = True
        while go_on and self.num_timesteps < total_timesteps:
            self._round_start = self._counters()
            go_on = self._gather(callback, total_timesteps)
            if go_on:
                with th.random.fork_rng(devices=[]):  # a policy may have dropout
                    th.manual_seed(child_seed(self._base_seed, f"updates {self.round_num}"))
                    self._train()
                self.round_num += 1
                self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
                if self.round_num % log_interval == 0:
                    self._dump_logs()
        self._round_start = None
        callback.on_training_end()
        return self

    def _gather(self, callback: BaseCallback, total_timesteps: int) -> bool:
        """Drive the environments for a round, and keep what was seen.

        :return: whether to go on
        """
        callback.on_rollout_start()
        gathered, go_on = self._drive(callback, total_timesteps)
        callback.on_rollout_end()
        self._keep(fit_to(gathered, self.observation_space, self.action_space))
        return go_on

    def _drive(self, callback: BaseCallback, total_timesteps: int) -> tuple[Demonstrations, bool]:
        """Drive the environments for a round.

        A round depends on the policy, the data and its number alone: environments and sampling are
        seeded with it, so a run resumed at a round's start repeats it exactly.

        :return: what was seen, and whether to go on
        """
        # With the step count, so that a round which a callback cut short is not driven again.
        seed = child_seed(self._base_seed, f"round {self.round_num} at {self.num_timesteps}")
        start, go_on = self.num_timesteps, True
        with tapped(self.env) as (venv, tap), th.random.fork_rng(devices=[]):
            th.manual_seed(seed)
            self.action_space.seed(seed)
            venv.seed(seed)
            driven = self._driven(venv, np.random.default_rng(seed))
            observations = driven.reset()
            recorder = EpisodeRecorder(tap.observation_space, tap.action_space)
            recorder.reset(tap.raw_observations)
            dones = np.ones(self.n_envs, dtype=bool)
            while go_on and self.num_timesteps < total_timesteps:
                actions = self._actions(observations, tap.raw_observations, dones)
                observations, rewards, dones, infos = driven.step(actions)
                recorder.add(actions, *tap.raw_step)
                self.num_timesteps += self.n_envs
                self._update_info_buffer(infos, dones)
                callback.update_locals(locals())
                go_on = callback.on_step()
                if self._round_is_over(self.num_timesteps - start, recorder.n_finished):
                    break
        gathered = recorder.demonstrations(keep_unfinished=True)
        assert gathered is not None
        return gathered, go_on

    def _train_policy(self, data: Demonstrations) -> None:
        """Train the policy for `n_epochs` passes over pairs of observation and action."""
        batches = self._build_batches(data, f"batches {self.round_num}")
        self._connect(self._bc_trainer, data, batches)
        n_batches = self.n_epochs * batches.sampler.batches_per_epoch
        self._update_learning_rate(self._bc_trainer.optimizer)
        self.policy.set_training_mode(True)
        arguments = {
            "n_batches": n_batches,
            "log_interval": max(1, n_batches - 1),  # the round's last batch is logged
            "log_rollouts_venv": None,
            "progress_bar": False,
        }
        with upstream_warnings_silenced():
            self._run_trainer(arguments)
        self.policy.set_training_mode(False)
        self._kind.synchronize(self.policy)
        self._n_updates += n_batches

    # -- saving ----------------------------------------------------------------------------------

    def _counters(self) -> dict[str, Any]:
        return {**super()._state(), "round_num": self.round_num}

    def _state(self) -> dict[str, Any]:
        # A round in progress is repeated after loading, so a file holds its start.
        return self._counters() if self._round_start is None else self._round_start

    def _load_state(self, state: dict[str, Any]) -> None:
        super()._load_state(state)
        self.round_num = state["round_num"]
        self._round_start = None
