"""`fit_critic`: an on-policy critic learns from demonstrations, before the first step.

SB3's critics begin near 0, and an update moves what they say by little. Where returns are large,
thousands of environment steps pass until values have their size, and until then advantages mislead
the actor. Demonstrations with rewards show that size, and the way to good states, for no steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from torch.nn import functional as F

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.returns import returns_to_go
from sb3_il_plus.data.validation import fit_to
from sb3_il_plus.errors import DataError
from sb3_il_plus.finetuning.parts import value_parameters
from sb3_il_plus.randomness import child_generator, fresh_seed

_PASSES = 20
"""How often the values of the states in which episodes were cut are computed anew."""


def can_fit_critic(model: Any) -> bool:
    """Whether an on-policy model has a critic that single states can be shown to.

    Recurrent ones read whole episodes. Where a `VecNormalize` scales rewards, their scale is not
    known before the first steps.
    """
    normalizer = model.get_vec_normalize_env()
    scaled = normalizer is not None and normalizer.norm_reward
    return not scaled and not hasattr(model.policy, "lstm_actor")


def fit_critic(
    model: Any,
    demonstrations: Any,
    n_updates: int,
    *,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
) -> None:
    """Regress an on-policy model's values to the discounted returns of demonstrations.

    Where an episode was cut, the critic's own value of its last state stands for what was to come.
    Nothing that acts changes: a features extractor that actor and critic share stays as it is.

    :param model: SB3's, with an actor-critic policy without a memory
    :param demonstrations: with rewards
    :param n_updates: gradient updates
    :param batch_size: states in each
    :param learning_rate: of an optimiser (Adam) that is used for nothing else
    :raises DataError: the demonstrations have no rewards, or do not fit the model's spaces
    """
    data = fit_to(
        Demonstrations.coerce(demonstrations, env=model),
        model.observation_space,
        model.action_space,
    )
    if data.rewards is None:
        raise DataError(
            "the demonstrations have no rewards, which a critic learns from; "
            "critic_updates=0 leaves it alone"
        )
    rng = child_generator(fresh_seed() if model.seed is None else model.seed, "critic")
    optimizer = th.optim.Adam(value_parameters(model.policy), lr=learning_rate)
    model.policy.set_training_mode(False)
    earned = returns_to_go(data.rewards, data.offsets, model.gamma)
    ends = data.offsets[1:] - 1
    steps_left = ends[data.episode_index] - np.arange(len(data)) + 1
    to_come = model.gamma**steps_left * ~data.terminations[ends][data.episode_index]
    targets = earned
    for update in range(n_updates):
        if update % max(n_updates // _PASSES, 1) == 0:
            with th.no_grad():
                last = _values(model, data.next_observations_at(ends)).cpu().numpy()
            targets = (earned + to_come * last[data.episode_index]).astype(np.float32)
        index = rng.integers(len(data), size=batch_size)
        wanted = th.as_tensor(targets[index], device=model.device)
        loss = F.mse_loss(_values(model, data.observations_at(index)), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _values(model: Any, observations: col.Columns) -> th.Tensor:
    """What the critic says of raw observations, shape (B,)."""
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        observations = normalizer.normalize_obs(observations)
    values: th.Tensor = model.policy.predict_values(model.policy.obs_to_tensor(observations)[0])
    return values.flatten()
