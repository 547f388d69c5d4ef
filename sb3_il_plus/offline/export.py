"""What a plain SB3 model gets from an offline one beside its weights: see `to_sb3`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import nn

from sb3_il_plus.environments import is_placeholder
from sb3_il_plus.offline.stack import StackedMLP

if TYPE_CHECKING:
    from sb3_il_plus.offline.algorithm import OfflineAlgorithm


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


def states_of_stacks(
    policy: nn.Module, stacks: Iterable[tuple[th.optim.Optimizer, StackedMLP]]
) -> dict[str, dict[str, th.Tensor]]:
    """What the optimisers of stacks have gathered, by the names of SB3's parameters.

    :param stacks: optimisers of the policy, and what each trains
    """
    names = {parameter: name for name, parameter in policy.named_parameters()}
    states: dict[str, dict[str, th.Tensor]] = {}
    for optimizer, stack in stacks:
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                for original, part in _parts(stack, parameter, value):
                    copied = part.clone(memory_format=th.contiguous_format)
                    states.setdefault(names[original], {})[name] = copied
    return states


def build_online(
    model: OfflineAlgorithm, online: type[OffPolicyAlgorithm], env: Any, kwargs: dict[str, Any]
) -> OffPolicyAlgorithm:
    """An SB3 model with new weights, the same settings, and the data in its replay buffer.

    :param kwargs: of its constructor; `policy` may be among them
    """
    arguments = {
        "policy": model.policy_class,
        "learning_rate": model.learning_rate,
        "batch_size": model.batch_size,
        "gamma": model.gamma,
        "learning_starts": 0,
        "policy_kwargs": model._build_policy_kwargs(),
        "seed": model.seed,
        "device": model.device,
        **kwargs,
    }
    result = online(env=model.env if env is None else env, **arguments)
    put_data(model, result)
    return result


def transfer(
    source: th.optim.Optimizer,
    stack: StackedMLP,
    target: th.optim.Optimizer,
    twins: Mapping[th.Tensor, th.Tensor],
) -> None:
    """Give each twin its part of what the stack's optimiser has gathered.

    :param twins: parameter of SB3's modules in the stack -> the one that the target learns
    """
    for parameter, values in source.state.items():
        for name, value in values.items():
            for original, part in _parts(stack, parameter, value):
                if original in twins:
                    copied = part.clone(memory_format=th.contiguous_format)
                    target.state[twins[original]][name] = copied


def _parts(
    stack: StackedMLP, parameter: th.Tensor, value: th.Tensor
) -> Iterable[tuple[Any, th.Tensor]]:
    if parameter is not stack.flat:
        return [(parameter, value)]
    if value.shape != stack.flat.shape:  # the number of steps
        return [(p, value) for p, _ in stack.parts(stack.flat.data)]
    return stack.parts(value)
