"""Conditional behavioural cloning: imitate an expert that is told what to do.

Codevilla et al. 2018: the policy reads the command that the expert was given; batches hold every
command equally often, and what is learned of each is validated apart. It needs nothing beyond the
package's own libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Unpack

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_il_plus.algorithm import CommonArguments
from sb3_il_plus.conditional.augmentation import Augmentation, ImageAugmentation
from sb3_il_plus.conditional.commands import (
    COMMAND,
    command_space,
    commands_of,
    warn_of_missing_commands,
)
from sb3_il_plus.conditional.objective import ActionWeights, Loss, Objective, find_speed_head
from sb3_il_plus.conditional.policies import (
    BranchedPolicy,
    CilPolicy,
    CommandInputPolicy,
    FilmPolicy,
    GoalPolicy,
    UnconditionalPolicy,
)
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import ActionBatches, Batches, check_batch_sizes
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.randomness import child_generator
from sb3_il_plus.supervised.validated import ValidatedLearning, ValidationArguments


class ConditionalArguments(CommonArguments, ValidationArguments, total=False):
    """Constructor arguments that `ConditionalBC` passes through."""


class ConditionalBC(ValidatedLearning):
    """Conditional behavioural cloning: one policy for every command.

    One timestep is one gradient update. With data alone (`env=None`) the spaces are the data's.
    With `validation_fraction`, `train/validation_loss` is logged, that of each command beside it,
    and `learn` ends with the weights that reached the lowest one.

    :param policy: `"BranchedPolicy"` (also `"MultiInputPolicy"` and `"MlpPolicy"`),
        `"CilPolicy"` (also `"CnnPolicy"`), `"CommandInputPolicy"`, `"FilmPolicy"`, `"GoalPolicy"`,
        `"UnconditionalPolicy"`, or a class of actor-critic policies
    :param env: optional; for its spaces, its `VecNormalize`, and SB3's callbacks
    :param demonstrations: what to clone; observations are Dicts with the entry `"command"`
    :param learning_rate: of Adam; the papers have 2e-4, for their network and 300,000 updates
    :param batch_size: pairs in each gradient update; the papers have 120
    :param minibatch_size: pairs that gradients are computed of at a time, a divisor of
        `batch_size`; None for all at once
    :param loss: `"mse"` (Codevilla et al. 2018), `"l1"` (CILRS, Codevilla et al. 2019), or
        `"likelihood"`; `"auto"` is the squared error for continuous actions and else the likelihood
    :param action_weights: weights of a continuous action's components in `"mse"` and `"l1"`, which
        are scaled to a sum of 1; one for each component, or the name of published ones (see
        `objective.PUBLISHED_WEIGHTS`). None, the default, weighs all the same
    :param speed_weight: for policies that predict the speed (see `Perception`), the weight of that
        loss, within [0, 1]; that of the actions is the rest. 0.05 is CILRS's
    :param ent_weight: weight of the policy's entropy, which is maximised (likelihood only)
    :param balance_commands: whether batches hold each Discrete command equally often
    :param augmentation: what is done to images that are trained on: a function of a batch of them
        (see `augmentation.py`), or `"published"` for blur, noise, dropout, brightness and contrast
        as in Codevilla et al. 2018; None for nothing
    :param kwargs: see `ValidatedLearning` and `DemonstrationAlgorithm`
    :raises InapplicableError: there is no command, or policy, loss and spaces do not fit each other
    :raises DataError: there are fewer transitions than `batch_size`, or it is smaller than the
        number of commands in the data
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "BranchedPolicy": BranchedPolicy,
        "CilPolicy": CilPolicy,
        "CommandInputPolicy": CommandInputPolicy,
        "FilmPolicy": FilmPolicy,
        "GoalPolicy": GoalPolicy,
        "UnconditionalPolicy": UnconditionalPolicy,
        "MlpPolicy": BranchedPolicy,
        "MultiInputPolicy": BranchedPolicy,
        "CnnPolicy": CilPolicy,
    }
    policy: Any

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 120,
        minibatch_size: int | None = None,
        loss: Loss = "auto",
        action_weights: ActionWeights = None,
        speed_weight: float = 0.05,
        ent_weight: float = 0.0,
        balance_commands: bool = True,
        augmentation: Augmentation = None,
        _init_setup_model: bool = True,
        **kwargs: Unpack[ConditionalArguments],
    ) -> None:
        self._batches: Batches | None = None
        # SB3 refuses these two names where observations are Dicts, and here they always are.
        policy = {"MlpPolicy": "BranchedPolicy", "CnnPolicy": "CilPolicy"}.get(policy, policy)  # type: ignore[arg-type]
        super().__init__(policy, env, demonstrations, learning_rate=learning_rate, **kwargs)
        check_batch_sizes(batch_size, minibatch_size)
        self.batch_size = batch_size
        self.minibatch_size = minibatch_size
        self.loss: Loss = loss
        self.action_weights = action_weights
        self.speed_weight = speed_weight
        self.ent_weight = ent_weight
        self.balance_commands = balance_commands
        self.augmentation: Augmentation = augmentation
        self._augmented = ImageAugmentation(augmentation, self.observation_space)
        if _init_setup_model:
            self._setup_model()

    def _check_spaces(self) -> None:
        super()._check_spaces()
        command_space(self.observation_space, type(self).__name__)
        if not issubclass(self.policy_class, ActorCriticPolicy):
            raise InapplicableError(
                f"ConditionalBC trains policies of actor-critic algorithms, and "
                f"{self.policy_class.__name__} is none"
            )

    def _setup_model(self) -> None:
        self._build_policy()
        self._objective = Objective.of(
            self.action_space,
            self.loss,
            self.action_weights,
            self.ent_weight,
            self.speed_weight,
            find_speed_head(self.policy),
            self.device,
        )
        self._connect_data()

    def _build_batches(
        self, demonstrations: Demonstrations, purpose: str, batch_size: int | None = None
    ) -> Batches:
        balanced = self.balance_commands and self._has_choices and purpose == "batches"
        return ActionBatches(
            self._as_env_observes(demonstrations.observations_at(np.arange(len(demonstrations)))),
            self._as_policy_acts(demonstrations.actions),
            batch_size or self.batch_size,
            child_generator(self._base_seed, purpose),
            self.device,
            minibatch_size=self.minibatch_size,
            groups=commands_of(demonstrations).reshape(-1) if balanced else None,
        )

    @property
    def _has_choices(self) -> bool:
        """Whether commands are choices, and not goals."""
        assert isinstance(self.observation_space, spaces.Dict)
        return isinstance(self.observation_space.spaces[COMMAND], spaces.Discrete)

    def _learn_from(self, demonstrations: Demonstrations, batches: Batches) -> None:
        if self._has_choices:
            warn_of_missing_commands(demonstrations)

    def _make_updates(
        self, n_updates: int, after_update: Callable[[], bool], log_interval: int
    ) -> None:
        assert self._batches is not None
        for number in range(n_updates):
            self._optimizer.zero_grad()
            index = self._batches.sampler.next()
            figures: dict[str, float] = {}
            for rows in self._batches.parts(index):
                observed = self._augmented(rows["obs"])
                losses = self._objective(self.policy, observed, rows["acts"])
                share = len(rows["acts"]) / len(index)
                (share * losses["loss"]).backward()
                if number % log_interval == 0:
                    for name, value in losses.items():
                        figures[name] = figures.get(name, 0.0) + share * value.item()
            self._optimizer.step()
            if figures:
                for name, figure in figures.items():
                    self.logger.record(f"train/{name}", figure)
                self._dump_logs()
            if not after_update():
                return

    def _validation_loss(self, held_out: Batches) -> float:
        commands, losses = [], []
        for _, rows in held_out.in_order():
            losses.append(self._objective.fit(self.policy, rows["obs"], rows["acts"]))
            commands.append(rows["obs"][COMMAND])
        loss = th.cat(losses)
        if self._has_choices:
            command = th.cat(commands).flatten()
            for number in command.unique().tolist():
                of_command = loss[command == number].mean().item()
                self.logger.record(f"train/validation_loss_command_{number}", of_command)
        return loss.mean().item()
