"""Returns from each step on."""

import numpy as np

from sb3_il_plus.data.returns import returns_to_go


def test_they_end_with_their_episode():
    rewards, offsets = np.array([1.0, 2.0, 4.0, 8.0]), np.array([0, 3, 4])
    assert returns_to_go(rewards, offsets, 0.5).tolist() == [3.0, 4.0, 4.0, 8.0]
