"""`export`: a plain SB3 model from an offline one, so that learning goes on online."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import nn

from sb3_il_plus.environments import is_placeholder
from sb3_il_plus.offline.stack import StackedMLP

if TYPE_CHECKING:
    from sb3_il_plus.offline.actor_critic import ActorCritic


def export(
    model: ActorCritic, online: type[OffPolicyAlgorithm], env: Any, kwargs: dict[str, Any]
) -> OffPolicyAlgorithm:
    """See `ActorCritic.to_sb3`."""
    arguments = {
        "learning_rate": model.learning_rate,
        "batch_size": model.batch_size,
        "gamma": model.gamma,
        "tau": model.tau,
        "learning_starts": 0,
        "policy_kwargs": model._build_policy_kwargs(),
        "seed": model.seed,
        "device": model.device,
        **kwargs,
    }
    result = online(model.policy_class, model.env if env is None else env, **arguments)
    result.policy.load_state_dict(model.policy.state_dict())
    for part, stack in (("actor", model.actor), ("critic", model.critics)):
        _transfer(getattr(model.policy, part), stack, getattr(result.policy, part))
    if model.demonstrations is not None:
        size = max(result.buffer_size, len(model.demonstrations))
        if is_placeholder(result.env):  # nothing will be added
            size = len(model.demonstrations)
        result.replay_buffer = model.demonstrations.to_replay_buffer(
            buffer_size=size, n_envs=result.n_envs, device=str(model.device)
        )
    return result


def _transfer(source: Any, stack: StackedMLP, target: Any) -> None:
    """Give each parameter of `target` its part of what the stack's optimiser has gathered."""
    twins = dict(zip(source.parameters(), target.parameters(), strict=True))
    for parameter, values in source.optimizer.state.items():
        for name, value in values.items():
            for twin, part in _parts(stack, parameter, value, twins):
                target.optimizer.state[twin][name] = part.clone(memory_format=th.contiguous_format)


def _parts(
    stack: StackedMLP, parameter: nn.Parameter, value: th.Tensor, twins: dict[Any, Any]
) -> Sequence[tuple[Any, th.Tensor]]:
    if parameter is not stack.flat:
        return [(twins[parameter], value)]
    if value.shape != stack.flat.shape:  # the number of steps
        return [(twins[p], value) for p, _ in stack.parts(stack.flat.data)]
    return [(twins[p], part) for p, part in stack.parts(value)]
