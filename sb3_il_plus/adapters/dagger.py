"""DAgger (`imitation.algorithms.dagger`) as an SB3 algorithm.

Each round, the learner and the demonstrator drive together, the demonstrator labels every state
that was visited, and behavioural cloning goes on with all labels so far. Upstream's collector mixes
the actions and upstream's trainer updates; this file keeps the data in memory instead of in scratch
folders. `rounds.py` drives, records and counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
import torch as th
from imitation.algorithms import dagger
from imitation.data import types
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sb3_il_plus.adapters.bridge import BridgeLogger
from sb3_il_plus.adapters.rounds import RoundsAlgorithm, RoundsArguments
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.state_only import stand_ins
from sb3_il_plus.data.validation import fit_to
from sb3_il_plus.errors import UserError
from sb3_il_plus.experts.expert import Expert, as_expert
from sb3_il_plus.experts.teacher import Teacher
from sb3_il_plus.randomness import child_generator, child_seed

BetaSchedule = Literal["linear", "exponential"] | Callable[[int], float]


class DAgger(RoundsAlgorithm):
    """Dataset aggregation (Ross, Gordon and Bagnell 2011, Algorithm 3.1).

    One timestep is one environment step. In round i the demonstrator acts with probability
    β_i in each step and the learner otherwise; the label is always the demonstrator's action.

    :param policy: policy alias or class, of any SB3 algorithm without a memory and masks
    :param env: where the learner is corrected
    :param demonstrations: optional data to begin with; trained on before the first round, where the
        learner acts in that (β_0 < 1)
    :param expert: the demonstrator: an SB3 model, an `Expert`, or a function from one observation
        to one action; or a `Teacher`, such as a person (see `sb3_il_plus.human`), who says
        afterwards what should have been done while the learner drove alone (β is 0)
    :param rollout_round_min_episodes: episodes that a round has at least
    :param rollout_round_min_timesteps: environment steps that a round has at least
    :param beta_schedule: `"linear"`: β_i = max(0, 1 − i / `beta_rampdown_rounds`);
        `"exponential"`: β_i = `beta_decay`^i; or a function of i, which counts from 0
    :param beta_rampdown_rounds: rounds until a linear β is 0
    :param beta_decay: base of an exponential β, within (0, 1]
    :param kwargs: see `RoundsAlgorithm`, `SupervisedAlgorithm` and `DemonstrationAlgorithm`
    """

    not_saved: ClassVar[frozenset[str]] = RoundsAlgorithm.not_saved | {"expert"}
    trainer: _InMemoryTrainer

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        expert: Any = None,
        rollout_round_min_episodes: int = 3,
        rollout_round_min_timesteps: int = 500,
        beta_schedule: BetaSchedule = "linear",
        beta_rampdown_rounds: int = 15,
        beta_decay: float = 0.5,
        _init_setup_model: bool = True,
        **kwargs: Unpack[RoundsArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        self.rollout_round_min_episodes = rollout_round_min_episodes
        self.rollout_round_min_timesteps = rollout_round_min_timesteps
        self.beta_schedule = beta_schedule
        self.beta_rampdown_rounds = beta_rampdown_rounds
        self.beta_decay = beta_decay
        self.n_expert_queries = 0
        self.expert: Expert | Teacher | None = None
        if expert is not None:
            self.set_expert(expert)
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._build_policy()
        self._bc_trainer = self._build_bc_trainer(log_dumps=False)
        self.trainer = _InMemoryTrainer(
            venv=self.env,
            scratch_dir="unused",
            rng=child_generator(self._base_seed, "mixing"),
            beta_schedule=self._make_beta_schedule(),
            bc_trainer=self._bc_trainer,
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
        """Name (another) demonstrator: a model, an `Expert`, a function, or a `Teacher`."""
        if not isinstance(expert, Teacher):
            expert = as_expert(expert, self.observation_space, self.action_space)
        self.expert = expert

    def set_env(self, env: GymEnv | str, force_reset: bool = True) -> None:
        """Replace the environment that the learner is corrected in."""
        super().set_env(env, force_reset)
        self.trainer.venv = self.env

    def _check_before_learning(self, total_timesteps: int) -> None:
        super()._check_before_learning(total_timesteps)
        if self.expert is None:
            raise UserError(
                "DAgger has no demonstrator to ask: pass expert=... to the constructor or to "
                "load(), or call set_expert()"
            )
        if isinstance(self.expert, Teacher) and self.n_envs != 1:
            raise UserError(
                f"a teacher follows one environment, and there are {self.n_envs} copies: pass an "
                "environment with a single one"
            )
        n_known = 0 if self.demonstrations is None else len(self.demonstrations)
        if n_known + total_timesteps < self.batch_size:
            raise UserError(
                f"total_timesteps={total_timesteps} gives fewer labels than one batch of "
                f"{self.batch_size}: take more steps or a smaller batch_size"
            )

    def _driven(self, venv: VecEnv, rng: np.random.Generator) -> VecEnv:
        self._expert_state: Any = None  # of experts that remember their episodes
        return _Collector(
            venv,
            get_robot_acts=self._own_actions,
            beta=self._beta,
            save_dir="unused",
            rng=rng,
        )

    def _gather(self, callback: BaseCallback, total_timesteps: int) -> bool:
        """Leave the round to the teacher, if there is one."""
        if self._n_updates == 0 and self._beta < 1 and self.demonstrations is not None:
            self._begin_with_what_is_known()
        if not isinstance(self.expert, Teacher):
            return super()._gather(callback, total_timesteps)
        start, go_on = self.num_timesteps, True

        def drive() -> Demonstrations:
            nonlocal go_on
            gathered, go_on = self._drive(callback, total_timesteps)
            return gathered

        callback.on_rollout_start()
        try:
            n_steps = min(self._round_steps, total_timesteps - start)
            lesson = self.expert.teach(self.round_num, n_steps, drive, self._own_action)
        except BaseException:
            self.num_timesteps = start  # the round will be asked for again
            raise
        callback.on_rollout_end()
        self.num_timesteps = start + lesson.n_steps  # steps of an earlier process among them
        if lesson.demonstrations is not None:
            self.n_expert_queries += len(lesson.demonstrations)
            self._keep(fit_to(lesson.demonstrations, self.observation_space, self.action_space))
        return go_on

    def _begin_with_what_is_known(self) -> None:
        """Train before the first round: who drives from the start should know something."""
        with th.random.fork_rng(devices=[]):
            th.manual_seed(child_seed(self._base_seed, "updates before round 0"))
            self._train()
        self._round_start = self._counters()  # a file that is saved in this round holds the updates

    def _own_action(self, observation: Any) -> np.ndarray:
        return self.policy.predict(self._as_env_observes(observation), deterministic=True)[0]

    @property
    def _beta(self) -> float:
        if isinstance(self.expert, Teacher):
            return 0.0
        return self.trainer.beta_schedule(self.round_num)

    def _actions(
        self, observations: Any, raw_observations: Any, episode_starts: np.ndarray
    ) -> np.ndarray:
        """The demonstrator's, which are the labels; the collector puts some of its own in place."""
        assert self.expert is not None
        if isinstance(self.expert, Teacher):
            assert self.env is not None
            self.expert.watch(self.env)
            return stand_ins(self.action_space, self.n_envs)
        self.n_expert_queries += self.n_envs
        actions, self._expert_state = self.expert.predict(
            raw_observations, self._expert_state, episode_starts, deterministic=True
        )
        return actions

    def _own_actions(self, observations: Any) -> np.ndarray:
        return self.policy.predict(types.maybe_unwrap_dictobs(observations))[0]

    @property
    def _round_steps(self) -> int:
        return max(self.rollout_round_min_timesteps, self.batch_size)

    def _round_is_over(self, n_steps: int, n_episodes: int) -> bool:
        return n_steps >= self._round_steps and n_episodes >= self.rollout_round_min_episodes

    def _keep(self, gathered: Demonstrations) -> None:
        self.logger.record("rollout/beta", self._beta)
        self.logger.record("rollout/expert_queries", self.n_expert_queries)
        if self.demonstrations is None:
            self.demonstrations = gathered
            self._set_observation_statistics()
        else:
            known = self.demonstrations
            # Bounds may differ: those of the user's own arrays are guessed.
            labels = dataclasses.replace(
                gathered,
                observation_space=known.observation_space,
                action_space=known.action_space,
            )
            self.demonstrations = Demonstrations.concatenate([known, labels])

    def _train(self) -> None:
        data = self.demonstrations  # None while a teacher has let the learner drive
        if data is not None and len(data) >= self.batch_size:
            self._train_policy(data)

    def _run_trainer(self, arguments: dict[str, Any]) -> None:
        self.trainer.round_num = self.round_num
        self.trainer.extend_and_update(arguments)

    # -- saving ----------------------------------------------------------------------------------

    def _data_to_save(self) -> Demonstrations | None:
        return self.demonstrations

    def _counters(self) -> dict[str, Any]:
        return {**super()._counters(), "n_expert_queries": self.n_expert_queries}

    def _load_state(self, state: dict[str, Any]) -> None:
        super()._load_state(state)
        self.n_expert_queries = state["n_expert_queries"]
        self.trainer.round_num = self.round_num


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
