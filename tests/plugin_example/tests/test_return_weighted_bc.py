import numpy as np
import pytest
from gymnasium import spaces
from sb3_il_plus_example.return_weighted_bc import step_weights

from sb3_il_plus import Demonstrations
from sb3_il_plus.testing import check_algorithm


def test_conforms():
    check_algorithm("return_weighted_bc")


def test_an_episode_counts_by_its_return_and_not_by_its_length():
    data = Demonstrations.from_arrays(
        observations=[np.zeros((2, 1)), np.zeros((4, 1))],
        actions=[np.zeros(1, dtype=int), np.zeros(3, dtype=int)],
        rewards=[[2.0], [0.0, 0.0, 0.0]],
        action_space=spaces.Discrete(2),
    )
    good, *bad = step_weights(data, temperature=1.0)
    # The returns 2 and 0 have the standard deviation 1.
    assert good / sum(bad) == pytest.approx(np.exp(2.0))
    assert bad == pytest.approx([bad[0]] * 3)
