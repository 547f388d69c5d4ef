"""`OfflineAlgorithm`: what all offline algorithms share, which is everything but their losses.

It prepares the data, makes updates, counts and logs them, watches the values, and saves itself. A
subclass says which networks there are (`_build_networks`), what is random in an update (`_noise`),
and what an update does (`_update`). `actor_critic.py` has the networks of most of them.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Literal, Self, Unpack

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import CombinedExtractor
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_il_plus.algorithm import CommonArguments, DemonstrationAlgorithm
from sb3_il_plus.data.batches import TransitionSampler
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.records import TransitionBatch
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.handover.optimizers import OptimizerStates
from sb3_il_plus.offline.adam import LeanAdam
from sb3_il_plus.offline.batch import Batch, Noise, draw_all
from sb3_il_plus.offline.checks import (
    check_offline_data,
    largest_value,
    scale_of_returns,
)
from sb3_il_plus.offline.divergence import watch
from sb3_il_plus.offline.export import TrainedStacks, put_data, states_of_stacks
from sb3_il_plus.offline.figures import Figures
from sb3_il_plus.offline.graphs import updates_of
from sb3_il_plus.offline.online import GoesOnOnline
from sb3_il_plus.offline.precision import MatmulPrecision, check_precision, products_in

RewardScale = float | Literal["returns"]


class OfflineArguments(CommonArguments, total=False):
    """Constructor arguments that offline algorithms pass through (see `OfflineAlgorithm`)."""

    learning_rate: float | Schedule
    batch_size: int
    gamma: float
    reward_scale: RewardScale
    reward_shift: float
    stop_on_divergence: bool
    matmul_precision: MatmulPrecision | None
    cuda_graph: bool


class OfflineAlgorithm(GoesOnOnline, DemonstrationAlgorithm, abc.ABC):
    """Base of the algorithms that learn from fixed data with rewards.

    One timestep is one gradient update. With data alone (`env=None`) the spaces are the data's; an
    environment is for its spaces, its `VecNormalize` and SB3's callbacks.

    :param policy: policy alias or class
    :param env: optional
    :param demonstrations: data with rewards
    :param learning_rate: of all networks that have none of their own
    :param batch_size: transitions in each update
    :param gamma: discount
    :param reward_scale: what rewards are multiplied by; `"returns"` for 1000 / (largest - smallest
        return of an episode), as IQL does in its locomotion tasks (nothing is scaled where all
        returns are equal). What came out is saved with the model
    :param reward_shift: what is added to rewards after that (-1 for IQL in AntMaze)
    :param stop_on_divergence: whether to end training, and save the model as `diverged.zip` in the
        logger's folder, when its values exceed ten times the largest return that there can be.
        Otherwise a `DivergenceWarning` is all that happens
    :param matmul_precision: mixed precision while it learns: `"medium"` for products in bfloat16,
        `"high"` for TF32, as `torch.set_float32_matmul_precision`; None for torch's present setting
    :param cuda_graph: on a GPU, record an update once and replay it
    :param kwargs: see `DemonstrationAlgorithm`
    :raises DataError: the data has no rewards or fewer transitions than `batch_size`
    """

    policy: Any
    carries_optimizer = True
    default_net_arch: ClassVar[list[int]] = [256, 256]
    """Hidden layers, where `policy_kwargs` says nothing."""

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        learning_rate: float | Schedule = 3e-4,
        batch_size: int = 256,
        gamma: float = 0.99,
        reward_scale: RewardScale = 1.0,
        reward_shift: float = 0.0,
        stop_on_divergence: bool = False,
        matmul_precision: MatmulPrecision | None = None,
        cuda_graph: bool = False,
        **kwargs: Unpack[CommonArguments],
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} must be at least 1")
        if not 0 <= gamma <= 1:
            raise UserError(f"gamma={gamma} must lie within [0, 1]")
        if isinstance(reward_scale, str) and reward_scale != "returns":
            raise UserError(f"reward_scale={reward_scale!r} must be a number or 'returns'")
        check_precision(matmul_precision)
        self.batch_size = batch_size
        self.gamma = gamma
        self.reward_scale = reward_scale
        self.reward_shift = reward_shift
        self.stop_on_divergence = stop_on_divergence
        self.matmul_precision = matmul_precision
        self.cuda_graph = cuda_graph
        self._scale: float | None = None
        self._batches: TransitionSampler | None = None
        self._figures = Figures()
        self._diverged = False
        self._is_set_up = False
        super().__init__(policy, env, demonstrations, learning_rate=learning_rate, **kwargs)
        if cuda_graph and self.device.type != "cuda":
            raise UserError(f"cuda_graph=True needs a CUDA device, and device is {self.device}")

    # -- what an algorithm is ------------------------------------------------------------------

    @abc.abstractmethod
    def _build_networks(self) -> None:
        """Build what is trained around `self.policy`."""

    @abc.abstractmethod
    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        """Make one gradient update.

        :return: scalars to log, by name; `q_value` is the mean value, which is watched
        """

    def _kind_of_update(self) -> Hashable:
        """Which of several computations the next update is, where they differ (TD3's actor's)."""
        return None

    def _noise(self) -> Mapping[str, Noise]:
        """What is random in an update, by name."""
        return {}

    def _extras(self, data: Demonstrations) -> Mapping[str, np.ndarray | th.Tensor]:
        """What it reads of each transition beside those of `Batch`, by name; shape (N, ...)."""
        return {}

    @abc.abstractmethod
    def _optimizers(self) -> Mapping[str, th.optim.Optimizer]:
        """Every optimiser by its name as an attribute, as in `"policy.actor.optimizer"`."""

    def _learning_rate_of(self, name: str) -> float | Schedule:
        """The learning rate of the optimiser `name`: a number, or a function of the progress."""
        return self.learning_rate

    # -- networks and data ---------------------------------------------------------------------

    def _setup_model(self) -> None:
        self._build_policy()
        try:
            extractor = self._extractor
        except AttributeError as error:
            raise InapplicableError(
                f"{self.policy_class.__name__} is of another kind than the policies of "
                f"{type(self).__name__}: {', '.join(map(repr, self.policy_aliases))} ({error})"
            ) from error
        if any(True for _ in extractor.parameters()):
            raise InapplicableError(
                f"{type(self).__name__} reads vectors, and {type(extractor).__name__} has "
                "weights that it would have to learn; give it observations that are vectors"
            )
        self._build_networks()
        self._connect_data()

    def _build_policy_kwargs(self) -> dict[str, Any]:
        policy_kwargs = {"net_arch": list(self.default_net_arch), **super()._build_policy_kwargs()}
        if isinstance(self.observation_space, spaces.Dict):
            policy_kwargs.setdefault("features_extractor_class", CombinedExtractor)
        policy_kwargs.setdefault("optimizer_class", th.optim.Adam)
        if policy_kwargs["optimizer_class"] is th.optim.Adam:
            given = policy_kwargs.get("optimizer_kwargs") or {}
            policy_kwargs["optimizer_kwargs"] = {"fused": True, **given}
        return policy_kwargs

    def _build_optimizer(self, parameters: list[th.nn.Parameter], name: str) -> th.optim.Optimizer:
        """An optimiser of the policy's kind.

        :param name: of the attribute that it will be (see `_optimizers`)
        """
        rate = self._learning_rate_of(name)
        initial = rate(1.0) if callable(rate) else rate
        optimizer: Any = self.policy.optimizer_class
        if LeanAdam.can_replace(optimizer, self.policy.optimizer_kwargs):
            optimizer = LeanAdam
        built: th.optim.Optimizer = optimizer(
            parameters, lr=initial, **self.policy.optimizer_kwargs
        )
        return built

    @property
    def _extractor(self) -> th.nn.Module:
        """What makes features of observations."""
        extractor: th.nn.Module = self._acting.features_extractor
        return extractor

    @property
    def _acting(self) -> Any:
        """The part of the policy that acts."""
        return self.policy.actor

    def set_demonstrations(self, demonstrations: Any) -> None:
        """Give it (other) data; networks, optimisers and the data's normalisation stay."""
        super().set_demonstrations(demonstrations)
        check_offline_data(self._require_demonstrations(), self.batch_size)
        if self._is_set_up:
            self._connect_data()

    def _connect_data(self) -> None:
        """Sample from the data; the first data decides how all is normalised."""
        self._is_set_up = True
        if self.demonstrations is None:
            return
        data = self.demonstrations
        if self._scale is None:
            self._scale = (
                scale_of_returns(data) if self.reward_scale == "returns" else self.reward_scale
            )
            self._set_observation_statistics()
        assert data.rewards is not None
        self._largest_value = largest_value(
            data.rewards, self._scale, self.reward_shift, self.gamma
        )
        self._columns = {
            name: th.as_tensor(values, device=self.device)
            for name, values in self._extras(data).items()
        }
        self._batches = TransitionSampler(
            self._observed(data),
            self.batch_size,
            self.device,
            self._base_seed,
            transform=self._prepare,
        )

    def _observed(self, data: Demonstrations) -> Demonstrations:
        """The data as the policy's environment shows it, through its `VecNormalize`."""
        if self._vec_normalize_env is None:
            return data
        return dataclasses.replace(data, observations=self._as_env_observes(data.observations))

    def _prepare(
        self, transitions: TransitionBatch, places: th.Tensor, generator: th.Generator
    ) -> Batch:
        """Many batches at once, in the form that networks read."""
        extras = {name: values[places] for name, values in self._columns.items()}
        noise = draw_all(self._noise(), len(transitions.actions), generator)
        return self._as_batch(transitions, extras, noise)

    @th.no_grad()
    def _as_batch(
        self,
        transitions: TransitionBatch,
        extras: dict[str, th.Tensor],
        noise: dict[str, th.Tensor],
    ) -> Batch:
        observations, next_observations = (
            self._acting.extract_features(observed, self._extractor)
            for observed in (transitions.observations, transitions.next_observations)
        )
        scale = 1.0 if self._scale is None else self._scale
        return Batch(
            observations=observations.contiguous(),
            actions=self._scaled(transitions.actions),
            next_observations=next_observations.contiguous(),
            rewards=transitions.rewards.flatten() * scale + self.reward_shift,
            discounts=self.gamma * (1.0 - transitions.terminations.flatten()),
            noise=noise,
            extras=extras,
        )

    def _scaled(self, actions: th.Tensor) -> th.Tensor:
        """Actions from the environment's bounds to [-1, 1], as SB3 does; shape (n, dimension)."""
        low, high = (
            th.as_tensor(np.asarray(bound), dtype=th.float32, device=self.device).flatten()
            for bound in (self.action_space.low, self.action_space.high)  # type: ignore[attr-defined]
        )
        return 2.0 * (actions.flatten(1) - low) / (high - low) - 1.0

    # -- learning ------------------------------------------------------------------------------

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1000,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Make `total_timesteps` gradient updates.

        :param total_timesteps: gradient updates
        :param callback: SB3's; called after each update
        :param log_interval: updates between two lines in the log
        :param tb_log_name: of the run in TensorBoard; by default the class's name
        :param reset_num_timesteps: whether to count from zero
        :param progress_bar: whether to show one
        """
        self._require_demonstrations()
        assert self._batches is not None
        if tb_log_name == "run":
            tb_log_name = type(self).__name__
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        self.policy.set_training_mode(True)
        go_on, update = True, updates_of(self)
        with products_in(self.matmul_precision):
            while go_on and self.num_timesteps < total_timesteps:
                self._follow_schedules()
                self._figures.add(update(self._batches.sample()))
                go_on = self._after_update(callback)
                if self.num_timesteps % log_interval == 0:
                    go_on = self._log() and go_on
        self.policy.set_training_mode(False)
        callback.on_training_end()
        return self

    def _follow_schedules(self) -> None:
        for name, optimizer in self._optimizers().items():
            rate = self._learning_rate_of(name)
            if callable(rate):
                for group in optimizer.param_groups:
                    group["lr"] = rate(self._current_progress_remaining)

    def _log(self) -> bool:
        """Write a line of the log.

        :return: whether to go on
        """
        figures = self._figures.pop()
        for name, value in figures.items():
            self.logger.record(f"train/{name}", value)
        for name, optimizer in self._optimizers().items():
            part = name.replace("policy.", "").replace(".", "_").removesuffix("_optimizer")
            self.logger.record(f"train/learning_rate_{part}", optimizer.param_groups[0]["lr"])
        go_on = watch(self, figures.get("q_value", 0.0))
        self._dump_logs()
        return go_on

    # -- handing over (see `to_sb3`) -----------------------------------------------------------

    def _trained_stacks(self) -> TrainedStacks:
        """The policy's optimisers, and the stack that each trains."""
        return ()

    def _online_arguments(self, online: type[BaseAlgorithm]) -> dict[str, Any]:
        names = ["learning_rate", "gamma"]
        if issubclass(online, OffPolicyAlgorithm):
            names += ["batch_size", "tau"]
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def _optimizer_states(self) -> OptimizerStates:
        return states_of_stacks(self.policy, self._trained_stacks())

    def _finish_handover(self, model: Any) -> None:
        """The data, for algorithms that replay it."""
        if isinstance(model, OffPolicyAlgorithm):
            put_data(self, model)

    # -- saving --------------------------------------------------------------------------------

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", *self._optimizers()], []

    def _state(self) -> dict[str, Any]:
        batches = None if self._batches is None else self._batches.state()
        return {**super()._state(), "reward_scale": self._scale, "batches": batches}

    def _load_state(self, state: dict[str, Any]) -> None:
        super()._load_state(state)
        self._scale = state["reward_scale"]
        self._connect_data()
        saved, now = state["batches"], self._batches
        if now is None or saved is None:
            return
        if (saved["n"], saved["batch_size"]) == (now.n, now.batch_size):
            now.load_state(saved)
