"""What a plain SB3 model gets from an offline one beside its weights: see `to_sb3`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import nn

from sb3_il_plus.environments import is_placeholder
from sb3_il_plus.offline.stack import StackedMLP

if TYPE_CHECKING:
    from sb3_il_plus.offline.algorithm import OfflineAlgorithm


TrainedStacks = Iterable[tuple[th.optim.Optimizer, StackedMLP]]
"""Optimisers of a policy, and the stack that each trains."""


def put_data(model: OfflineAlgorithm, online: OffPolicyAlgorithm) -> None:
    """Begin an SB3 model's replay buffer with what the offline one has learned from."""
    if model.demonstrations is None:
        return
    size = max(online.buffer_size, len(model.demonstrations))
    if is_placeholder(online.env):  # nothing will be added
        size = len(model.demonstrations)
    online.replay_buffer = model.demonstrations.to_replay_buffer(
        buffer_size=size, n_envs=online.n_envs, device=str(model.device)
    )


def states_of_stacks(policy: nn.Module, stacks: TrainedStacks) -> dict[str, dict[str, th.Tensor]]:
    """What the optimisers of stacks have gathered, by the names of SB3's parameters."""
    names: dict[Any, str] = {parameter: name for name, parameter in policy.named_parameters()}
    states: dict[str, dict[str, th.Tensor]] = {}
    for optimizer, stack in stacks:
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                for original, part in _parts(stack, parameter, value):
                    if original in names:
                        copied = part.clone(memory_format=th.contiguous_format)
                        states.setdefault(names[original], {})[name] = copied
    return states


def _parts(
    stack: StackedMLP, parameter: th.Tensor, value: th.Tensor
) -> Iterable[tuple[Any, th.Tensor]]:
    if parameter is not stack.flat:
        return [(parameter, value)]
    if value.shape != stack.flat.shape:  # the number of steps
        return [(p, value) for p, _ in stack.parts(stack.flat.data)]
    return stack.parts(value)
