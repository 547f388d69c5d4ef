"""Random and noisy agents act as their descriptions say, in the amounts that they say."""

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus.errors import UserError
from sb3_il_plus.experts.behaviours import noisy_expert, random_expert
from sb3_il_plus.experts.expert import as_expert

SEEN = spaces.Box(-1.0, 1.0, (3,), np.float32)
BATCH = np.zeros((4000, 3), np.float32)


def still(action_space):
    """An expert that always does the same."""
    action = np.zeros(action_space.shape, action_space.dtype)
    return as_expert(lambda observation: action, SEEN, action_space)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(np.float32([-2, 0]), np.float32([2, 1])),
        spaces.Box(-np.inf, np.inf, (1,)),
        spaces.Discrete(4),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([3, 2]),
        spaces.MultiBinary(4),
    ],
    ids=str,
)
def test_random_actions_lie_in_the_space_and_cover_it(space):
    actions, _ = random_expert(SEEN, space, seed=0).predict(BATCH)
    assert actions.shape == (4000, *space.shape) and actions.dtype == space.dtype
    assert all(space.contains(action) for action in actions[:200])
    again, _ = random_expert(SEEN, space, seed=0).predict(BATCH)
    other, _ = random_expert(SEEN, space, seed=1).predict(BATCH)
    assert (again == actions).all() and (other != actions).any()
    single, _ = random_expert(SEEN, space, seed=0).predict(BATCH[0])
    assert space.contains(single)


def test_random_actions_are_uniform():
    actions, _ = random_expert(SEEN, spaces.Discrete(4), seed=0).predict(BATCH)
    assert abs(np.bincount(actions) - 1000).max() < 120  # 4 standard deviations are 110


def test_noise_on_choices_is_a_share_of_random_ones():
    noisy = noisy_expert(still(spaces.Discrete(4)), 0.4, seed=0)
    actions, _ = noisy.predict(BATCH)
    assert noisy.name == "noisy(0.4) <lambda>"
    assert abs((actions != 0).mean() - 0.4 * 3 / 4) < 0.04
    assert np.shape(noisy.predict(BATCH[0])[0]) == ()


def test_noise_on_continuous_actions_is_random_ones_and_gaussian():
    space = spaces.Box(-2.0, 2.0, (1,))
    actions, _ = noisy_expert(still(space), 0.3, seed=0).predict(BATCH)
    # A share 0.3 is uniform, of variance 4/3; the rest has the standard deviation 0.3 * 2.
    assert np.var(actions) == pytest.approx(0.3 * 4 / 3 + 0.7 * 0.6**2, rel=0.08)
    assert np.abs(actions).max() <= 2


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_extreme_levels(level):
    actions, _ = noisy_expert(still(spaces.Discrete(4)), level, seed=0).predict(BATCH)
    assert (actions != 0).mean() == pytest.approx(level * 3 / 4, abs=0.04)


def test_levels_that_are_none():
    with pytest.raises(UserError, match=r"the noise level 1.1 must lie within \[0, 1\]"):
        noisy_expert(still(spaces.Discrete(4)), 1.1, seed=0)
