"""Cal-QL: CQL whose values do not fall below the returns of the data, so that they fit online."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch as th

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.returns import returns_to_go
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.cql import CQL


class CalQL(CQL):
    """Cal-QL (Nakamoto et al. 2023, arXiv:2303.05479): calibrated Q-learning.

    CQL pushes the values of the policy's actions down without limit. When learning goes on online,
    even poor actions then seem better than the policy's, and what was learned is lost. Here these
    values are pushed down to the behaviour policy's at most: where Q(s, a) is below the return that
    follows s in the data, that return takes its place in the sum (equation 5.1, algorithm 1).

    As in the authors' code, the bound holds for the policy's actions of s and s', not for uniform
    ones; the return is the discounted one of the episode's remaining steps, also where a time limit
    cut it. `learn_online` goes on with half data, half experience, as there.

    Arguments and defaults are those of `CQL`. In AntMaze the authors have `cql_max_target_backup`,
    rewards times 10 minus 5 (`reward_scale=10, reward_shift=-5`) and `cql_alpha` 5.
    """

    def _extras(self, data: Demonstrations) -> Mapping[str, np.ndarray | th.Tensor]:
        assert data.rewards is not None
        scale = 1.0 if self._scale is None else self._scale
        rewards = data.rewards.astype(np.float64) * scale + self.reward_shift
        return {"returns_to_go": returns_to_go(rewards, data.offsets, self.gamma)}

    def _values_in_sum(self, values: th.Tensor, batch: Batch, rows: slice) -> th.Tensor:
        return calibrated(values, batch.extras["returns_to_go"][rows], self.cql_n_actions)


def calibrated(values: th.Tensor, returns: th.Tensor, n_uniform: int) -> th.Tensor:
    """Values, those of the policy's actions not below what followed in the data.

    :param values: shape (N, B, 1 + 3 M), as of `cql_values`
    :param returns: shape (B,)
    :param n_uniform: M, the number of uniform actions, which stay as they are
    """
    fixed, of_policy = values.split([1 + n_uniform, values.shape[-1] - 1 - n_uniform], -1)
    return th.cat([fixed, th.maximum(of_policy, returns[:, None])], -1)
