"""Random demonstrations for the property-based tests."""

from collections import OrderedDict

import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sb3_il_plus.data import Demonstrations

IMAGE = spaces.Box(0, 255, (4, 5, 3), np.uint8)

OBSERVATION_SPACES = [
    spaces.Box(-np.inf, np.inf, (3,), np.float32),
    spaces.Box(-1.0, 1.0, (2, 2), np.float64),
    spaces.Box(-1.0, 1.0, (), np.float32),
    IMAGE,
    spaces.Discrete(4),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiBinary(3),
    spaces.Dict(OrderedDict(state=spaces.Box(-1, 1, (2,)), camera=IMAGE, mode=spaces.Discrete(3))),
]

ACTION_SPACES = [
    spaces.Box(-1.0, 1.0, (2,), np.float32),
    spaces.Discrete(3),
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiBinary(2),
]

ENDS = [(True, False), (False, True), (True, True), (False, False)]
"""Terminated and truncated; neither is a fragment."""


@st.composite
def column(draw, space, n):
    """`n` rows of a space."""
    if isinstance(space, spaces.Dict):
        return {key: draw(column(entry, n)) for key, entry in space.spaces.items()}
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        elements = st.floats(-1, 1, width=space.dtype.itemsize * 8, allow_subnormal=False)
    elif isinstance(space, spaces.Box):
        elements = st.integers(0, 255)
    elif isinstance(space, spaces.Discrete):
        elements = st.integers(int(space.start), int(space.start + space.n - 1))
    else:
        elements = st.integers(0, 1)  # within both MultiBinary and the MultiDiscrete above
    return draw(arrays(space.dtype, (n, *space.shape), elements=elements))


@st.composite
def demonstrations(draw, observation_spaces=OBSERVATION_SPACES, ends=ENDS, min_episodes=1):
    """Demonstrations of random spaces, lengths, ends and values, with rewards or without."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=min_episodes, max_size=5))
    n = sum(lengths)
    observation_space = draw(st.sampled_from(observation_spaces))
    action_space = draw(st.sampled_from(ACTION_SPACES))
    offsets = np.cumsum([0, *lengths])
    flags = np.zeros((2, n), dtype=bool)
    flags[:, offsets[1:] - 1] = np.transpose([draw(st.sampled_from(ends)) for _ in lengths])
    rewards = arrays(np.float32, n, elements=st.floats(-100, 100, width=32))
    return Demonstrations(
        observations=draw(column(observation_space, n + len(lengths))),
        actions=draw(column(action_space, n)),
        rewards=draw(st.none() | rewards),
        terminations=flags[0],
        truncations=flags[1],
        offsets=offsets,
        observation_space=observation_space,
        action_space=action_space,
        metadata=draw(
            st.dictionaries(
                st.sampled_from(["env_id", "seed", "expert"]),
                st.none() | st.integers(-9, 9) | st.text(max_size=5) | st.lists(st.booleans()),
            )
        ),
    ).validate()


def assert_equal(first, second):
    """Every column, both spaces and the metadata agree."""
    assert first.fingerprint() == second.fingerprint()
    assert first.observation_space == second.observation_space
    assert first.action_space == second.action_space
    assert dict(first.metadata) == dict(second.metadata)
