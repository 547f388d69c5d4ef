"""Off-policy evaluation: what a policy would be worth, told from data that others have recorded.

    estimate = fitted_q_evaluation(model, demonstrations)   # of any policy
    estimate = initial_state_value(model, demonstrations)   # what the model itself believes

Both estimate the discounted return from the data's initial states. They are for choosing between
models where no environment can be had.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.utils import get_device

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.evaluation import global_seed
from sb3_il_plus.offline.actor_critic import minimize, squared_error
from sb3_il_plus.offline.algorithm import OfflineAlgorithm
from sb3_il_plus.offline.checks import largest_value
from sb3_il_plus.offline.divergence import DivergenceWarning
from sb3_il_plus.offline.evaluation_data import EvaluationData
from sb3_il_plus.randomness import child_generator, child_seed

_RESAMPLES = 2000
"""Of the initial states, for the interval."""


@dataclass(frozen=True)
class ValueEstimate:
    """A discounted return, in the rewards' own units.

    :param values: of each episode's initial state, shape (E,)
    :param low: lower end of the interval for their mean
    :param high: upper end. The interval is a bootstrap over initial states: it says how much they
        differ, and not how wrong the critic is
    """

    values: np.ndarray
    low: float
    high: float

    @property
    def mean(self) -> float:
        """Mean over the initial states: the estimate."""
        return float(self.values.mean())

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def fitted_q_evaluation(
    policy: Any,
    demonstrations: Any,
    *,
    gamma: float = 0.99,
    n_updates: int = 10_000,
    deterministic: bool = True,
    n_actions: int = 10,
    n_critics: int = 2,
    net_arch: Sequence[int] = (256, 256),
    learning_rate: float = 3e-4,
    batch_size: int = 256,
    tau: float = 0.05,
    confidence: float = 0.95,
    seed: int = 0,
    device: th.device | str = "auto",
) -> ValueEstimate:
    """Fit the values of a fixed policy to data (Le, Voloshin and Yue 2019, arXiv:1903.08738).

    Algorithm 3: critics are fitted to r + γ E_π Q'(s', ·) again and again. The paper fits each of
    its iterations to the end; here a target network follows, as in d3rlpy's `FQE`. The mean of the
    critics counts.

    It is right where the data holds what the policy does, and a guess where it does not: a policy
    that leaves the data may be valued far too highly.

    :param policy: a model, a policy, an `Expert`, or a function of one observation
    :param demonstrations: data with rewards, of Box or Discrete actions
    :param gamma: discount
    :param n_updates: gradient updates. They should be several times 1 / (tau * (1 - gamma))
    :param deterministic: whether the policy's most likely actions are evaluated, or sampled ones
    :param n_actions: actions sampled in each state, whose mean value counts
    :param n_critics: how many there are
    :param net_arch: sizes of their hidden layers
    :param learning_rate: of them
    :param batch_size: transitions in each update
    :param tau: part of the way that the target network goes with each update
    :param confidence: of the interval
    :param seed: of all that is random
    :param device: `auto`, `cpu`, `cuda`
    :raises DataError: there are no rewards
    :raises InapplicableError: the policy has a memory, or does not fit the data; or the actions are
        of another kind
    """
    _check(n_updates, gamma, confidence)
    data = Demonstrations.coerce(demonstrations)
    if data.rewards is None:
        raise DataError("values are fitted to rewards, and these demonstrations have none")
    where = get_device(device)
    with global_seed(seed):
        given = EvaluationData(data, policy, n_actions if not deterministic else 1, gamma, where)
        critics, targets = (given.build_critics(n_critics, net_arch) for _ in range(2))
    targets.follow(critics, 1.0)
    optimizer = th.optim.Adam([critics.flat], lr=learning_rate, fused=True)
    generator = th.Generator(where).manual_seed(child_seed(seed, "fitted Q evaluation"))
    for _ in range(n_updates):
        rows = th.randint(len(data), (batch_size,), generator=generator, device=where)
        with th.no_grad():
            target = given.target(rows, given.values_of_policy(targets, given.following[rows]))
        minimize(squared_error(given.values_of_data(critics, rows), target), optimizer)
        targets.follow(critics, tau)
    with th.no_grad():
        values = given.in_units_of_rewards(given.values_of_policy(targets, given.first))
    limit = 10 * largest_value(data.rewards, 1.0, 0.0, gamma)
    if not values.abs().max() <= limit:
        warnings.warn(
            f"fitted values reach {values.abs().max():.3g}, which is more than ten times what any "
            "return can be: the policy leaves the data, and the estimate means nothing",
            DivergenceWarning,
            stacklevel=2,
        )
    return _estimate(values.cpu().numpy(), confidence, seed)


@th.no_grad()
def initial_state_value(
    model: OfflineAlgorithm,
    demonstrations: Any = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> ValueEstimate:
    """What an algorithm's own critics say of its policy's actions in the data's initial states.

    It costs next to nothing. But what is wrong with a critic is wrong with this, too: an algorithm
    that diverges believes in the largest values. So compare models of one algorithm with it.

    :param model: a trained model of offline RL with critics; the lowest of their values counts
    :param demonstrations: whose initial states; None for those that the model has learned from
    :param confidence: of the interval
    :param seed: of the interval
    :return: in the data's own rewards; a `reward_shift` is still in it
    :raises InapplicableError: the model has no critics
    """
    _check(1, 0.0, confidence)
    values_of: Any = getattr(model, "_values_of", None)
    if not isinstance(model, OfflineAlgorithm) or values_of is None:
        raise InapplicableError(
            f"{type(model).__name__} has no critics; fitted_q_evaluation() needs none"
        )
    data = model._require_demonstrations()
    if demonstrations is not None:
        data = Demonstrations.coerce(demonstrations, env=model)
    observations: Any = model._as_env_observes(data.observations_at(data.offsets[:-1]))
    actions, _ = model.predict(observations, deterministic=True)
    observed, _ = model.policy.obs_to_tensor(observations)
    features = model._acting.extract_features(observed, model._extractor)
    values = values_of(features, model._scaled(th.as_tensor(actions, device=model.device)))
    scale = 1.0 if model._scale is None else model._scale
    return _estimate(values.amin(0).cpu().numpy() / scale, confidence, seed)


def _check(n_updates: int, gamma: float, confidence: float) -> None:
    if n_updates < 1:
        raise UserError(f"n_updates={n_updates} must be at least 1")
    if not 0 <= gamma < 1:
        raise UserError(f"gamma={gamma} must lie within [0, 1)")
    if not 0 < confidence < 1:
        raise UserError(f"confidence={confidence} must lie within (0, 1)")


def _estimate(values: np.ndarray, confidence: float, seed: int) -> ValueEstimate:
    rng = child_generator(seed, "interval of values")
    means = [rng.choice(values, len(values)).mean() for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return ValueEstimate(values.astype(np.float64), float(low), float(high))
