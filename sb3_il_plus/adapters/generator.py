"""`GeneratorAlgorithm`: an algorithm whose policy is trained by an RL algorithm, the generator.

The generator is any SB3 algorithm, and its reward is not the environment's but a learned one. This
file builds it, makes its policy, timesteps, episodes, callbacks and tensors those of our model, and
drives it in rounds. What happens in a round is the subclass's.
"""

from __future__ import annotations

import abc
import io
import pathlib
import warnings
from operator import attrgetter
from typing import Any, Self, Unpack

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_il_plus.adapters import replay_files, warm_start
from sb3_il_plus.adapters.generators import check_generator, generator_class
from sb3_il_plus.algorithm import CommonArguments, DemonstrationAlgorithm
from sb3_il_plus.errors import InapplicableError, UserError

_SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
"""Generator arguments that may be functions of the remaining progress."""

_COUNTERS = ("_n_updates", "_episode_num", "_n_calls", "exploration_rate")
"""What a generator counts beside timesteps; `_n_calls` and the exploration rate are DQN's."""

OFF_POLICY_ROUND = 512
"""Environment steps in a round with an off-policy generator. Upstream's default, one step of each
copy, spends nearly all its time on set-up."""


class GeneratorArguments(CommonArguments, total=False):
    """Constructor arguments that subclasses pass through (see `GeneratorAlgorithm`)."""

    learning_rate: float | Schedule
    generator: str | type[BaseAlgorithm]
    generator_kwargs: dict[str, Any] | None
    bc_warm_start: int | bool | None


class GeneratorAlgorithm(DemonstrationAlgorithm):
    """Train a generator, an RL algorithm, in rounds.

    One timestep is one environment step.

    :param policy: policy alias or class of the generator
    :param env: where the generator acts
    :param demonstrations: what the subclass makes the generator's reward of
    :param learning_rate: of the generator
    :param generator: name of a registered online RL algorithm (`"ppo"`, `"trpo"`, `"sac"`, ...), or
        a class
    :param generator_kwargs: its other arguments (`n_steps`, `gamma`, ...)
    :param bc_warm_start: gradient updates that clone the demonstrations into the policy before the
        first round; True for `warm_start.DEFAULT_UPDATES`, None or 0 for none. They are no
        timesteps, and happen once: not after `load`
    :param kwargs: see `DemonstrationAlgorithm`
    :raises InapplicableError: the generator does not suit the algorithm or the spaces
    """

    generator_model: BaseAlgorithm

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        learning_rate: float | Schedule = 3e-4,
        generator: str | type[BaseAlgorithm] = "ppo",
        generator_kwargs: dict[str, Any] | None = None,
        bc_warm_start: int | bool | None = None,
        **kwargs: Unpack[CommonArguments],
    ) -> None:
        self.generator = generator
        self._generator_class = generator_class(generator)
        # The generator's policies, so that `policy` means what it means to the generator.
        self.policy_aliases = self._generator_class.policy_aliases  # type: ignore[misc]
        super().__init__(policy, env, demonstrations, learning_rate=learning_rate, **kwargs)
        self.generator_kwargs = {} if generator_kwargs is None else dict(generator_kwargs)
        self.bc_warm_start = bc_warm_start
        self._n_warm_start = warm_start.n_updates(bc_warm_start, self.policy_class)
        self._rollout_start = 0

    # -- what subclasses differ in ---------------------------------------------------------------

    def _setup_reward(self) -> None:
        """Build what the generator's reward is computed by, where there is such a thing."""

    @abc.abstractmethod
    def _setup_trainer(self) -> None:
        """Connect generator, reward and `self.env` in a new `self.trainer`."""

    @abc.abstractmethod
    def _train_round(self, n_timesteps: int, callback: ForwardCallback) -> None:
        """Train the generator for `n_timesteps` with `callback`, and then whatever it learns from.

        Once `callback.go_on` is False, nothing more is to be trained.
        """

    def _round_timesteps(self) -> int:
        """Environment steps in a round: a rollout (on-policy), or `OFF_POLICY_ROUND`."""
        if isinstance(self.generator_model, OnPolicyAlgorithm):
            return self.generator_model.n_steps * self.n_envs
        return OFF_POLICY_ROUND

    def _check_before_learning(self) -> None:
        """Refuse to learn without what is needed for it."""
        self._require_environment()
        self._require_demonstrations()

    # -- building --------------------------------------------------------------------------------

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.generator_model = self._build_generator()
        self.policy = self.generator_model.policy
        self._set_observation_statistics()
        self._setup_reward()
        self._setup_trainer()

    def set_env(self, env: GymEnv | str, force_reset: bool = True) -> None:
        """Replace the environment; generator, reward and their optimisers stay.

        A model that had none takes any number of copies, as in SB3 only the same number afterwards.
        """
        n_before = self.n_envs
        super().set_env(env, force_reset)
        parameters = self.get_parameters()
        names = self._get_torch_save_params()[1]
        variables = {name: attrgetter(name)(self).detach().clone() for name in names}
        if self.n_envs == n_before:
            self._setup_trainer()
        else:
            self._setup_model()
        self.set_parameters(parameters)
        for name, value in variables.items():
            attrgetter(name)(self).data = value

    def _build_generator(self, **arguments: Any) -> BaseAlgorithm:
        """Build the generator around `self.env`.

        :param arguments: its arguments that are the subclass's to decide
        """
        check_generator(self._generator_class, self.generator_kwargs, self.env)
        arguments = {"learning_rate": self.lr_schedule, **self.generator_kwargs, **arguments}
        for name in _SCHEDULES:
            if callable(arguments.get(name)):
                arguments[name] = self._over_whole_training(arguments[name])
        try:
            generator = self._generator_class(
                self.policy_class,
                self.env,
                policy_kwargs=self._build_policy_kwargs(),
                verbose=0,
                seed=self.seed,
                device=self.device,
                **arguments,
            )
        except (AssertionError, TypeError) as error:
            raise InapplicableError(
                f"{self._generator_class.__name__} cannot be the generator: {error}"
            ) from error
        if hasattr(generator, "exploration_schedule"):  # DQN's ε
            exploration = self._over_whole_training(generator.exploration_schedule)
            generator.exploration_schedule = exploration
        return generator

    def _over_whole_training(self, schedule: Schedule) -> Schedule:
        """A schedule over our progress: the generator's own restarts with every round."""
        return lambda _: schedule(self._current_progress_remaining)

    # -- acting and learning ---------------------------------------------------------------------

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        **kwargs: Any,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose actions as the generator does, see SB3's `predict`.

        :param kwargs: what else the generator's `predict` takes: MaskablePPO's `action_masks`
        """
        return self.generator_model.predict(
            observation, state, episode_start, deterministic, **kwargs
        )

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Take at least `total_timesteps` environment steps, in whole rounds of the generator.

        :param log_interval: rounds between two lines in the log
        :param tb_log_name: TensorBoard's name of the run; None for the algorithm's
        """
        self._check_before_learning()
        total_timesteps, callback = self._setup_learn(
            total_timesteps,
            callback,
            reset_num_timesteps,
            tb_log_name or type(self).__name__,
            progress_bar,
        )
        self._warn_of_empty_replay_buffer()
        self._warm_start()
        forward = ForwardCallback(self, callback)
        callback.on_training_start(locals(), globals())
        n_rounds = 0
        while forward.go_on and self.num_timesteps < total_timesteps:
            missing = total_timesteps - self.num_timesteps
            self._train_round(min(self._round_timesteps(), missing), forward)
            self._n_updates = self.generator_model._n_updates
            n_rounds += 1
            if n_rounds % log_interval == 0:
                self._dump_logs()
        self._rollout_start = self.num_timesteps
        callback.on_training_end()
        return self

    def _warn_of_empty_replay_buffer(self) -> None:
        buffer = self.replay_buffer
        if self.num_timesteps and buffer is not None and not buffer.size():
            warnings.warn(
                f"{type(self).__name__} goes on at timestep {self.num_timesteps} with an empty "
                f"replay buffer: at first, {type(self.generator_model).__name__} learns from a few "
                "transitions over and over. Load the one it had with load_replay_buffer(); "
                "save_replay_buffer() and CheckpointCallback(save_replay_buffer=True) write it",
                stacklevel=3,
            )

    def _warm_start(self) -> None:
        """Clone the demonstrations, where that is asked for and still to be done."""
        if self._n_warm_start:
            figures = warm_start.clone(self, self._n_warm_start)
            self.logger.record("warm_start/updates", self._n_warm_start)
            for name, value in figures.items():
                self.logger.record(f"warm_start/{name}", value)
            self._n_warm_start = 0

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        resets = reset_num_timesteps or self._last_obs is None
        total_timesteps, prepared = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        generator = self.generator_model
        if resets:
            generator._last_obs = None  # the environment was reset under it
        generator.num_timesteps = self.num_timesteps
        generator.ep_info_buffer = self.ep_info_buffer
        generator.ep_success_buffer = self.ep_success_buffer
        return total_timesteps, prepared

    # -- handing over ----------------------------------------------------------------------------

    def _online_class(self) -> type[BaseAlgorithm]:
        return self._generator_class

    def _online_arguments(self, online: type[BaseAlgorithm]) -> dict[str, Any]:
        if online is not self._generator_class:
            return {}
        return {"learning_rate": self.learning_rate, **self.generator_kwargs}

    def _finish_handover(self, model: Any) -> None:
        """SAC's weight of the entropy, too, as far as both have one."""
        for name in self.generator_model._get_torch_save_params()[1]:
            if hasattr(model, name):
                getattr(model, name).data.copy_(getattr(self.generator_model, name).data)

    # -- saving ----------------------------------------------------------------------------------

    @property
    def replay_buffer(self) -> ReplayBuffer | None:
        """The generator's replay buffer; an on-policy generator has none."""
        return getattr(self.generator_model, "replay_buffer", None)

    def save_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """Write the replay buffer to one file, atomically and without pickle.

        :param path: where to; `.replay` is added where there is no suffix
        :raises UserError: the generator has none
        """
        replay_files.save(self._require_replay_buffer(), path)

    def load_replay_buffer(
        self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True
    ) -> None:
        """Read what `save_replay_buffer` wrote; nothing in the file is executed.

        :param path: the file
        :param truncate_last_traj: kept for SB3's signature; only `HerReplayBuffer` would use it
        :raises UserError: the generator has none
        :raises FileError: the file is missing, damaged, a pickle, or of a buffer that differs in
            size, number of environments or spaces
        """
        replay_files.load(self._require_replay_buffer(), path)

    def _require_replay_buffer(self) -> ReplayBuffer:
        if self.replay_buffer is None:
            raise UserError(
                f"{type(self.generator_model).__name__} learns on-policy and has no replay buffer "
                "to save or load; an off-policy generator such as 'sac' has one"
            )
        return self.replay_buffer

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, variables = self.generator_model._get_torch_save_params()
        return [*map(own_name, modules)], [*map(own_name, variables)]

    def _state(self) -> dict[str, Any]:
        # The networks know nothing yet of a rollout in progress: after loading, it is repeated.
        return {
            **super()._state(),
            "num_timesteps": self._rollout_start,
            "warm_start_updates_to_do": self._n_warm_start,
            "generator": {
                name: getattr(self.generator_model, name)
                for name in _COUNTERS
                if hasattr(self.generator_model, name)
            },
        }

    def _load_state(self, state: dict[str, Any]) -> None:
        super()._load_state(state)
        self._rollout_start = self.num_timesteps
        self.generator_model.num_timesteps = self.num_timesteps
        self._n_warm_start = state["warm_start_updates_to_do"]
        for name in _COUNTERS:
            if name in state["generator"]:
                setattr(self.generator_model, name, state["generator"][name])


class ForwardCallback(BaseCallback):
    """Shows the generator's steps to the user's callback as steps of our model.

    :param model: whose steps and progress they count as
    :param callback: the user's, already initialised with `model`
    """

    def __init__(self, model: GeneratorAlgorithm, callback: BaseCallback) -> None:
        super().__init__()
        self.outer = model
        self.callback = callback
        self.go_on = True

    def _on_rollout_start(self) -> None:
        self.outer._rollout_start = self.model.num_timesteps
        self.callback.on_rollout_start()

    def _on_step(self) -> bool:
        outer = self.outer
        outer.num_timesteps = self.num_timesteps
        outer._update_current_progress_remaining(self.num_timesteps, outer._total_timesteps)
        self.callback.update_locals(self.locals)
        self.go_on = self.callback.on_step()
        return self.go_on

    def _on_rollout_end(self) -> None:
        self.callback.update_locals(self.locals)
        self.callback.on_rollout_end()


def own_name(name: str) -> str:
    """Name of a generator's part within our model, whose `policy` is the generator's."""
    return name if name.startswith("policy") else f"generator_model.{name}"
