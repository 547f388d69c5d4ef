"""CQL: SAC, with critics that are kept low where there is no data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import nn

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.actor_critic import (
    Critics,
    minimize,
    squared_error,
)
from sb3_il_plus.offline.batch import Batch, Noise
from sb3_il_plus.offline.gaussian import (
    gaussian_log_prob,
    squashed_params,
    squashed_sample,
)
from sb3_il_plus.offline.soft import Coefficients, SoftActorCritic, SoftArguments

_LARGEST_WEIGHT = 1e6
"""Of the conservative term, when it is learned; as in the authors' code."""

_STATES_AT_ONCE = 64
"""In the critics' loss: with their 31 actions, their activations stay in a processor's cache."""


class CQL(SoftActorCritic):
    """CQL (Kumar et al. 2020, arXiv:2006.04779): conservative Q-learning, in its form CQL(H).

    SAC, whose critics also minimise cql_alpha * (log sum_a exp Q(s, a) - Q(s, a of the data)),
    equation 4. The sum is over actions of the policy in s and in s', and uniform ones, each divided
    by its density (appendix F).

    Names are CORL's where the paper has only letters. Defaults are those of the authors' script for
    D4RL, but for cloning at the beginning: they begin with 40000 updates of it, CORL with none.

    :param policy: `MlpPolicy`, which is SAC's with three hidden layers of 256
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param cql_alpha: weight of the conservative term; `min_q_weight` in the authors' code,
        `conservative_weight` in d3rlpy. 5 or 10 in locomotion. The initial one with `cql_lagrange`
    :param cql_n_actions: actions of each of the three kinds
    :param cql_temp: temperature of the sum
    :param cql_importance_sample: divide by densities: CQL(H) with True (`min_q_version` 3); with
        False the data's action is in the sum, and densities are not (`min_q_version` 2)
    :param cql_lagrange: learn the weight, so that the term (without its weight) stays near
        `cql_target_action_gap` (equation 30); off in the authors' locomotion tasks
    :param cql_target_action_gap: tau of equation 30; 5 in the authors' AntMaze tasks, 0.8 in CORL's
    :param cql_max_target_backup: the target is the largest of `cql_n_actions` actions' values
        (equation 4 with a maximum; used in AntMaze)
    :param backup_entropy: whether the target has SAC's entropy in it; not in the authors' code
    :param bc_steps: updates in which the actor clones, to begin with
    :param actor_learning_rate: of actor and entropy coefficient; 1e-4, and 3e-5 in CORL
    :param kwargs: see `SoftActorCritic`, `ActorCritic` and `OfflineAlgorithm`
    """

    default_net_arch: ClassVar[list[int]] = [256, 256, 256]

    def __init__(  # type: ignore[misc]  # one default is not that of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        cql_alpha: float = 5.0,
        cql_n_actions: int = 10,
        cql_temp: float = 1.0,
        cql_importance_sample: bool = True,
        cql_lagrange: bool = False,
        cql_target_action_gap: float = 5.0,
        cql_max_target_backup: bool = False,
        backup_entropy: bool = False,
        bc_steps: int = 0,
        actor_learning_rate: float | Schedule | None = 1e-4,
        _init_setup_model: bool = True,
        **kwargs: Unpack[SoftArguments],
    ) -> None:
        if cql_n_actions < 1 or cql_temp <= 0:
            raise UserError(
                f"cql_n_actions={cql_n_actions} must be at least 1, and cql_temp={cql_temp} "
                "greater than 0"
            )
        self.cql_alpha = cql_alpha
        self.cql_n_actions = cql_n_actions
        self.cql_temp = cql_temp
        self.cql_importance_sample = cql_importance_sample
        self.cql_lagrange = cql_lagrange
        self.cql_target_action_gap = cql_target_action_gap
        self.cql_max_target_backup = cql_max_target_backup
        self.backup_entropy = backup_entropy
        self.bc_steps = bc_steps
        super().__init__(
            policy, env, demonstrations, actor_learning_rate=actor_learning_rate, **kwargs
        )
        if _init_setup_model:
            self._setup_model()

    def _build_coefficients(self) -> Coefficients:
        return ConservativeCoefficients(self.cql_alpha)

    def _noise(self) -> Mapping[str, Noise]:
        one, many = (self.action_dim,), (self.cql_n_actions, self.action_dim)
        return {
            "policy": Noise(one),
            "target": Noise(many if self.cql_max_target_backup else one),
            "current": Noise(many),
            "next": Noise(many),
            "uniform": Noise(many, "uniform"),
        }

    def _kind_of_update(self) -> bool:
        return self._n_updates < self.bc_steps

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        mean, log_std = squashed_params(self.actor(batch.observations))
        now = mean.detach(), log_std.detach()
        with th.no_grad():
            later = squashed_params(self.actor.frozen(batch.next_observations))
        entropy_weight = self.coefficients.log_entropy.detach().exp()
        target = self._target(batch, *later, entropy_weight)
        tried = cql_actions(batch, now, later)

        actions, log_prob = squashed_sample(mean, log_std, batch.noise["policy"])
        if self._kind_of_update():  # cloning, to begin with
            raw = batch.actions.clamp(-1.0 + 1e-6, 1.0 - 1e-6).atanh()
            worth = gaussian_log_prob(raw, mean, log_std)
        else:
            worth = self.critics.fixed_values(batch.observations, actions).amin(0)
        actor_loss = (entropy_weight * log_prob - worth).mean()
        self._learn_entropy_weight(log_prob)
        self._minimize_actor(actor_loss)

        weight = self._conservative_weight()
        losses: list[CriticLoss] = []
        self._minimize_critics(self._critic_losses(batch, target, tried, weight, losses))
        td_loss, gap = (th.stack(parts).sum(0) for parts in zip(*losses, strict=True))
        if self.cql_lagrange:
            self._learn_conservative_weight(gap)
        self.target_critics.follow(self.critics, self.tau)
        return {
            "actor_loss": actor_loss,
            "critic_loss": td_loss,
            "conservative_gap": gap.mean(),
            "conservative_weight": weight,
            "ent_coef": entropy_weight,
            "q_value": target.mean(),
        }

    def _critic_losses(
        self,
        batch: Batch,
        target: th.Tensor,
        tried: TriedActions,
        weight: th.Tensor,
        losses: list[CriticLoss],
    ) -> Iterator[th.Tensor]:
        """The critics' loss, a few states at a time, for each of them has many actions.

        :param losses: where what is not yet weighted is left
        """
        for start in range(0, len(target), _STATES_AT_ONCE):
            rows = slice(start, start + _STATES_AT_ONCE)
            values = cql_values(
                batch.observations[rows], batch.actions[rows], tried.actions[rows], self.critics
            )
            log_density = tried.log_density[rows] if self.cql_importance_sample else None
            share = values.shape[1] / len(target)
            td_loss = squared_error(values[:, :, 0], target[rows]) * share
            in_sum = self._values_in_sum(values, batch, rows)
            gap = conservative_gap(in_sum, log_density, self.cql_temp) * share
            losses.append(CriticLoss(td_loss.detach(), gap.detach()))
            yield td_loss + (weight * gap).sum()

    def _values_in_sum(self, values: th.Tensor, batch: Batch, rows: slice) -> th.Tensor:
        """The values that the conservative term is made of; shape (N, B, 1 + 3 M)."""
        return values

    @th.no_grad()
    def _target(
        self, batch: Batch, mean: th.Tensor, log_std: th.Tensor, entropy_weight: th.Tensor
    ) -> th.Tensor:
        """r + γ min_i Q'_i(s', a'), shape (B,), with a' of the policy, or the best of several."""
        noise = batch.noise["target"]
        n_actions = noise.shape[1] if noise.dim() == 3 else 1
        noise = noise.view(len(mean), n_actions, -1)
        actions, log_prob = squashed_sample(mean[:, None], log_std[:, None], noise)
        observations = batch.next_observations[:, None].expand(-1, n_actions, -1)
        values = self.target_critics.fixed_values(observations.flatten(0, 1), actions.flatten(0, 1))
        best, place = values.view(-1, len(mean), n_actions).max(-1)
        value = best.amin(0)
        if self.backup_entropy:
            value = value - entropy_weight * log_prob.gather(1, place[:1].T).squeeze(1)
        return batch.rewards + batch.discounts * value

    @th.no_grad()
    def _conservative_weight(self) -> th.Tensor:
        return self.coefficients.conservative()

    def _learn_conservative_weight(self, gap: th.Tensor) -> None:
        """Equation 30: more weight where the term exceeds the gap that is asked for."""
        excess = gap - self.cql_target_action_gap
        loss = -(self.coefficients.conservative() * excess).mean()
        minimize(loss, self.coefficients.conservative_optimizer)


class CriticLoss(NamedTuple):
    """The critics' loss in its parts, without the weight between them."""

    td: th.Tensor
    """Scalar."""
    gap: th.Tensor
    """Shape (N,)."""


class ConservativeCoefficients(Coefficients):
    """The weights of the entropy and of the conservative term.

    :param conservative: the second one's initial value
    """

    names = ("entropy", "conservative")
    conservative_optimizer: Any

    def __init__(self, conservative: float) -> None:
        super().__init__()
        self.log_conservative = nn.Parameter(th.tensor(math.log(max(conservative, 1e-8))))

    def conservative(self) -> th.Tensor:
        """The weight of the conservative term."""
        return self.log_conservative.exp().clamp(0.0, _LARGEST_WEIGHT)


class TriedActions(NamedTuple):
    """Actions in the sum of the conservative term, three times M for each state."""

    actions: th.Tensor
    """Shape (B, 3 M, action dimension): uniform ones, the policy's in s', and in s."""
    log_density: th.Tensor
    """Shape (B, 3 M)."""


@th.no_grad()
def cql_actions(
    batch: Batch, now: tuple[th.Tensor, th.Tensor], later: tuple[th.Tensor, th.Tensor]
) -> TriedActions:
    """Actions of the three kinds, with the logarithms of their densities (appendix F).

    :param now: mean and logarithm of the deviation of the policy in s, before the tanh
    :param later: the same in s'
    """
    uniform = batch.noise["uniform"]
    density = uniform.new_full(uniform.shape[:-1], -math.log(2.0) * uniform.shape[-1])
    sampled = [
        squashed_sample(mean[:, None], log_std[:, None], batch.noise[name])
        for (mean, log_std), name in ((later, "next"), (now, "current"))
    ]
    return TriedActions(
        th.cat([uniform, *(actions for actions, _ in sampled)], 1),
        th.cat([density, *(log_prob for _, log_prob in sampled)], 1),
    )


def cql_values(
    observations: th.Tensor, actions: th.Tensor, tried: th.Tensor, critics: Critics
) -> th.Tensor:
    """Values of the data's action, the first, and of those tried; shape (N, B, 1 + 3 M).

    :param observations: shape (B, features)
    :param actions: of the data, shape (B, action dimension)
    :param tried: shape (B, 3 M, action dimension)
    """
    all_actions = th.cat([actions[:, None], tried], 1)
    observations = observations[:, None].expand(-1, all_actions.shape[1], -1)
    values = critics.values(observations.flatten(0, 1), all_actions.flatten(0, 1))
    return values.view(critics.n, *all_actions.shape[:2])


def conservative_gap(
    values: th.Tensor, log_density: th.Tensor | None, temperature: float
) -> th.Tensor:
    """log sum_a exp Q(s, a) - Q(s, a of the data), mean over the batch; shape (N,).

    :param values: shape (N, B, 1 + 3 M), as of `cql_values`
    :param log_density: of the actions tried, shape (B, 3 M); None for CQL(rho), in whose sum the
        data's action is, and densities are not
    """
    if log_density is None:
        summed = th.logsumexp(values / temperature, -1)
    else:
        summed = th.logsumexp(values[:, :, 1:] / temperature - log_density, -1)
    return (temperature * summed - values[:, :, 0]).mean(-1)
