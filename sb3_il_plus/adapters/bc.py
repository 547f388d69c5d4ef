"""Behavioural cloning (`imitation.algorithms.bc`) as an SB3 algorithm.

The upstream trainer does the learning; this file hands it batches that stay in memory, and says how
good the policy is on episodes held out. `supervised/validated.py` has what surrounds that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import torch as th
from imitation.algorithms import bc
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from torch import nn

from sb3_il_plus.adapters.batches import packed
from sb3_il_plus.adapters.bridge import StopTraining, upstream_warnings_silenced
from sb3_il_plus.adapters.policy_kinds import RECURRENT, copy_all
from sb3_il_plus.adapters.supervised import SupervisedAlgorithm, SupervisedArguments
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import Batches
from sb3_il_plus.data.sequences import SequenceBatches
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.randomness import child_generator
from sb3_il_plus.supervised.validated import ValidatedLearning, ValidationArguments


class BCArguments(SupervisedArguments, ValidationArguments, total=False):
    """Constructor arguments that `BC` passes through."""


class BC(ValidatedLearning, SupervisedAlgorithm):
    """Behavioural cloning: maximise the likelihood of the expert's actions.

    One timestep is one gradient update. With data alone (`env=None`) the spaces are the data's.

    With `validation_fraction`, the loss on whole episodes that are held out is logged as
    `train/validation_loss`, and `learn` ends with the weights that reached the lowest one. Going on
    with `learn(..., reset_num_timesteps=False)` goes on from the weights that training reached.

    :param policy: policy alias or class of any SB3 or sb3-contrib algorithm (see `policy_of`)
    :param env: optional; for its spaces, its `VecNormalize`, and SB3's callbacks
    :param demonstrations: what to clone
    :param sequence_length: recurrent policies only: longest sequence of a batch; longer episodes
        are cut into windows that begin with an empty memory. None for whole episodes. A batch has
        as many sequences of that length as `batch_size` pairs hold, and at least one
    :param kwargs: see `ValidatedLearning`, `SupervisedAlgorithm` and `DemonstrationAlgorithm`
    :raises DataError: there are fewer transitions than `batch_size`
    """

    trainer: bc.BC

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        sequence_length: int | None = None,
        _init_setup_model: bool = True,
        **kwargs: Unpack[BCArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        self.sequence_length = sequence_length
        if sequence_length is not None and sequence_length < 1:
            raise UserError(f"sequence_length={sequence_length} must be at least 1")
        if sequence_length is not None and self._kind is not RECURRENT:
            raise InapplicableError(
                f"sequence_length={sequence_length} is for policies with a memory; "
                f"{self.policy_class.__name__} has none"
            )
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._build_policy()
        self.trainer = self._build_bc_trainer(log_dumps=True)
        self._connect_data()

    def _learn_from(self, demonstrations: Demonstrations, batches: Batches) -> None:
        self._connect(self.trainer, demonstrations, batches)

    def _build_batches(
        self, demonstrations: Demonstrations, purpose: str, batch_size: int | None = None
    ) -> Batches:
        if self._kind is not RECURRENT:
            return SupervisedAlgorithm._build_batches(self, demonstrations, purpose, batch_size)
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
    def _trained(self) -> nn.Module:
        return self._kind.trained(self.policy)

    @property
    def _optimizer(self) -> th.optim.Optimizer:
        return self.trainer.optimizer

    @cached_property
    def _twins(self) -> tuple[list[th.Tensor], list[th.Tensor]]:
        return self._kind.twins(self.policy)

    def _synchronize(self) -> None:
        copy_all(*self._twins)

    def _make_updates(
        self, n_updates: int, after_update: Callable[[], bool], log_interval: int
    ) -> None:
        def on_batch_end() -> None:
            if not after_update():
                raise StopTraining

        try:
            with upstream_warnings_silenced():
                self.trainer.train(
                    n_batches=n_updates,
                    on_batch_end=on_batch_end,
                    log_interval=log_interval,
                    progress_bar=False,
                )
        except StopTraining:
            pass

    def _validation_loss(self, held_out: Batches) -> float:
        total, n_transitions = 0.0, 0
        for n, rows in held_out.in_order():
            batch = packed(rows)
            total += n * self._objective.fit(self.policy, batch["obs"], batch["acts"]).item()
            n_transitions += n
        return total / n_transitions
