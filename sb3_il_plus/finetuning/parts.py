"""Which parts of an SB3 model act, which value, and how far apart two policies are.

SB3's algorithms differ in where these are; the callbacks of this folder need not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import kl_divergence
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import nn
from torch.nn import functional as F

from sb3_il_plus.errors import InapplicableError

_VALUE_PARTS = ("value_net", "vf_features_extractor", "lstm_critic", "critic")
"""Parts of an actor-critic policy that only estimate values, by their names in it."""


def actor_optimizer(model: Any) -> th.optim.Optimizer:
    """The optimiser of what acts.

    :raises InapplicableError: the algorithm changes what acts by other means than an optimiser
    """
    if not isinstance(model, (OnPolicyAlgorithm, OffPolicyAlgorithm)) or _is_trpo(model):
        raise InapplicableError(
            f"{type(model).__name__} does not change its policy by an optimiser, which the "
            "critic's warm-up and the anchor work through; fine-tune with 'ppo', 'a2c', 'sac', "
            "'td3', ... or with warmup_timesteps=0, anchor_weight=0"
        )
    actor = getattr(model.policy, "actor", None)
    optimizer: th.optim.Optimizer = (model.policy if actor is None else actor).optimizer
    return optimizer


def frozen_in_warmup(model: BaseAlgorithm) -> dict[th.optim.Optimizer, list[nn.Parameter]]:
    """What must not change while the critic learns: optimisers, and which of their parameters.

    A features extractor that actor and critic share acts, too, so it is among them. A DQN, whose
    values are what acts, has no critic beside it: nothing can be held.
    """
    optimizer = actor_optimizer(model)
    policy: Any = model.policy
    if isinstance(model, OnPolicyAlgorithm):
        values = set(value_parameters(policy))
        return {optimizer: [p for p in _parameters(optimizer) if p not in values]}
    if not hasattr(policy, "actor"):
        return {}
    frozen = {optimizer: _parameters(optimizer)}
    entropy: th.optim.Optimizer | None = getattr(model, "ent_coef_optimizer", None)
    return frozen if entropy is None else {**frozen, entropy: _parameters(entropy)}


def value_parameters(policy: nn.Module) -> list[nn.Parameter]:
    """The parameters of an actor-critic policy that only estimate values."""
    return [p for name, p in policy.named_parameters() if _is_value_part(name)]


def divergence(policy: Any, reference: Any, observations: Any) -> th.Tensor:
    """Mean distance of a policy from another one, with gradients to the first.

    The divergence KL(reference || policy) where actions are drawn from distributions (before a
    tanh); the squared distance of deterministic actions; the cross-entropy with the reference's
    choice where values are compared.

    :param observations: a batch of tensors
    :return: scalar
    """
    measure = _measure(policy)
    return measure(policy, reference, observations).mean()


def value_scale(model: Any, observations: Any) -> float:
    """What the actor's loss is measured in: the mean size of values for off-policy actors.

    On-policy advantages are normalised; a cross-entropy on values has no unit either.
    """
    critic, actor = (getattr(model.policy, name, None) for name in ("critic", "actor"))
    if critic is None or actor is None:
        return 1.0
    with th.no_grad():
        values: Any = critic(observations, actor(observations))
    first = values[0] if isinstance(values, tuple) else values
    return float(first.abs().mean())


def _distributions(policy: Any, reference: Any, observations: Any) -> th.Tensor:
    with th.no_grad():
        target = reference.get_distribution(observations)
    return kl_divergence(target, policy.get_distribution(observations))


def _gaussians(policy: Any, reference: Any, observations: Any) -> th.Tensor:
    def normal(actor: Any) -> th.distributions.Normal:
        mean, log_std, _ = actor.get_action_dist_params(observations)
        return th.distributions.Normal(mean, log_std.exp())

    with th.no_grad():
        target = normal(reference.actor)
    return th.distributions.kl_divergence(target, normal(policy.actor)).sum(-1)


def _actions(policy: Any, reference: Any, observations: Any) -> th.Tensor:
    with th.no_grad():
        target = reference.actor(observations)
    return (policy.actor(observations) - target).square().sum(-1)


def _choices(policy: Any, reference: Any, observations: Any) -> th.Tensor:
    def values(owner: Any) -> th.Tensor:
        if hasattr(owner, "q_net"):
            return owner.q_net(observations)
        return owner.quantile_net(observations).mean(dim=1)

    with th.no_grad():
        target = values(reference).argmax(-1)
    return F.cross_entropy(values(policy), target, reduction="none")


def _measure(policy: Any) -> Callable[[Any, Any, Any], th.Tensor]:
    actor = getattr(policy, "actor", None)
    if actor is not None:
        return _gaussians if hasattr(actor, "get_action_dist_params") else _actions
    if hasattr(policy, "lstm_actor"):
        raise InapplicableError(
            f"the distance between two {type(policy).__name__}s depends on their memories; "
            "fine-tune them with anchor_weight=0"
        )
    return _distributions if hasattr(policy, "get_distribution") else _choices


def _is_value_part(name: str) -> bool:
    return any(part in name.split(".") for part in _VALUE_PARTS)


def _parameters(optimizer: th.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _is_trpo(model: Any) -> bool:
    return hasattr(model, "cg_max_steps")


def as_rows(observations: Any, shape: Any) -> Any:
    """Observations of a rollout, shape (steps, environments, ...), one below the other."""
    if isinstance(observations, Mapping):
        return {key: as_rows(value, shape[key]) for key, value in observations.items()}
    return observations.reshape(-1, *shape)
