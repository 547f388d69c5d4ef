"""`ValidatedLearning`: supervised learning update by update, watched by episodes held out.

It counts updates as timesteps, lets SB3's callbacks see each of them, validates, stops early, and
goes on where a saved model stopped. A subclass builds its policy, and says how updates are made and
how good they are; what the loss is computed of (upstream's trainer, or a loop) is its own affair.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Self, TypedDict

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from torch import nn

from sb3_il_plus.algorithm import DemonstrationAlgorithm
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import Batches
from sb3_il_plus.errors import UserError
from sb3_il_plus.supervised.early_stopping import EarlyStopping


class ValidationArguments(TypedDict, total=False):
    """Constructor arguments of `ValidatedLearning`."""

    validation_fraction: float
    validation_freq: int | None
    early_stopping_patience: int | None


class ValidatedLearning(DemonstrationAlgorithm, abc.ABC):
    """Base of what learns a policy from demonstrations alone, by gradient updates.

    :param policy: policy alias or class
    :param env: optional
    :param demonstrations: what to learn from
    :param validation_fraction: share of the episodes that is held out, within [0, 1); 0 for none
    :param validation_freq: updates from one validation to the next; None for one pass over the data
    :param early_stopping_patience: validations without a new lowest loss after which training ends;
        None for never
    :param kwargs: of the class that follows in the order of inheritance
    """

    batch_size: int
    minibatch_size: int | None
    _batches: Batches | None
    _is_set_up = False
    """Whether there is a policy that data can be connected to."""

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        validation_fraction: float = 0.0,
        validation_freq: int | None = None,
        early_stopping_patience: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        self.validation_fraction = validation_fraction
        self.validation_freq = validation_freq
        self.early_stopping_patience = early_stopping_patience
        self._check_validation()
        self.early_stopping = EarlyStopping(early_stopping_patience)
        self._held_out: Batches | None = None

    def _check_validation(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise UserError(
                f"validation_fraction={self.validation_fraction} must lie within [0, 1)"
            )
        for name in ("validation_freq", "early_stopping_patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value} must be at least 1")
        if self.early_stopping_patience is not None and self.validation_fraction == 0:
            raise UserError(
                f"early_stopping_patience={self.early_stopping_patience} counts validations: give "
                "validation_fraction=0.1 or so, too"
            )

    # -- what a subclass says --------------------------------------------------------------------

    @abc.abstractmethod
    def _build_batches(
        self, demonstrations: Demonstrations, purpose: str, batch_size: int | None = None
    ) -> Batches:
        """Make batches of demonstrations.

        :param purpose: `"batches"` for those to learn from, `"validation"` for those held out
        :param batch_size: in place of the algorithm's
        """

    @abc.abstractmethod
    def _make_updates(
        self, n_updates: int, after_update: Callable[[], bool], log_interval: int
    ) -> None:
        """Make gradient updates on `self._batches`.

        :param after_update: to be called after each; returns whether to go on
        :param log_interval: updates between two lines in the log
        """

    @abc.abstractmethod
    def _validation_loss(self, held_out: Batches) -> float:
        """Mean loss of the held-out transitions, without regularisers; gradients are off."""

    @property
    def _trained(self) -> nn.Module:
        """The network that is trained."""
        return self.policy

    @property
    def _optimizer(self) -> th.optim.Optimizer:
        """Its optimiser."""
        return self.policy.optimizer

    def _synchronize(self) -> None:
        """Have the other networks follow the trained one, where there are any."""

    # -- data ------------------------------------------------------------------------------------

    def set_demonstrations(self, demonstrations: Any) -> None:
        """Replace the data; the policy and its optimiser stay."""
        super().set_demonstrations(demonstrations)
        if self._is_set_up:
            self.early_stopping.reset()
            self._connect_data()

    def _connect_data(self) -> None:
        self._is_set_up = True
        if self.demonstrations is None:
            return
        training = self._to_learn_from(self.demonstrations)
        if self.validation_fraction > 0:
            training, held_out = training.split(self.validation_fraction, self._base_seed)
            size = min(len(held_out), self.minibatch_size or self.batch_size)
            self._held_out = self._build_batches(held_out, "validation", size)
        self._batches = self._build_batches(training, "batches")
        self._learn_from(training, self._batches)

    def _to_learn_from(self, demonstrations: Demonstrations) -> Demonstrations:
        """The part of the data that is learned from, and held out."""
        return demonstrations

    def _learn_from(self, demonstrations: Demonstrations, batches: Batches) -> None:
        """Take note of what is learned from, without what is held out."""

    @property
    def updates_per_epoch(self) -> int:
        """Gradient updates in one pass over the data: `learn(20 * model.updates_per_epoch)`."""
        self._require_demonstrations()
        assert self._batches is not None
        return self._batches.sampler.batches_per_epoch

    # -- learning --------------------------------------------------------------------------------

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 500,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Make `total_timesteps` gradient updates, or fewer where validation ends training early.

        :param log_interval: updates between two lines in the log
        :param tb_log_name: of the run in TensorBoard; by default the class's name
        """
        self._require_demonstrations()
        if tb_log_name == "run":
            tb_log_name = type(self).__name__
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        if reset_num_timesteps:
            self.early_stopping.reset()
        self.early_stopping.resume(self._trained)
        callback.on_training_start(locals(), globals())

        def after_update() -> bool:
            go_on = self._after_update(callback)
            if go_on:
                self._update_learning_rate(self._optimizer)
            return go_on

        self.policy.set_training_mode(True)
        self._update_learning_rate(self._optimizer)
        try:
            if not self.early_stopping.is_exhausted:
                n_updates = total_timesteps - self.num_timesteps
                self._make_updates(n_updates, after_update, log_interval)
        finally:
            self.early_stopping.finish(self._trained)
            self._synchronize()
            self.policy.set_training_mode(False)
        callback.on_training_end()
        return self

    def _finish_update(self) -> bool:
        self._synchronize()
        if self._held_out is None:
            return True
        if self.num_timesteps % (self.validation_freq or self.updates_per_epoch) == 0:
            self.policy.set_training_mode(False)
            with th.no_grad():
                loss = self._validation_loss(self._held_out)
            self.policy.set_training_mode(True)
            self.early_stopping.add(loss, self._trained)
            self.logger.record("train/validation_loss", loss)
            self._dump_logs()
        return not self.early_stopping.is_exhausted

    # -- saving and loading ----------------------------------------------------------------------

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, variables = super()._get_torch_save_params()
        if self.validation_fraction > 0:
            state_dicts.append("early_stopping")
        return state_dicts, variables

    def _state(self) -> dict[str, Any]:
        state = {**super()._state(), "early_stopping": self.early_stopping.state()}
        if self._batches is not None:
            state["batches"] = self._batches.sampler.state()
        return state

    def _load_state(self, state: dict[str, Any]) -> None:
        other_seed = state["base_seed"] != self._base_seed
        super()._load_state(state)
        if other_seed:
            self._connect_data()  # the episodes that are held out depend on the seed
        self.early_stopping.load_state(state["early_stopping"])
        if self._batches is not None and "batches" in state:
            self._batches.sampler.load_state(state["batches"])
