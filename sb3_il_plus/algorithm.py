"""`DemonstrationAlgorithm`: what makes learning from demonstrations an ordinary SB3 algorithm.

It extends SB3's `BaseAlgorithm`, so SB3's callbacks, evaluation, loggers and wrappers work on every
subclass unchanged, and adds three things: demonstrations beside (or in place of) an environment,
files that loading never executes, and `history`, the logged figures as data.

A subclass stores each constructor argument under its own name (that is how it is saved), builds its
networks in `_setup_model`, and implements `learn`. See CONTRIBUTING.md for one in 40 lines.
"""

from __future__ import annotations

import io
import pathlib
import time
from collections.abc import Iterable
from typing import Any, ClassVar, Self, TypedDict

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import safe_mean

from sb3_il_plus import normalization, persistence, serialization
from sb3_il_plus.activations import with_activation
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.state_only import require_actions
from sb3_il_plus.data.validation import fit_to
from sb3_il_plus.environments import is_placeholder, make_env, placeholder_env
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.handover.to_sb3 import HandsOver
from sb3_il_plus.history import HistoryWriter
from sb3_il_plus.randomness import child_seed, fresh_seed, set_global_states
from sb3_il_plus.registry import registry
from sb3_il_plus.spec import AlgorithmSpec


class CommonArguments(TypedDict, total=False):
    """Constructor arguments that subclasses pass through (see `DemonstrationAlgorithm`)."""

    normalize_observations: bool
    policy_kwargs: dict[str, Any] | None
    stats_window_size: int
    tensorboard_log: str | None
    verbose: int
    seed: int | None
    device: th.device | str


class DemonstrationAlgorithm(HandsOver, BaseAlgorithm):
    """Base of every algorithm that learns from demonstrations.

    :param policy: policy alias (`MlpPolicy`, `CnnPolicy`, `MultiInputPolicy`) or class
    :param env: environment id, `Env` or `VecEnv`; None where the data alone is enough, and the
        spaces are then the data's
    :param demonstrations: `Demonstrations`, a path to some, or `imitation`'s trajectories
    :param learning_rate: of the policy, a number or a function of the remaining progress (1 to 0)
    :param normalize_observations: standardise observations with the demonstrations' own statistics,
        inside the policy, so that they are saved and deployed with it
    :param policy_kwargs: additional arguments of the policy; `activation_fn` may be named: `"ReLU"`
    :param stats_window_size: episodes over which `rollout/` figures are averaged
    :param tensorboard_log: folder for TensorBoard; None for none
    :param verbose: 0 for silence, 1 for information, 2 for debugging
    :param seed: of everything random
    :param device: `auto`, `cpu`, `cuda`
    :raises InapplicableError: the spaces do not suit the algorithm, or there is no env and no data
    :raises DataError: the demonstrations do not fit the environment's spaces
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": ActorCriticPolicy,
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
    }
    not_saved: ClassVar[frozenset[str]] = frozenset({"env", "demonstrations", "device"})
    """Constructor arguments that belong to the session, not to the model."""

    env: Any
    demonstrations: Demonstrations | None
    _random_states: dict[str, Any] | None = None
    """Of the global generators when the model's file was written; put back when it learns on."""

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        learning_rate: float | Schedule = 3e-4,
        normalize_observations: bool = False,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
    ) -> None:
        data = None if demonstrations is None else Demonstrations.coerce(demonstrations, env=env)
        if isinstance(env, str):
            env = make_env(env)
        elif env is None:
            if data is None:
                raise InapplicableError(
                    f"{type(self).__name__} needs env=..., demonstrations=..., or both: "
                    "without either its observation and action spaces are unknown"
                )
            env = placeholder_env(data.observation_space, data.action_space)
        if isinstance(env.action_space, spaces.Box) and not env.action_space.is_bounded():
            raise InapplicableError(
                f"SB3's algorithms need finite bounds of actions, not {env.action_space}"
            )
        super().__init__(
            policy=policy,
            env=env,
            learning_rate=learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
        )
        self._policy_argument = policy
        self.normalize_observations = normalize_observations
        self._check_spaces()
        self._base_seed = fresh_seed() if seed is None else seed
        self._history = HistoryWriter()
        self.demonstrations = None
        if data is not None:
            self.set_demonstrations(data)

    # -- what it learns from ---------------------------------------------------------------------

    @classmethod
    def get_spec(cls) -> AlgorithmSpec | None:
        """The registry's record of this class, or of its nearest registered ancestor."""
        return registry.spec_of(cls)

    def set_demonstrations(self, demonstrations: Any) -> None:
        """Give the algorithm (other) demonstrations to learn from.

        :raises DataError: they do not fit the spaces, hold a single step, or have no actions where
            the algorithm reads them
        """
        data = Demonstrations.coerce(demonstrations, env=self)
        if len(data) < 2:
            raise DataError("the demonstrations hold a single step; learning needs at least two")
        data = fit_to(data, self.observation_space, self.action_space)
        spec = self.get_spec()
        if spec is not None and not spec.reads_actions:
            data = data.without_actions()
        else:
            require_actions(data, type(self).__name__)
        self.demonstrations = data.validate()

    def set_env(self, env: GymEnv | str, force_reset: bool = True) -> None:
        """Replace the environment, as in SB3; a model that had none takes any number."""
        wrapped = self._wrap_env(make_env(env) if isinstance(env, str) else env, self.verbose)
        if is_placeholder(self.env):
            self.n_envs = wrapped.num_envs
        super().set_env(wrapped, force_reset)

    def _check_spaces(self) -> None:
        spec = self.get_spec()
        reason = spec.refusal(self.observation_space, self.action_space) if spec else None
        if reason is not None:
            raise InapplicableError(reason)

    def _require_demonstrations(self) -> Demonstrations:
        if self.demonstrations is None:
            raise UserError(
                f"{type(self).__name__} has no demonstrations to learn from: pass "
                "demonstrations=... to the constructor or to load(), or call set_demonstrations()"
            )
        return self.demonstrations

    def _require_environment(self) -> None:
        if is_placeholder(self.env):
            raise UserError(
                f"{type(self).__name__} learns in an environment and has none: pass env=... to the "
                "constructor or to load(), or call set_env()"
            )

    def _as_env_observes(self, observations: Columns) -> Columns:
        """Raw observations as the policy sees them: through its environment's `VecNormalize`."""
        if self._vec_normalize_env is None:
            return observations
        return self._vec_normalize_env.normalize_obs(observations)

    def _as_policy_acts(self, actions: np.ndarray) -> np.ndarray:
        """Actions as the policy's distribution reads them: SB3's Bernoulli computes with floats."""
        if isinstance(self.action_space, spaces.MultiBinary):
            return actions.astype(np.float32)
        return actions

    # -- networks --------------------------------------------------------------------------------

    def _build_policy(self) -> None:
        """Build the policy as SB3 does, with the demonstrations' statistics where asked for."""
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.policy = self.policy_class(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            **self._build_policy_kwargs(),
        ).to(self.device)
        self._set_observation_statistics()

    def _build_policy_kwargs(self) -> dict[str, Any]:
        """The policy's arguments, with the normalising features extractor where asked for."""
        policy_kwargs = with_activation(self.policy_kwargs)  # SB3 writes into what it is given
        if not self.normalize_observations:
            return policy_kwargs
        return normalization.add_to_policy_kwargs(policy_kwargs, self.policy_class)

    def _set_observation_statistics(self, network: th.nn.Module | None = None) -> None:
        """Put the demonstrations' statistics into features extractors (None for the policy's)."""
        if self.normalize_observations and self.demonstrations is not None:
            observations = self._as_env_observes(self.demonstrations.observations)
            normalization.set_statistics(network or self.policy, observations)

    # -- learning --------------------------------------------------------------------------------

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if total_timesteps < 1:
            raise UserError(f"total_timesteps={total_timesteps} must be at least 1")
        if reset_num_timesteps:
            self._history.rows.clear()
        elif self._random_states is not None:
            self._resume_random_streams(self._random_states)
        self._random_states = None
        total, prepared = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        # SB3 leaves it where it was, which for a loaded model is the beginning.
        self._update_current_progress_remaining(self.num_timesteps, total)
        if self._history not in self.logger.output_formats:
            self.logger.output_formats.append(self._history)
        return total, prepared

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed everything random anew, as in SB3."""
        self._random_states = None
        super().set_random_seed(seed)

    def _resume_random_streams(self, states: dict[str, Any]) -> None:
        """Go on with the random streams where the file left them.

        An environment's state is in no file, so it begins episodes that it has not begun before.
        """
        set_global_states(states, self.device)
        if self.seed is not None and not is_placeholder(self.env):
            self.env.seed(child_seed(self.seed, f"resumed at {self.num_timesteps}"))

    def _after_update(self, callback: BaseCallback) -> bool:
        """Count one gradient update as one timestep and let the callback act on it.

        :return: whether to go on
        """
        self.num_timesteps += 1
        self._n_updates += 1
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        go_on = self._finish_update()
        # SB3's callbacks look for these even where no environment is stepped.
        callback.update_locals({"dones": np.zeros(self.n_envs, dtype=bool), "infos": []})
        return callback.on_step() and go_on

    def _finish_update(self) -> bool:
        """What else belongs to an update, before callbacks see (and save) the model.

        :return: whether to go on
        """
        return True

    def _dump_logs(self) -> None:
        """Write what was recorded, under SB3's names for time and episodes."""
        seconds = max((time.time_ns() - self.start_time) / 1e9, 1e-9)
        done = self.num_timesteps - self._num_timesteps_at_start
        self.logger.record("time/fps", int(done / seconds))
        self.logger.record("time/time_elapsed", int(seconds), exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        if self.ep_info_buffer:
            for name, key in (("ep_rew_mean", "r"), ("ep_len_mean", "l")):
                mean = safe_mean([info[key] for info in self.ep_info_buffer])
                self.logger.record(f"rollout/{name}", mean)
        self.logger.dump(step=self.num_timesteps)

    @property
    def history(self) -> list[dict[str, Any]]:
        """Everything logged since the last reset of the timesteps, one dict per dump."""
        return self._history.rows

    # -- saving and loading (see persistence.py) -------------------------------------------------

    def _state(self) -> dict[str, Any]:
        """Counters and random states, as plain JSON; subclasses add theirs."""
        return {
            "num_timesteps": self.num_timesteps,
            "n_updates": self._n_updates,
            "episode_num": self._episode_num,
            "base_seed": self._base_seed,
        }

    def _load_state(self, state: dict[str, Any]) -> None:
        """Put back what `_state` returned."""
        self.num_timesteps = state["num_timesteps"]
        self._n_updates = state["n_updates"]
        self._episode_num = state["episode_num"]
        self._base_seed = state["base_seed"]

    def _data_to_save(self) -> Demonstrations | None:
        """Demonstrations that belong to the model itself (DAgger's), not to the user's files."""
        return None

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Write the model to one zip file, atomically and without pickle.

        :param path: where to; `.zip` is added where there is no suffix
        :param exclude: names of tensors to leave out (see `get_parameters`)
        :param include: `["demonstrations"]` to store the demonstrations in the file, too
        """
        persistence.save(self, path, exclude or (), include or ())

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | str | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Read a model that `save` wrote; nothing in the file is executed.

        :param path: the file
        :param env: the environment to go on in; None to predict only, or for data alone
        :param device: where to put the tensors
        :param custom_objects: values for constructor arguments that a file cannot hold (functions,
            classes of your own)
        :param print_system_info: print the versions that the file was written with
        :param force_reset: kept for SB3's signature; a loaded model always starts a new episode
        :param kwargs: constructor arguments to change, and `demonstrations=` to go on learning
        :raises FileError: the file is missing, damaged, of another algorithm, or names a class that
            is not from a trusted package
        """
        given = {**(custom_objects or {}), **kwargs}
        return persistence.load(cls, path, env, device, given, print_system_info)

    def set_parameters(
        self,
        load_path_or_dict: Any,
        exact_match: bool = True,
        device: th.device | str = "auto",
    ) -> None:
        """Load parameters from a model file or a dict, as in SB3 (see `get_parameters`)."""
        if not isinstance(load_path_or_dict, dict):
            tensors = serialization.read_archive(load_path_or_dict, "cpu").tensors
            names = set(self._get_torch_save_params()[0])
            load_path_or_dict = {name: value for name, value in tensors.items() if name in names}
        super().set_parameters(load_path_or_dict, exact_match, device)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
