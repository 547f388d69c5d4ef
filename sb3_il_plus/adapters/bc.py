"""Behavioural cloning (`imitation.algorithms.bc`) as an SB3 algorithm.

The upstream trainer does the learning; this file hands it batches that stay in memory, counts its
updates as timesteps, validates on episodes held out, and lets SB3's callbacks see each update.
"""

from __future__ import annotations

from typing import Any, Self, Unpack

import numpy as np
import torch as th
from imitation.algorithms import bc
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback

from sb3_il_plus.adapters.batches import packed
from sb3_il_plus.adapters.bridge import StopTraining, upstream_warnings_silenced
from sb3_il_plus.adapters.early_stopping import EarlyStopping
from sb3_il_plus.adapters.policy_kinds import RECURRENT
from sb3_il_plus.adapters.supervised import SupervisedAlgorithm, SupervisedArguments
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import Batches
from sb3_il_plus.data.sequences import SequenceBatches
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.randomness import child_generator


class BC(SupervisedAlgorithm):
    """Behavioural cloning: maximise the likelihood of the expert's actions.

    One timestep is one gradient update. With data alone (`env=None`) the spaces are the data's.

    With `validation_fraction`, the loss on whole episodes that are held out is logged as
    `train/validation_loss`, and `learn` ends with the weights that reached the lowest one. Going on
    with `learn(..., reset_num_timesteps=False)` goes on from the weights that training reached.

    :param policy: policy alias or class of any SB3 or sb3-contrib algorithm (see `policy_of`)
    :param env: optional; for its spaces, its `VecNormalize`, and SB3's callbacks
    :param demonstrations: what to clone
    :param validation_fraction: share of the episodes that is held out, within [0, 1); 0 for none
    :param validation_freq: updates from one validation to the next; None for one pass over the data
    :param early_stopping_patience: validations without a new lowest loss after which training ends;
        None for never
    :param sequence_length: recurrent policies only: longest sequence of a batch; longer episodes
        are cut into windows that begin with an empty memory. None for whole episodes. A batch has
        as many sequences of that length as `batch_size` pairs hold, and at least one
    :param kwargs: see `SupervisedAlgorithm` and `DemonstrationAlgorithm`
    :raises DataError: there are fewer transitions than `batch_size`
    """

    trainer: bc.BC

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        validation_fraction: float = 0.0,
        validation_freq: int | None = None,
        early_stopping_patience: int | None = None,
        sequence_length: int | None = None,
        _init_setup_model: bool = True,
        **kwargs: Unpack[SupervisedArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        self.validation_fraction = validation_fraction
        self.validation_freq = validation_freq
        self.early_stopping_patience = early_stopping_patience
        self.sequence_length = sequence_length
        self._check_validation()
        if sequence_length is not None and self._kind is not RECURRENT:
            raise InapplicableError(
                f"sequence_length={sequence_length} is for policies with a memory; "
                f"{self.policy_class.__name__} has none"
            )
        self.early_stopping = EarlyStopping(early_stopping_patience)
        self._held_out: Batches | None = None
        if _init_setup_model:
            self._setup_model()

    def _check_validation(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise UserError(
                f"validation_fraction={self.validation_fraction} must lie within [0, 1)"
            )
        for name in ("validation_freq", "early_stopping_patience", "sequence_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value} must be at least 1")
        if self.early_stopping_patience is not None and self.validation_fraction == 0:
            raise UserError(
                f"early_stopping_patience={self.early_stopping_patience} counts validations: give "
                "validation_fraction=0.1 or so, too"
            )

    def _setup_model(self) -> None:
        self._build_policy()
        self.trainer = self._build_bc_trainer(log_dumps=True)
        self._connect_data()

    def set_demonstrations(self, demonstrations: Any) -> None:
        """Replace the data; the policy and its optimiser stay."""
        super().set_demonstrations(demonstrations)
        if hasattr(self, "trainer"):
            self.early_stopping.reset()
            self._connect_data()

    def _connect_data(self) -> None:
        if self.demonstrations is None:
            return
        training = self.demonstrations
        if self.validation_fraction > 0:
            training, held_out = training.split(self.validation_fraction, self._base_seed)
            size = min(len(held_out), self.minibatch_size or self.batch_size)
            self._held_out = self._build_batches(held_out, "validation", size)
        self._batches = self._build_batches(training, "batches")
        self._connect(self.trainer, training, self._batches)

    def _build_batches(
        self, demonstrations: Demonstrations, purpose: str, batch_size: int | None = None
    ) -> Batches:
        if self._kind is not RECURRENT:
            return super()._build_batches(demonstrations, purpose, batch_size)
        index = np.arange(len(demonstrations))
        return SequenceBatches(
            self._as_env_observes(demonstrations.observations_at(index)),
            self._as_policy_acts(demonstrations.actions),
            demonstrations.episode_lengths,
            self.sequence_length,
            batch_size or self.batch_size,
            child_generator(self._base_seed, purpose),
            self.device,
            minibatch_size=self.minibatch_size,
        )

    @property
    def updates_per_epoch(self) -> int:
        """Gradient updates in one pass over the data: `learn(20 * model.updates_per_epoch)`."""
        self._require_demonstrations()
        assert self._batches is not None
        return self._batches.sampler.batches_per_epoch

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 500,
        tb_log_name: str = "BC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Make `total_timesteps` gradient updates, or fewer where validation ends training early.

        :param log_interval: updates between two lines in the log
        """
        self._require_demonstrations()
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        if reset_num_timesteps:
            self.early_stopping.reset()
        network = self._kind.trained(self.policy)
        self.early_stopping.resume(network)
        callback.on_training_start(locals(), globals())
        optimizer = self.trainer.optimizer

        def on_batch_end() -> None:
            if not self._after_update(callback):
                raise StopTraining
            self._update_learning_rate(optimizer)

        self.policy.set_training_mode(True)
        self._update_learning_rate(optimizer)
        try:
            if not self.early_stopping.is_exhausted:
                with upstream_warnings_silenced():
                    self.trainer.train(
                        n_batches=total_timesteps - self.num_timesteps,
                        on_batch_end=on_batch_end,
                        log_interval=log_interval,
                        progress_bar=False,
                    )
        except StopTraining:
            pass
        finally:
            self.early_stopping.finish(network)
            self._kind.synchronize(self.policy)
            self.policy.set_training_mode(False)
        callback.on_training_end()
        return self

    def _finish_update(self) -> bool:
        self._kind.synchronize(self.policy)
        if self._held_out is None:
            return True
        if self.num_timesteps % (self.validation_freq or self.updates_per_epoch) == 0:
            loss = self._validation_loss(self._held_out)
            self.early_stopping.add(loss, self._kind.trained(self.policy))
            self.logger.record("train/validation_loss", loss)
            self._dump_logs()
        return not self.early_stopping.is_exhausted

    @th.no_grad()
    def _validation_loss(self, held_out: Batches) -> float:
        """Mean loss of the held-out transitions, without regularisers."""
        self.policy.set_training_mode(False)
        total, n_transitions = 0.0, 0
        for n, rows in held_out.in_order():
            batch = packed(rows)
            total += n * self._objective.fit(self.policy, batch["obs"], batch["acts"]).item()
            n_transitions += n
        self.policy.set_training_mode(True)
        return total / n_transitions

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
