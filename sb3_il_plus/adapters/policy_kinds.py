"""Kinds of SB3 policies: what each predicts, which part of it is trained, which losses fit.

A policy's kind is that of its nearest known ancestor class, found by name, so that nothing is
imported only to look. `policies_of` names the policies of an algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from sb3_il_plus.adapters.batches import Batch
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.registry import registry
from sb3_il_plus.supervised.losses import Prediction


@dataclass(frozen=True)
class PolicyKind:
    """What behavioural cloning needs to know of a kind of policies.

    :param algorithm: name of the algorithm whose policies these are, and whose spaces they handle
    :param predict: what a policy says of a batch
    :param losses: names of the losses that fit; the first is the default
    :param part: name of the network that acts; "" where that is the whole policy
    :param optimizer: where the optimiser of that part is, from the policy on
    :param target: name of the copy of that part, which follows it; "" where there is none
    :param optimizer_kwargs: of the optimiser, where the user gives none: SB3's own ones, in the
        fused form, which has the same results and is 1.2 times as fast
    """

    algorithm: str
    predict: Callable[[Any, Batch], Prediction]
    losses: tuple[str, ...]
    part: str = ""
    optimizer: str = "optimizer"
    target: str = ""
    optimizer_kwargs: Mapping[str, Any] = field(default_factory=lambda: {"fused": True})

    def trained(self, policy: nn.Module) -> nn.Module:
        """The network that is trained."""
        return policy.get_submodule(self.part)

    def find_optimizer(self, policy: nn.Module) -> th.optim.Optimizer:
        """The policy's own optimiser of that network."""
        owner, _, name = self.optimizer.rpartition(".")
        optimizer: th.optim.Optimizer = getattr(policy.get_submodule(owner), name)
        return optimizer

    def twins(self, policy: nn.Module) -> tuple[list[th.Tensor], list[th.Tensor]]:
        """Weights of the target network, and those of the trained one that they follow."""
        if not self.target:
            return [], []
        return _tensors(policy.get_submodule(self.target)), _tensors(self.trained(policy))

    def synchronize(self, policy: nn.Module) -> None:
        """Make the target network equal to the trained one."""
        copy_all(*self.twins(policy))


@th.no_grad()
def copy_all(targets: list[th.Tensor], sources: list[th.Tensor]) -> None:
    """Make tensors equal to others."""
    if targets:
        th._foreach_copy_(targets, sources)


def _tensors(network: nn.Module) -> list[th.Tensor]:
    return [*network.parameters(), *network.buffers()]


def _distribution(policy: Any, batch: Batch) -> Prediction:
    return policy.get_distribution(batch.observations)


def _masked_distribution(policy: Any, batch: Batch) -> Prediction:
    return policy.get_distribution(batch.observations, batch.action_masks)


def _recurrent_distribution(policy: Any, batch: Batch) -> Prediction:
    """Every sequence begins with an empty memory, so no step within one has to empty it."""
    n_layers, _, size = policy.lstm_hidden_state_shape
    memory = th.zeros(n_layers, batch.n_sequences or 1, size, device=policy.device)
    episode_starts = th.zeros(len(batch.actions), device=policy.device)
    return policy.get_distribution(batch.observations, (memory, memory), episode_starts)[0]


def _squashed_gaussian(policy: Any, batch: Batch) -> Prediction:
    actor = policy.actor
    mean, log_std, noise_features = actor.get_action_dist_params(batch.observations)
    return actor.action_dist.proba_distribution(mean, log_std, **noise_features)


def _action(policy: Any, batch: Batch) -> Prediction:
    return policy.actor(batch.observations)


def _values(policy: Any, batch: Batch) -> Prediction:
    return policy.q_net(batch.observations)


def _mean_quantiles(policy: Any, batch: Batch) -> Prediction:
    return policy.quantile_net(batch.observations).mean(dim=1)


ACTOR_CRITIC = PolicyKind(
    "ppo",
    _distribution,
    ("likelihood", "mse"),
    # The epsilon is what SB3's actor-critic policies set where no arguments are given.
    optimizer_kwargs={"eps": 1e-5, "fused": True},
)
# A spread that depends on the state shrinks where actions are easy to predict, at their bounds
# above all, and what is left there then outweighs all the rest: hence not the likelihood first.
_SAC = PolicyKind(
    "sac", _squashed_gaussian, ("mse", "likelihood"), part="actor", optimizer="actor.optimizer"
)
_DQN = PolicyKind(
    "dqn", _values, ("cross_entropy", "large_margin"), part="q_net", target="q_net_target"
)

RECURRENT = replace(ACTOR_CRITIC, algorithm="recurrent_ppo", predict=_recurrent_distribution)
MASKED = replace(ACTOR_CRITIC, algorithm="maskable_ppo", predict=_masked_distribution)

_KINDS = {
    "stable_baselines3.common.policies:ActorCriticPolicy": ACTOR_CRITIC,
    "stable_baselines3.dqn.policies:DQNPolicy": _DQN,
    "stable_baselines3.sac.policies:SACPolicy": _SAC,
    "stable_baselines3.td3.policies:TD3Policy": PolicyKind(
        "td3",
        _action,
        ("mse",),
        part="actor",
        optimizer="actor.optimizer",
        target="actor_target",
    ),
    "sb3_contrib.common.maskable.policies:MaskableActorCriticPolicy": MASKED,
    "sb3_contrib.common.recurrent.policies:RecurrentActorCriticPolicy": RECURRENT,
    # Its optimiser has other momenta, which it sets only where no arguments are given.
    "sb3_contrib.crossq.policies:CrossQPolicy": replace(
        _SAC, algorithm="crossq", optimizer_kwargs={}
    ),
    "sb3_contrib.qrdqn.policies:QRDQNPolicy": replace(
        _DQN,
        algorithm="qrdqn",
        predict=_mean_quantiles,
        part="quantile_net",
        target="quantile_net_target",
    ),
    "sb3_contrib.tqc.policies:TQCPolicy": replace(_SAC, algorithm="tqc"),
}
"""Class of policies -> its kind."""

_POLICY_KWARGS: Mapping[str, dict[str, Any]] = {"ddpg": {"n_critics": 1}}
"""Arguments that an algorithm gives its policy by default."""


def kind_of(policy_class: type[BasePolicy]) -> PolicyKind:
    """The kind of a policy class.

    :raises InapplicableError: it is none that can be cloned into
    """
    for ancestor in policy_class.__mro__:
        kind = _KINDS.get(f"{ancestor.__module__}:{ancestor.__qualname__}")
        if kind is not None:
            return kind
    known = sorted({path.rpartition(":")[2] for path in _KINDS})
    raise InapplicableError(
        f"{policy_class.__name__} is no policy that can be trained on demonstrations; "
        f"known are {', '.join(known)} and their subclasses"
    )


def online_algorithm(policy_of: str | type[BaseAlgorithm]) -> type[BaseAlgorithm]:
    """The algorithm whose policies are meant.

    :raises InapplicableError: the name is not that of an online RL algorithm
    """
    if not isinstance(policy_of, str):
        return policy_of
    return registry.get_online(policy_of, "policy_of").load()


def policies_of(algorithm: type[BaseAlgorithm]) -> dict[str, type[BasePolicy]]:
    """The policies of an algorithm by their aliases; `MlpPolicy` also names a `MlpLstmPolicy`."""
    aliases = dict(algorithm.policy_aliases)
    short = {name.replace("LstmPolicy", "Policy"): policy for name, policy in aliases.items()}
    return {**short, **aliases}


def default_policy_kwargs(algorithm: type[BaseAlgorithm]) -> dict[str, Any]:
    """The arguments that an algorithm itself gives its policy."""
    return dict(_POLICY_KWARGS.get(algorithm.__name__.lower(), {}))
