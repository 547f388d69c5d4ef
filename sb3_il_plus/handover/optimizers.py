"""What optimisers have gathered, moved from one policy to another by the names of parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch as th
from torch import nn

OptimizerStates = Mapping[str, Mapping[str, th.Tensor]]
"""Name of a parameter within its policy -> what its optimiser keeps of it, such as moments."""


def optimizers_of(policy: nn.Module) -> Iterator[th.optim.Optimizer]:
    """Every optimiser of a policy and of its parts."""
    for module in policy.modules():
        optimizer = getattr(module, "optimizer", None)
        if isinstance(optimizer, th.optim.Optimizer):
            yield optimizer


def states_of(policy: nn.Module) -> dict[str, dict[str, th.Tensor]]:
    """What a policy's optimisers have gathered."""
    names: dict[th.Tensor, str] = {each: name for name, each in policy.named_parameters()}
    return {
        names[parameter]: dict(values)
        for optimizer in optimizers_of(policy)
        for parameter, values in optimizer.state.items()
        if parameter in names
    }


def put_states(policy: Any, states: OptimizerStates, changed: Collection[nn.Parameter]) -> None:
    """Have a policy's optimisers go on with what others have gathered.

    :param states: for parameters of the same names
    :param changed: parameters whose optimiser begins anew
    """
    names = {parameter: name for name, parameter in policy.named_parameters()}
    for optimizer in optimizers_of(policy):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                values = states.get(names[parameter], {})
                if values and parameter not in changed and _fits(values, parameter):
                    optimizer.state[parameter] = {
                        name: value.detach().clone() for name, value in values.items()
                    }
        optimizer.load_state_dict(optimizer.state_dict())  # moves them to where they are needed


def _fits(values: Mapping[str, th.Tensor], parameter: nn.Parameter) -> bool:
    return all(value.shape in ((), parameter.shape) for value in values.values())
