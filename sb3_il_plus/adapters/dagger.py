"""DAgger (`imitation.algorithms.dagger`) as an SB3 algorithm.

Each round, the learner and the demonstrator drive together, the demonstrator labels every state
that was visited, and behavioural cloning goes on with all labels so far. Upstream's collector mixes
the actions and upstream's trainer updates; this file keeps the data in memory instead of in scratch
folders, counts environment steps and lets SB3's callbacks see each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self, Unpack

import numpy as np
import torch as th
from imitation.algorithms import dagger
from imitation.data import types
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sb3_il_plus.adapters.bridge import BridgeLogger, upstream_warnings_silenced
from sb3_il_plus.adapters.policy_kinds import MASKED, RECURRENT
from sb3_il_plus.adapters.supervised import SupervisedAlgorithm, SupervisedArguments
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.recorder import EpisodeRecorder, tapped
from sb3_il_plus.data.validation import fit_to
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.experts.expert import Expert, as_expert
from sb3_il_plus.randomness import child_generator, child_seed

BetaSchedule = Literal["linear", "exponential"] | Callable[[int], float]


class DAgger(SupervisedAlgorithm):
    """Dataset aggregation (Ross, Gordon and Bagnell 2011, Algorithm 3.1).

    One timestep is one environment step. In round i the demonstrator acts with probability
    β_i in each step and the learner otherwise; the label is always the demonstrator's action.

    :param policy: policy alias or class, of any SB3 algorithm without a memory and masks
    :param env: where the learner is corrected
    :param demonstrations: optional data to begin with
    :param expert: the demonstrator: an SB3 model, an `Expert`, or a function from one observation
        to one action
    :param n_epochs: passes over all labels after each round
    :param rollout_round_min_episodes: episodes that a round has at least
    :param rollout_round_min_timesteps: environment steps that a round has at least
    :param beta_schedule: `"linear"`: β_i = max(0, 1 − i / `beta_rampdown_rounds`);
        `"exponential"`: β_i = `beta_decay`^i; or a function of i, which counts from 0
    :param beta_rampdown_rounds: rounds until a linear β is 0
    :param beta_decay: base of an exponential β, within (0, 1]
    :param kwargs: see `SupervisedAlgorithm` and `DemonstrationAlgorithm`
    """

    not_saved: ClassVar[frozenset[str]] = SupervisedAlgorithm.not_saved | {"expert"}
    trainer: _InMemoryTrainer

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        expert: Any = None,
        n_epochs: int = 4,
        rollout_round_min_episodes: int = 3,
        rollout_round_min_timesteps: int = 500,
        beta_schedule: BetaSchedule = "linear",
        beta_rampdown_rounds: int = 15,
        beta_decay: float = 0.5,
        _init_setup_model: bool = True,
        **kwargs: Unpack[SupervisedArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        if self._kind in (RECURRENT, MASKED):
            raise InapplicableError(
                f"DAgger cannot train a {self.policy_class.__name__}: while expert and learner "
                "drive together, nobody keeps the learner's memory or asks for action masks"
            )
        self.n_epochs = n_epochs
        self.rollout_round_min_episodes = rollout_round_min_episodes
        self.rollout_round_min_timesteps = rollout_round_min_timesteps
        self.beta_schedule = beta_schedule
        self.beta_rampdown_rounds = beta_rampdown_rounds
        self.beta_decay = beta_decay
        self.n_expert_queries = 0
        self._round_start = self._counters()
        self.expert: Expert | None = None
        if expert is not None:
            self.set_expert(expert)
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._build_policy()
        self.trainer = _InMemoryTrainer(
            venv=self.env,
            scratch_dir="unused",
            rng=child_generator(self._base_seed, "mixing"),
            beta_schedule=self._make_beta_schedule(),
            bc_trainer=self._build_bc_trainer(log_dumps=False),
            custom_logger=BridgeLogger(self),
        )

    def _make_beta_schedule(self) -> Callable[[int], float]:
        if self.beta_schedule == "linear":
            return dagger.LinearBetaSchedule(self.beta_rampdown_rounds)
        if self.beta_schedule == "exponential":
            return dagger.ExponentialBetaSchedule(self.beta_decay)
        if callable(self.beta_schedule):
            return self.beta_schedule
        raise UserError(
            f"beta_schedule={self.beta_schedule!r} must be 'linear', 'exponential' or a function "
            "from the number of the round to a probability"
        )

    def set_expert(self, expert: Any) -> None:
        """Name (another) demonstrator: a model, an `Expert`, or a function."""
        self.expert = as_expert(expert, self.observation_space, self.action_space)

    def set_env(self, env: GymEnv | str, force_reset: bool = True) -> None:
        """Replace the environment that the learner is corrected in."""
        super().set_env(env, force_reset)
        self.trainer.venv = self.env

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "DAgger",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Take `total_timesteps` environment steps (rounded up to the number of copies), in rounds.

        :param log_interval: rounds between two lines in the log
        """
        self._require_environment()
        if self.expert is None:
            raise UserError(
                "DAgger has no demonstrator to ask: pass expert=... to the constructor or to "
                "load(), or call set_expert()"
            )
        n_known = 0 if self.demonstrations is None else len(self.demonstrations)
        if n_known + total_timesteps < self.batch_size:
            raise UserError(
                f"total_timesteps={total_timesteps} gives fewer labels than one batch of "
                f"{self.batch_size}: take more steps or a smaller batch_size"
            )
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        go_on = True
        while go_on and self.num_timesteps < total_timesteps:
            self._round_start = self._counters()
            go_on = self._collect_round(callback, total_timesteps)
            if go_on:
                self._train_on_all_labels()
                self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
                if self.trainer.round_num % log_interval == 0:
                    self._dump_logs()
        self._round_start = self._counters()
        callback.on_training_end()
        return self

    def _collect_round(self, callback: BaseCallback, total_timesteps: int) -> bool:
        """Drive together, label every state, and add the labels to the data.

        A round depends on the policy, the data and its number alone: environments and sampling are
        seeded with it, so a run resumed at a round's start repeats it exactly.

        :return: whether to go on
        """
        round_num, expert = self.trainer.round_num, self.expert
        assert expert is not None
        # With the step count, so that a round which a callback cut short is not driven again.
        seed = child_seed(self._base_seed, f"round {round_num} at {self.num_timesteps}")
        beta = self.trainer.beta_schedule(round_num)
        go_on = True
        callback.on_rollout_start()
        with tapped(self.env) as (venv, tap), th.random.fork_rng(devices=[]):
            th.manual_seed(seed)
            venv.seed(seed)
            collector = _Collector(
                venv,
                get_robot_acts=self._own_actions,
                beta=beta,
                save_dir="unused",
                rng=np.random.default_rng(seed),
            )
            collector.reset()
            recorder = EpisodeRecorder(tap.observation_space, tap.action_space)
            recorder.reset(tap.raw_observations)
            while go_on and not self._round_is_over(recorder, total_timesteps):
                # The demonstrator sees, and the data holds, what lies below a VecNormalize.
                labels, _ = expert.predict(tap.raw_observations, deterministic=True)
                _, rewards, dones, infos = collector.step(labels)
                recorder.add(labels, *tap.raw_step)
                self.num_timesteps += self.n_envs
                self.n_expert_queries += self.n_envs
                self._update_info_buffer(infos, dones)
                callback.update_locals(locals())
                go_on = callback.on_step()
        callback.on_rollout_end()
        self.logger.record("rollout/beta", beta)
        self.logger.record("rollout/expert_queries", self.n_expert_queries)
        self._add_labels(recorder.demonstrations(keep_unfinished=True))
        return go_on

    def _own_actions(self, observations: Any) -> np.ndarray:
        return self.policy.predict(types.maybe_unwrap_dictobs(observations))[0]

    def _round_is_over(self, recorder: EpisodeRecorder, total_timesteps: int) -> bool:
        steps = self.num_timesteps - self._round_start["num_timesteps"]
        enough = (
            steps >= max(self.rollout_round_min_timesteps, self.batch_size)
            and recorder.n_finished >= self.rollout_round_min_episodes
        )
        return enough or self.num_timesteps >= total_timesteps

    def _add_labels(self, labels: Demonstrations | None) -> None:
        if labels is None:
            return
        labels = fit_to(labels, self.observation_space, self.action_space)
        if self.demonstrations is None:
            self.demonstrations = labels
            self._set_observation_statistics()
        else:
            self.demonstrations = Demonstrations.concatenate([self.demonstrations, labels])

    def _train_on_all_labels(self) -> None:
        """One round of upstream's behavioural cloning on everything labelled so far."""
        data = self._require_demonstrations()
        if len(data) < self.batch_size:
            return
        batches = self._build_batches(data, f"batches {self.trainer.round_num}")
        self._connect(self.trainer.bc_trainer, data, batches)
        n_batches = self.n_epochs * batches.sampler.batches_per_epoch
        self._update_learning_rate(self.trainer.bc_trainer.optimizer)
        self.policy.set_training_mode(True)
        arguments = {
            "n_batches": n_batches,
            "log_interval": max(1, n_batches - 1),  # the round's last batch is logged
            "log_rollouts_venv": None,
            "progress_bar": False,
        }
        with upstream_warnings_silenced():
            self.trainer.extend_and_update(arguments)
        self.policy.set_training_mode(False)
        self._kind.synchronize(self.policy)
        self._n_updates += n_batches

    # -- saving ----------------------------------------------------------------------------------

    def _data_to_save(self) -> Demonstrations | None:
        return self.demonstrations

    def _counters(self) -> dict[str, Any]:
        return {**super()._state(), "n_expert_queries": self.n_expert_queries}

    def _state(self) -> dict[str, Any]:
        # A round in progress is repeated after loading, so a file holds its start.
        return {**self._round_start, "round_num": self.trainer.round_num}

    def _load_state(self, state: dict[str, Any]) -> None:
        super()._load_state(state)
        self.n_expert_queries = state["n_expert_queries"]
        self._round_start = self._counters()
        self.trainer.round_num = state["round_num"]


class _InMemoryTrainer(dagger.DAggerTrainer):
    """Upstream's trainer, fed from memory: the adapter has set the batches before each round."""

    def _try_load_demos(self) -> None:
        """Upstream would read the round's demonstrations from its scratch folder here."""


class _Collector(dagger.InteractiveTrajectoryCollector):
    """Upstream's mixing of expert and learner actions, without its recording to files.

    It picks the rows in which the learner acts, which upstream's `DictObs` knows to do as well.
    """

    def reset(self) -> Any:
        """Reset the environments."""
        observations = self.venv.reset()
        self._last_obs = types.maybe_wrap_in_dictobs(observations)
        self._is_reset = True
        return observations

    def step_wait(self) -> VecEnvStepReturn:
        """Finish the step that `step_async` began with the mixed actions."""
        result = self.venv.step_wait()
        self._last_obs = types.maybe_wrap_in_dictobs(result[0])
        return result
