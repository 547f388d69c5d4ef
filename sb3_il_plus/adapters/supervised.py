"""`SupervisedAlgorithm`: what BC and DAgger share, a policy trained on the expert's actions.

It builds a policy of any SB3 algorithm and upstream's BC trainer around it, with a loss that suits
the policy (see `policy_kinds.py` and `objectives.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import torch as th
from gymnasium import spaces
from imitation.algorithms import bc
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_il_plus.adapters.batches import connect_batches
from sb3_il_plus.adapters.bridge import BridgeLogger
from sb3_il_plus.adapters.objectives import (
    ClassWeights,
    Loss,
    Objective,
    choose_loss,
    find_class_weights,
)
from sb3_il_plus.adapters.policy_kinds import (
    MASKED,
    RECURRENT,
    PolicyKind,
    default_policy_kwargs,
    kind_of,
    online_algorithm,
    policies_of,
)
from sb3_il_plus.algorithm import CommonArguments, DemonstrationAlgorithm
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.entries import as_entries
from sb3_il_plus.data.masks import OBSERVED_MASK, action_masks_of
from sb3_il_plus.data.sampling import ActionBatches, Batches, check_batch_sizes
from sb3_il_plus.errors import InapplicableError, UnknownNameError, suggest
from sb3_il_plus.randomness import child_generator
from sb3_il_plus.registry import registry


class SupervisedArguments(CommonArguments, total=False):
    """Constructor arguments that BC and DAgger share (see `SupervisedAlgorithm`)."""

    policy_of: str | type[BaseAlgorithm]
    learning_rate: float | Schedule
    batch_size: int
    minibatch_size: int | None
    loss: Loss
    ent_weight: float
    l2_weight: float
    margin: float
    class_weights: ClassWeights
    balance_over: str | None


class SupervisedAlgorithm(DemonstrationAlgorithm):
    """What BC and DAgger share: a policy trained on (observation, expert action) pairs.

    What acts is trained, and a target network follows it; critics are left as they were.

    :param policy: policy alias or class
    :param policy_of: name of a registered online RL algorithm (`"ppo"`, `"sac"`, `"td3"`, `"dqn"`,
        `"recurrent_ppo"`, `"maskable_ppo"`, ...), or a class: whose policies the aliases mean. A
        policy class needs none
    :param batch_size: pairs in each gradient update
    :param minibatch_size: pairs that gradients are computed of at a time, a divisor of
        `batch_size`; their sum makes one update. None for all at once
    :param loss: `"likelihood"` (negative log-likelihood: cross-entropy for discrete actions,
        Gaussian for continuous ones, behind a tanh for SAC's), `"mse"` (squared distance of the
        action, or of the choice's probabilities to the one-hot choice), `"cross_entropy"` on DQN's
        values, or `"large_margin"` between them (Hester et al. 2018). Policies that end in a tanh
        measure actions scaled to [-1, 1]. `"auto"` is the squared distance for SAC's kind and
        TD3's, cross-entropy for DQN's, and the likelihood for all others
    :param ent_weight: weight of the policy's entropy, which is maximised (likelihood only)
    :param l2_weight: weight of half the sum of squared parameters
    :param margin: by how much the expert's choice shall be worth more (large margin only)
    :param class_weights: for Discrete actions, the weight of each choice, shape (n,); `"balanced"`
        makes rare choices count as much as frequent ones
    :param balance_over: entry of Dict observations with choices, each of which every batch holds
        equally often: `"command"` for policies that read one (Codevilla et al. 2018); None for none
    :raises InapplicableError: policy, loss and spaces do not fit each other
    """

    policy: BasePolicy
    _objective: Objective

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        policy_of: str | type[BaseAlgorithm] = "ppo",
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 32,
        minibatch_size: int | None = None,
        loss: Loss = "auto",
        ent_weight: float = 1e-3,
        l2_weight: float = 0.0,
        margin: float = 0.8,
        class_weights: ClassWeights = None,
        balance_over: str | None = None,
        **kwargs: Unpack[CommonArguments],
    ) -> None:
        self.policy_of = policy_of
        if isinstance(policy, str):
            self.policy_aliases = policies_of(online_algorithm(policy_of))  # type: ignore[misc]
            if policy not in self.policy_aliases:
                raise UnknownNameError(
                    f"policy_of={policy_of!r} has no policy called {policy!r}"
                    f"{suggest(policy, list(self.policy_aliases))}"
                )
        super().__init__(policy, env, demonstrations, learning_rate=learning_rate, **kwargs)
        check_batch_sizes(batch_size, minibatch_size)
        self.batch_size = batch_size
        self.minibatch_size = minibatch_size
        self.loss: Loss = loss
        self.ent_weight = ent_weight
        self.l2_weight = l2_weight
        self.margin = margin
        self.class_weights = class_weights
        self.balance_over = balance_over
        self._check_balance()
        choose_loss(loss, self._kind, self.policy_class.__name__)
        find_class_weights(class_weights, self.action_space, np.zeros(1, dtype=np.int64))
        self._batches: Batches | None = None

    @cached_property
    def _kind(self) -> PolicyKind:
        return kind_of(self.policy_class)

    def _check_spaces(self) -> None:
        super()._check_spaces()
        spec = registry.get(self._kind.algorithm)
        reason = spec.refusal(self.observation_space, self.action_space)
        if reason is not None:
            raise InapplicableError(
                f"{type(self).__name__} cannot train a {self.policy_class.__name__} here: {reason}"
            )

    def _check_balance(self) -> None:
        if self.balance_over is None:
            return
        entries = as_entries(self.observation_space)
        if not isinstance(entries.get(self.balance_over), spaces.Discrete):
            raise InapplicableError(
                f"balance_over={self.balance_over!r} must be an entry of the observation that is a "
                f"choice (Discrete); there are {entries}"
            )
        if self._kind is RECURRENT:
            raise InapplicableError(
                f"balance_over={self.balance_over!r} balances single steps, and "
                f"{self.policy_class.__name__} learns from sequences of them"
            )

    # -- the policy ------------------------------------------------------------------------------

    def _build_policy_kwargs(self) -> dict[str, Any]:
        """As the policy's own algorithm would, with the optimiser in its fused form."""
        policy_kwargs = super()._build_policy_kwargs()
        if isinstance(self._policy_argument, str):
            defaults = default_policy_kwargs(online_algorithm(self.policy_of))
            policy_kwargs = {**defaults, **policy_kwargs}
        optimizer_kwargs = dict(self._kind.optimizer_kwargs)
        if not optimizer_kwargs or policy_kwargs.keys() & {"optimizer_class", "optimizer_kwargs"}:
            return policy_kwargs
        return {**policy_kwargs, "optimizer_kwargs": optimizer_kwargs}

    @property
    def _scales_actions(self) -> bool:
        return self.policy.squash_output and isinstance(self.action_space, spaces.Box)

    def _as_policy_acts(self, actions: np.ndarray) -> np.ndarray:
        actions = super()._as_policy_acts(actions)
        return self.policy.scale_action(actions) if self._scales_actions else actions

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose actions, as SB3's `predict`.

        :param state: memory of a recurrent policy, shape (layers, n, size) each; None at the start
        :param episode_start: shape (n,), where an episode begins (for recurrent policies)
        :param action_masks: choices that are allowed, as sb3-contrib's `MaskablePPO` takes them; by
            default the entry `"action_mask"` of a Dict observation, where there is one
        """
        if self._kind is not MASKED:
            return self.policy.predict(observation, state, episode_start, deterministic)
        if action_masks is None and isinstance(observation, Mapping):
            action_masks = observation.get(OBSERVED_MASK)
        policy: Any = self.policy
        return policy.predict(observation, state, episode_start, deterministic, action_masks)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", f"policy.{self._kind.optimizer}"], []

    def _online_class(self) -> type[BaseAlgorithm]:
        if isinstance(self._policy_argument, str):
            return online_algorithm(self.policy_of)
        return super()._online_class()

    # -- the trainer -----------------------------------------------------------------------------

    def _build_bc_trainer(self, log_dumps: bool) -> bc.BC:
        """Upstream's trainer around our policy, its optimiser and our logger."""
        policy: Any = self.policy
        trainer = bc.BC(
            observation_space=self.observation_space,
            action_space=self.action_space,
            rng=child_generator(self._base_seed, "upstream"),
            policy=policy,
            batch_size=self.batch_size,
            minibatch_size=self.minibatch_size,
            ent_weight=self.ent_weight,
            l2_weight=self.l2_weight,
            device=self.device,
            custom_logger=BridgeLogger(self, self._dump_logs if log_dumps else None),
        )
        # The policy's own optimiser, so that it is saved under SB3's name and obeys policy_kwargs.
        trainer.optimizer = self._kind.find_optimizer(self.policy)
        return trainer

    def _connect(self, trainer: bc.BC, demonstrations: Demonstrations, batches: Batches) -> None:
        """Give upstream's trainer what it learns from, and the loss that suits it.

        :param demonstrations: those in the batches, whose choices `class_weights` may count
        """
        connect_batches(trainer, batches)
        weights = find_class_weights(self.class_weights, self.action_space, demonstrations.actions)
        self._objective = Objective(
            kind=self._kind,
            loss=choose_loss(self.loss, self._kind, self.policy_class.__name__),
            ent_weight=self.ent_weight,
            l2_weight=self.l2_weight,
            margin=self.margin,
            class_weights=None
            if weights is None
            else th.as_tensor(weights, dtype=th.float32, device=self.device),
        )
        if not self._objective.is_upstreams or self._scales_actions:
            trainer.loss_calculator = self._objective

    def _build_batches(
        self, demonstrations: Demonstrations, purpose: str, batch_size: int | None = None
    ) -> Batches:
        """Pairs as the policy sees them, resident on the device."""
        index = np.arange(len(demonstrations))
        observed = demonstrations.observations_at(index)
        masks = action_masks_of(demonstrations) if self._kind is MASKED else None
        groups = None
        if self.balance_over is not None and purpose != "validation":
            assert isinstance(observed, dict)
            groups = observed[self.balance_over].reshape(-1)
        return ActionBatches(
            self._as_env_observes(observed),
            self._as_policy_acts(demonstrations.actions),
            batch_size or self.batch_size,
            child_generator(self._base_seed, purpose),
            self.device,
            minibatch_size=self.minibatch_size,
            others={} if masks is None else {"action_masks": masks},
            groups=groups,
        )
