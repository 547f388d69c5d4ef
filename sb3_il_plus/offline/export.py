"""`export`: a plain SB3 model from an offline one, so that learning goes on online."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_il_plus.environments import is_placeholder
from sb3_il_plus.offline.stack import StackedMLP

if TYPE_CHECKING:
    from sb3_il_plus.offline.actor_critic import ActorCritic
    from sb3_il_plus.offline.algorithm import OfflineAlgorithm


def export(
    model: ActorCritic, online: type[OffPolicyAlgorithm], env: Any, kwargs: dict[str, Any]
) -> OffPolicyAlgorithm:
    """See `ActorCritic.to_sb3`."""
    result = build_online(model, online, env, {"tau": model.tau, **kwargs})
    result.policy.load_state_dict(model.policy.state_dict())
    for part, stack in (("actor", model.actor), ("critic", model.critics)):
        source, target = getattr(model.policy, part), getattr(result.policy, part)
        twins = dict(zip(source.parameters(), target.parameters(), strict=True))
        transfer(source.optimizer, stack, target.optimizer, twins)
    return result


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
    if model.demonstrations is not None:
        size = max(result.buffer_size, len(model.demonstrations))
        if is_placeholder(result.env):  # nothing will be added
            size = len(model.demonstrations)
        result.replay_buffer = model.demonstrations.to_replay_buffer(
            buffer_size=size, n_envs=result.n_envs, device=str(model.device)
        )
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
