"""BC warm start: clone the demonstrations into a generator's policy before it learns from a reward.

Where a random policy hardly ever meets the states of the expert, a discriminator tells the two
apart at once and the generator finds nothing to climb. Cloning first is the remedy; critics start
from scratch.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.adapters.bc import BC
from sb3_il_plus.adapters.policy_kinds import kind_of
from sb3_il_plus.errors import UserError
from sb3_il_plus.randomness import child_seed, global_states, set_global_states

if TYPE_CHECKING:
    from sb3_il_plus.adapters.generator import GeneratorAlgorithm

DEFAULT_UPDATES = 1000
"""Gradient updates of `bc_warm_start=True`: some 30 passes over a thousand transitions."""

_BATCH_SIZE = 32
_LOG_INTERVAL = 100

_ENOUGH_OBSERVATIONS = 1000
"""After as many, the statistics of a `VecNormalize` change little."""


def n_updates(bc_warm_start: int | bool | None, policy_class: Any) -> int:
    """Gradient updates that are asked for.

    :param policy_class: of the generator
    :raises UserError: not a number of updates
    :raises InapplicableError: policies of this kind cannot be cloned into
    """
    if bc_warm_start is True:
        bc_warm_start = DEFAULT_UPDATES
    if not isinstance(bc_warm_start or 0, int) or (bc_warm_start or 0) < 0:
        raise UserError(
            f"bc_warm_start={bc_warm_start!r} must be a number of gradient updates, "
            f"True for {DEFAULT_UPDATES}, or None"
        )
    if bc_warm_start:
        kind_of(policy_class)
    return int(bc_warm_start or 0)


def clone(model: GeneratorAlgorithm, n: int) -> dict[str, Any]:
    """Clone the model's demonstrations into its policy, by `BC` with its default hyperparameters.

    The random streams of the training that follows are as without it.

    :param n: gradient updates
    :return: the last figures that BC logged, without their `train/`
    """
    data, policy = model._require_demonstrations(), model.policy
    _warn_of_fresh_statistics(model._vec_normalize_env)
    states = global_states(model.device)
    learner = BC(
        type(policy),
        None,
        data,
        batch_size=min(_BATCH_SIZE, len(data)),
        policy_kwargs=dict(model.generator_model.policy_kwargs),
        seed=child_seed(model._base_seed, "warm start"),
        device=model.device,
    )
    learner._vec_normalize_env = model._vec_normalize_env
    learner.set_demonstrations(data)
    learner.set_logger(Logger(None, []))
    learner.policy.load_state_dict(policy.state_dict())
    learner.learn(n, log_interval=_LOG_INTERVAL)
    policy.load_state_dict(learner.policy.state_dict())
    set_global_states(states, model.device)
    return {
        name.removeprefix("train/"): value
        for name, value in learner.history[-1].items()
        if name.startswith("train/") and value is not None
    }


def _warn_of_fresh_statistics(normalizer: VecNormalize | None) -> None:
    """What is cloned is lost when the inputs are scaled otherwise later on."""
    if normalizer is None or not (normalizer.norm_obs and normalizer.training):
        return
    rms: Any = normalizer.obs_rms
    counts = [each.count for each in (rms.values() if isinstance(rms, dict) else [rms])]
    if min(counts) < _ENOUGH_OBSERVATIONS:
        warnings.warn(
            f"bc_warm_start inside a VecNormalize that has seen {min(counts):.0f} observations: "
            "its statistics, and so what the cloned policy is shown, are going to change. "
            "Prefer normalize_observations=True, or statistics of an earlier training",
            stacklevel=4,
        )
