"""SB3 callbacks that keep reinforcement learning from destroying the policy it begins with.

They act on gradients between an algorithm's backward pass and its optimiser's step, so SB3's
algorithms run unchanged, and the model stays SB3's own.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_il_plus.data import columns as col
from sb3_il_plus.errors import UserError
from sb3_il_plus.finetuning.parts import (
    actor_optimizer,
    as_rows,
    divergence,
    frozen_in_warmup,
    value_scale,
)
from sb3_il_plus.randomness import child_generator, fresh_seed


class CriticWarmup(BaseCallback):
    """Has the critic learn alone at first: an untrained one misleads the actor.

    The actor acts, but does not change, and neither does SAC's weight of the entropy. It ends with
    the first rollout that begins after `timesteps`.

    :param timesteps: environment steps
    :raises UserError: a negative number
    """

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        if timesteps < 0:
            raise UserError(f"warmup_timesteps={timesteps} must be at least 0")
        self.timesteps = timesteps
        self._handles: list[Any] = []

    def _on_training_start(self) -> None:
        self._ends_at = self.model.num_timesteps + self.timesteps
        self._frozen = frozen_in_warmup(self.model) if self.timesteps else {}
        self._handles = [each.register_step_pre_hook(self._drop) for each in self._frozen]

    def _drop(self, optimizer: Any, *_: Any) -> None:
        """Take the gradients away: SB3's optimisers leave parameters without one as they are."""
        for parameter in self._frozen[optimizer]:
            parameter.grad = None

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps >= self._ends_at:
            self._release()
        self.logger.record("finetune/actor_frozen", float(bool(self._handles)))

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._release()

    def _release(self) -> None:
        while self._handles:
            self._handles.pop().remove()


class Anchor(BaseCallback):
    """Adds a distance from the first policy to the actor's loss, with a weight that decays to 0.

    The distance is that of `divergence`, KL(first || present) for stochastic policies, in states
    that the present policy visits: kickstarting (Schmitt et al. 2018, arXiv:1803.03835), with the
    imitator as the teacher. Off-policy actors maximise values; there the weight is multiplied by
    their mean size, as in TD3+BC (Fujimoto and Gu 2021).

    :param weight: at first
    :param timesteps: environment steps over which it decays, in a straight line
    :param delay: environment steps before that
    :param batch_size: states in which the distance is measured, at each step of the optimiser
    :raises UserError: a weight or a number of steps is negative
    """

    def __init__(self, weight: float, timesteps: int, delay: int = 0, batch_size: int = 64) -> None:
        super().__init__()
        for name, value in (("anchor_weight", weight), ("anchor_timesteps", timesteps)):
            if value < 0:
                raise UserError(f"{name}={value} must be at least 0")
        self.initial_weight = weight
        self.timesteps = timesteps
        self.delay = delay
        self.batch_size = batch_size
        self._handle: Any = None

    def _on_training_start(self) -> None:
        self._begin = self.model.num_timesteps + self.delay
        self._distances: list[float] = []
        self._states: Any = None
        if not self.initial_weight:
            return
        optimizer = actor_optimizer(self.model)
        self.reference = copy.deepcopy(self.model.policy)
        self.reference.set_training_mode(False)
        self._rng = child_generator(
            fresh_seed() if self.model.seed is None else self.model.seed, "anchor"
        )
        self._handle = optimizer.register_step_pre_hook(self._pull)

    @property
    def weight(self) -> float:
        """The present weight."""
        done = self.model.num_timesteps - self._begin
        if done < 0:
            return 0.0
        return self.initial_weight * max(1.0 - done / max(self.timesteps, 1), 0.0)

    def _pull(self, optimizer: Any, *_: Any) -> None:
        weight = self.weight
        observations = self._draw() if weight else None
        if observations is None:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        with th.enable_grad():
            distance = divergence(self.model.policy, self.reference, observations)
            gradients = th.autograd.grad(distance, parameters, allow_unused=True)
        factor = weight * value_scale(self.model, observations)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                own = 0.0 if parameter.grad is None else parameter.grad
                parameter.grad = own + factor * gradient
        self._distances.append(distance.item())

    def _draw(self) -> Any:
        """States that the present policy has visited."""
        model: Any = self.model
        if isinstance(model, OffPolicyAlgorithm):
            env = model._vec_normalize_env
            assert model.replay_buffer is not None
            return model.replay_buffer.sample(self.batch_size, env=env).observations
        if self._states is None:
            return None
        n = len(
            next(iter(self._states.values())) if isinstance(self._states, dict) else self._states
        )
        index = self._rng.integers(n, size=self.batch_size)
        return model.policy.obs_to_tensor(col.take(self._states, index))[0]

    def _on_rollout_end(self) -> None:
        buffer = getattr(self.model, "rollout_buffer", None)
        if buffer is not None and self._handle is not None:
            self._states = as_rows(buffer.observations, buffer.obs_shape)

    def _on_rollout_start(self) -> None:
        if self._handle is None:
            return
        self.logger.record("finetune/anchor_weight", self.weight)
        if self._distances:
            self.logger.record("finetune/anchor_distance", float(np.mean(self._distances)))
            self._distances.clear()
        if not self.weight and self.model.num_timesteps > self._begin:
            self._release()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._release()

    def _release(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._handle = None
