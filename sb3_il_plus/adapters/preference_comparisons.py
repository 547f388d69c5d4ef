"""Preference comparisons (`imitation.algorithms.preference_comparisons`) as an SB3 algorithm.

Pairs of short fragments of the agent's episodes are compared, a reward net learns to agree with the
preferences, and the agent learns from the net, in turns. Upstream's own fragmenter, gatherer,
reward trainer and agent trainer do each of these; this file takes the turns, within the budget of
environment steps and before the eyes of SB3's callbacks.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
from imitation.algorithms import preference_comparisons as pc
from imitation.data.types import TrajectoryWithRew
from imitation.rewards.reward_nets import BasicRewardNet, NormalizedRewardNet, RewardNet
from imitation.util.networks import RunningNorm
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.adapters.bridge import BridgeLogger, StopTraining
from sb3_il_plus.adapters.generator import (
    ForwardCallback,
    GeneratorAlgorithm,
    GeneratorArguments,
)
from sb3_il_plus.adapters.horizon import check_horizon
from sb3_il_plus.adapters.learned_reward import LearnedReward
from sb3_il_plus.adapters.preferences import (
    AskingGatherer,
    ComparisonMemory,
    PreferenceFn,
    QuerySchedule,
    ToldVecEnv,
    as_episodes,
    comparisons_by_turn,
)
from sb3_il_plus.adapters.relabelling import relabelling_arguments
from sb3_il_plus.errors import UserError
from sb3_il_plus.randomness import child_generator


class PreferenceComparisons(LearnedReward, GeneratorAlgorithm):
    """Deep RL from preferences (Christiano et al. 2017, section 2.2).

    The probability that fragment 1 is preferred is modelled as the softmax of the fragments' sums
    of rewards, and the reward net minimises the cross-entropy to the preferences given. One
    timestep is one environment step, those in which fragments are collected included.

    Without `preference_fn`, preferences are synthetic: drawn from the same model with the
    environment's rewards. They are read for that alone.

    :param policy: policy alias or class of the generator
    :param env: where the generator acts
    :param demonstrations: optional episodes with rewards, from which fragments of the first
        comparisons are drawn, too (Ibarz et al. 2018)
    :param preference_fn: who prefers: a function of two fragments, see `PreferenceFn`. It is not
        saved; after `load`, give it again to learn on
    :param total_comparisons: asked for in one training; raise the attribute to be asked more in one
        that goes on
    :param num_iterations: turns of reward and agent after the first one
    :param fragment_length: steps of a fragment
    :param transition_oversampling: collect so many times the steps that fragments are made of
    :param initial_comparison_frac: part of the comparisons that the first turn begins with
    :param initial_epoch_multiplier: how much longer the reward net is trained in the first turn
    :param query_schedule: how the others are spread over the turns: `"hyperbolic"` (1 / (1 + t)),
        `"constant"`, `"inverse_quadratic"`, or a function of t, the turn as a number in [0, 1]
    :param comparison_queue_size: latest comparisons that the reward is trained on; None for all
    :param exploration_frac: part of the collected steps in which random actions are mixed in
    :param gatherer_kwargs: of synthetic preferences: `temperature` (0: never in error),
        `discount_factor`, `sample`
    :param reward_trainer_kwargs: `batch_size`, `epochs` (passes over the comparisons in each turn),
        `lr`
    :param reward_net_kwargs: of `imitation`'s `BasicRewardNet`, whose inputs are standardised with
        running statistics
    :param normalize_rewards: standardise the generator's rewards with running statistics
    :param horizon: what to do when episodes differ in length, which tells the learner about the
        reward: `"error"`, or `"allow"` it
    :param kwargs: see `GeneratorAlgorithm` and `DemonstrationAlgorithm`
    :raises InapplicableError: the generator does not suit the algorithm or the spaces
    """

    not_saved: ClassVar[frozenset[str]] = GeneratorAlgorithm.not_saved | {"preference_fn"}
    trainer: pc.PreferenceComparisons

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        preference_fn: PreferenceFn | None = None,
        total_comparisons: int = 500,
        num_iterations: int = 20,
        fragment_length: int = 100,
        transition_oversampling: float = 1.0,
        initial_comparison_frac: float = 0.1,
        initial_epoch_multiplier: float = 200.0,
        query_schedule: QuerySchedule = "hyperbolic",
        comparison_queue_size: int | None = None,
        exploration_frac: float = 0.0,
        gatherer_kwargs: dict[str, Any] | None = None,
        reward_trainer_kwargs: dict[str, Any] | None = None,
        reward_net_kwargs: dict[str, Any] | None = None,
        normalize_rewards: bool = True,
        horizon: Literal["error", "allow"] = "error",
        _init_setup_model: bool = True,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        self.preference_fn = preference_fn
        self.total_comparisons = total_comparisons
        self.num_iterations = num_iterations
        self.fragment_length = fragment_length
        self.transition_oversampling = transition_oversampling
        self.initial_comparison_frac = initial_comparison_frac
        self.initial_epoch_multiplier = initial_epoch_multiplier
        self.query_schedule = query_schedule
        self.comparison_queue_size = comparison_queue_size
        self.exploration_frac = exploration_frac
        self.gatherer_kwargs = {} if gatherer_kwargs is None else dict(gatherer_kwargs)
        self.reward_trainer_kwargs = {} if reward_trainer_kwargs is None else reward_trainer_kwargs
        self.reward_net_kwargs = {} if reward_net_kwargs is None else dict(reward_net_kwargs)
        self.normalize_rewards = normalize_rewards
        self.horizon = horizon
        self._check_arguments()
        self.n_comparisons = 0
        self._asks = preference_fn is not None
        self._rng = child_generator(self._base_seed, "comparisons")
        if _init_setup_model:
            self._setup_model()

    def _check_arguments(self) -> None:
        for name in ("num_iterations", "fragment_length"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} must be at least 1")
        if self.horizon not in ("error", "allow"):
            raise UserError(f"horizon={self.horizon!r} must be 'error' or 'allow'")
        _ = self._by_turn  # says what is wrong with it

    # -- building --------------------------------------------------------------------------------

    def _build_generator(self, **arguments: Any) -> BaseAlgorithm:
        if issubclass(self._generator_class, OffPolicyAlgorithm):
            arguments |= relabelling_arguments(
                self.generator_kwargs, self.observation_space, self._present_reward
            )
        return super()._build_generator(**arguments)

    def _present_reward(self, *transitions: Any) -> np.ndarray:
        return self._paid.predict_processed(*transitions, update_stats=False)

    def _setup_reward(self) -> None:
        arguments = {"normalize_input_layer": RunningNorm, **self.reward_net_kwargs}
        net = BasicRewardNet(self.observation_space, self.action_space, **arguments)
        self.reward_net = net.to(self.device)
        self.reward_normalizer = NormalizedRewardNet(net, RunningNorm).to(self.device)

    @property
    def _paid(self) -> RewardNet:
        return self.reward_normalizer if self.normalize_rewards else self.reward_net

    def _setup_trainer(self) -> None:
        logger = BridgeLogger(self)
        self._told_env = ToldVecEnv(self.env)
        reward_trainer = pc.BasicRewardTrainer(
            pc.PreferenceModel(self.reward_net),
            pc.CrossEntropyRewardLoss(),
            rng=self._rng,
            custom_logger=logger,
            **self.reward_trainer_kwargs,
        )
        self.trainer = pc.PreferenceComparisons(
            pc.AgentTrainer(
                self.generator_model,
                self._paid.predict_processed,
                self._told_env,
                rng=self._rng,
                exploration_frac=self.exploration_frac,
                custom_logger=logger,
            ),
            self.reward_net,
            num_iterations=self.num_iterations,
            fragmenter=pc.RandomFragmenter(self._rng, warning_threshold=0, custom_logger=logger),
            preference_gatherer=self._build_gatherer(logger),
            reward_trainer=reward_trainer,
            comparison_queue_size=self.comparison_queue_size,
            fragment_length=self.fragment_length,
            transition_oversampling=self.transition_oversampling,
            initial_comparison_frac=self.initial_comparison_frac,
            initial_epoch_multiplier=self.initial_epoch_multiplier,
            custom_logger=logger,
            allow_variable_horizon=self.horizon == "allow",
            query_schedule=self.query_schedule,
        )
        self.reward_optimizer = reward_trainer.optim
        self.comparisons = ComparisonMemory(self.trainer.dataset)

    def _build_gatherer(self, logger: BridgeLogger) -> pc.PreferenceGatherer:
        if self.preference_fn is not None:
            return AskingGatherer(self.preference_fn, logger)
        return pc.SyntheticGatherer(rng=self._rng, custom_logger=logger, **self.gatherer_kwargs)

    # -- turns -----------------------------------------------------------------------------------

    @property
    def _by_turn(self) -> np.ndarray:
        """Comparisons in each turn, by the present arguments: `total_comparisons` may be raised."""
        return comparisons_by_turn(
            self.total_comparisons,
            self.initial_comparison_frac,
            self.num_iterations,
            self.query_schedule,
        )

    def _n_fragment_steps(self, n_comparisons: int) -> int:
        return math.ceil(self.transition_oversampling * 2 * n_comparisons * self.fragment_length)

    def _n_due(self, n_timesteps: int) -> int:
        """Comparisons to ask for before the next `n_timesteps`: those of all turns until then."""
        turn = self.num_timesteps * (self.num_iterations + 1) // self._total_timesteps
        if self.num_timesteps + n_timesteps >= self._total_timesteps:
            turn = self.num_iterations
        return int(self._by_turn[: turn + 1].sum()) - self.n_comparisons

    def _round_timesteps(self) -> int:
        """Environment steps of a turn's training, in whole rollouts of an on-policy generator."""
        is_on_policy = isinstance(self.generator_model, OnPolicyAlgorithm)
        rollout = super()._round_timesteps() if is_on_policy else self.n_envs
        turn = self._total_timesteps // (self.num_iterations + 1)
        return max(rollout, turn // rollout * rollout)

    # -- learning --------------------------------------------------------------------------------

    def _check_before_learning(self) -> None:
        self._require_environment()
        if self._asks and self.preference_fn is None:
            raise UserError(
                "this model learned from a preference_fn, and files hold no functions: pass "
                "load(..., preference_fn=...) to learn on"
            )
        if self.horizon == "error":
            check_horizon(self.demonstrations, self.env, type(self).__name__)

    def _setup_learn(
        self, total_timesteps: int, *args: Any, **kwargs: Any
    ) -> tuple[int, BaseCallback]:
        n_first = self._by_turn[0]
        n_steps = self._n_fragment_steps(n_first)
        if not len(self.trainer.dataset) and 0 < total_timesteps < n_steps:
            raise UserError(
                f"total_timesteps={total_timesteps} are fewer than the {n_steps} steps in the "
                f"fragments of the first {n_first} comparisons: take more, or lower "
                "total_comparisons, initial_comparison_frac or fragment_length"
            )
        n_missing = self.total_comparisons - self.n_comparisons
        if 0 < total_timesteps < (n_all := self._n_fragment_steps(n_missing)):
            warnings.warn(
                f"total_comparisons={self.total_comparisons} need fragments of {n_all} steps, and "
                f"total_timesteps={total_timesteps} are fewer: fragments are going to overlap",
                stacklevel=3,
            )
        total_timesteps, callback = super()._setup_learn(total_timesteps, *args, **kwargs)
        if self.num_timesteps == 0:
            self.n_comparisons = 0
        return total_timesteps, callback

    def _train_round(self, n_timesteps: int, callback: ForwardCallback) -> None:
        agent = self.trainer.trajectory_generator
        is_first = not len(self.trainer.dataset)
        if self._n_due(n_timesteps) > 0:
            try:
                self._compare(n_timesteps, callback)
            except StopTraining:
                return
        agent.buffering_wrapper.pop_finished_trajectories()  # those that nobody asks about
        self.logger.record("train/comparisons", self.n_comparisons)
        with contextlib.redirect_stderr(io.StringIO()):  # upstream shows a progress bar there
            multiplier = self.initial_epoch_multiplier if is_first else 1.0
            self.trainer.reward_trainer.train(self.trainer.dataset, epoch_multiplier=multiplier)
        n_left = min(n_timesteps, self._total_timesteps - self.num_timesteps)
        if n_left > 0:
            own_callback = agent.log_callback
            agent.log_callback = CallbackList([own_callback, callback])
            try:
                agent.train(n_left)
            finally:
                agent.log_callback = own_callback

    def _compare(self, n_timesteps: int, callback: ForwardCallback) -> None:
        """Collect fragments, and have as many compared as are due before `n_timesteps` of training.

        :raises StopTraining: the callback says so
        """
        trainer = self.trainer
        n_steps = self._n_fragment_steps(self._n_due(n_timesteps))
        episodes = list(self._collect(n_steps, callback))
        n_pairs = self._n_due(n_timesteps)  # collecting may have made this the last turn
        if self.demonstrations is not None and not len(trainer.dataset):
            episodes += as_episodes(self.demonstrations, self._as_env_observes)
        if (longest := max(map(len, episodes))) < self.fragment_length:
            raise UserError(
                f"fragment_length={self.fragment_length} is more than any episode has: the longest "
                f"collected has {longest} steps"
            )
        fragments = trainer.fragmenter(episodes, self.fragment_length, n_pairs)
        with trainer.logger.accumulate_means("preferences"):
            preferences = trainer.preference_gatherer(fragments)
        trainer.dataset.push(fragments, preferences)
        self.n_comparisons += n_pairs

    def _collect(self, n_steps: int, callback: ForwardCallback) -> Sequence[TrajectoryWithRew]:
        """The latest episodes of the agent, with new ones where these are too few."""
        agent, generator = self.trainer.trajectory_generator, self.generator_model
        before = self.num_timesteps

        def on_step(dones: np.ndarray, infos: list[dict[str, Any]]) -> None:
            generator.num_timesteps += self.n_envs
            self._update_info_buffer(infos, dones)
            callback.update_locals({"dones": dones, "infos": infos})
            if not callback.on_step():
                raise StopTraining

        callback.init_callback(generator)
        callback.on_rollout_start()
        self._told_env.on_step = on_step
        try:
            episodes = agent.sample(n_steps)
        finally:
            self._told_env.on_step = None
            if self.num_timesteps > before:  # the generator is not where it was
                agent.buffering_wrapper.pop_finished_trajectories()
                generator._last_obs = None
        callback.on_rollout_end()
        return episodes

    # -- saving ----------------------------------------------------------------------------------

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, variables = super()._get_torch_save_params()
        normalizer = "reward_normalizer.normalize_output_layer"
        return [*modules, "reward_net", "reward_optimizer", normalizer, "comparisons"], variables

    def _state(self) -> dict[str, Any]:
        return {
            **super()._state(),
            "n_comparisons": self.n_comparisons,
            "asks": self._asks,
            "rng": self._rng.bit_generator.state,
        }

    def _load_state(self, state: dict[str, Any]) -> None:
        super()._load_state(state)
        self.n_comparisons = state["n_comparisons"]
        self._asks = state["asks"]
        self._rng.bit_generator.state = state["rng"]
