"""Every wrong value is counted, and the first and last of each kind are named."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from strategies import demonstrations

from sb3_il_plus.data import Demonstrations, checking
from sb3_il_plus.data.checking import Checker
from sb3_il_plus.errors import DataError


def make(**changes):
    """Three episodes of 2, 3 and 4 steps."""
    columns = {
        "observations": np.zeros((12, 2), np.float32),
        "actions": np.zeros((9, 1), np.float32),
        "rewards": np.zeros(9),
        "terminations": np.zeros(9, bool),
        "truncations": np.zeros(9, bool),
        "offsets": np.array([0, 2, 5, 9]),
    }
    given_spaces = spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-1, 1, (1,))
    for name, rows in changes.items():
        for row, value in rows.items():
            columns[name][row] = value
    return Demonstrations.from_columns(columns, *given_spaces)


def problems(*pieces):
    checker = Checker(pieces[0].observation_space, pieces[0].action_space)
    for piece in pieces:
        checker.add(piece)
    return checker.problems()


def test_every_problem_is_named_at_once():
    bad = make(
        observations={(3, 1): np.nan, (11, 0): np.inf},
        actions={(2, 0): 1.5, (8, 0): np.nan},
        rewards={4: -np.inf, 5: np.nan, 8: np.nan},
        terminations={0: True},
    )
    clip = (
        "; environments clip such actions, so np.clip yours, or load with clip_actions=True "
        "(--clip-actions on the command line)"
    )
    assert problems(bad) == [
        "observations: episode 1, step 0, component (1,) is nan, which is not finite "
        "(and 1 more, the last in episode 2, step 4)",
        "actions: episode 2, step 3, component (0,) is nan, which is not finite",
        "actions: episode 1, step 0, component (0,) is 1.5, which lies outside "
        f"Box(-1.0, 1.0, (1,), float32){clip}",
        "rewards: episode 1, step 2 is -inf (and 2 more, the last in episode 2, step 3)",
        "terminations: episode 0, step 0 is true, but the episode goes on after it; is an episode "
        "boundary missing?",
    ]
    with pytest.raises(DataError) as error:
        bad.validate()
    assert str(error.value) == "; ".join(problems(bad))


def test_pieces_are_counted_on():
    bad = make(rewards={6: np.nan})
    assert problems(make(), bad, bad) == [
        "rewards: episode 5, step 1 is nan (and 1 more, the last in episode 8, step 1)"
    ]


@given(demonstrations(), st.data())
def test_pieces_and_chunks_make_no_difference(demos, data):
    """Whatever is wrong, it is found alike in one piece and in many, in one chunk and in many."""
    columns = {name: np.array(column) for name, column in demos.columns().items()}
    for name in sorted(columns):
        if columns[name].dtype.kind == "f" and data.draw(st.booleans()):
            row = data.draw(st.integers(0, len(columns[name]) - 1))
            columns[name][row] = data.draw(st.sampled_from([np.nan, np.inf, 1e9]))
    spoilt = Demonstrations.from_columns(columns, demos.observation_space, demos.action_space)
    whole = problems(spoilt)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "_CHUNK_BYTES", 1)
        assert sorted(problems(spoilt)) == sorted(whole)
    episodes = [spoilt[number] for number in range(spoilt.n_episodes)]
    assert sorted(problems(*episodes)) == sorted(whole)


def test_wrong_forms_are_said_once_whatever_the_pieces():
    good = make()
    checker = Checker(spaces.Box(-1, 1, (3,)), spaces.Discrete(2))
    for _ in range(3):
        checker.add(good)
    assert checker.problems() == [
        "observations: a row has shape (2,), the space Box(-1.0, 1.0, (3,), float32) has (3,)",
        "actions: a row has shape (1,), the space Discrete(2) has ()",
    ]
    checker = Checker(spaces.Dict(a=spaces.Box(-1, 1, (2,))), spaces.MultiDiscrete([2]))
    checker.add(good)
    names, dtype = checker.problems()
    assert "the data has the columns observations; the space Dict" in names
    assert dtype == "actions: has dtype float32, which the space MultiDiscrete([2]) cannot hold"


def test_structure_is_reported_at_once():
    with pytest.raises(DataError) as error:
        Demonstrations(
            observations=np.zeros((5, 1)),
            actions=np.zeros(3, int),
            rewards=np.zeros(2),
            terminations=np.zeros(4, bool),
            truncations=np.zeros(3, bool),
            offsets=np.array([0, 2, 2, 4]),
            observation_space=spaces.Box(-1, 1, (1,)),
            action_space=spaces.Discrete(2),
        )
    message = str(error.value)
    for part in (
        "episode offsets run from 0 to 4, but there are 3 actions",
        "episode 1 has no steps",
        "observations has 5 rows; 3 transitions in 3 episodes need 6",
        "rewards has shape (2,); 3 actions need (3,)",
        "terminations has shape (4,); 3 actions need (3,)",
    ):
        assert part in message


def test_bytes_that_are_no_booleans():
    """As a damaged file can hold them: NumPy itself would take them for true."""
    flags = np.array([0, 0, 7], np.uint8).view(bool)
    data = Demonstrations(
        observations=np.zeros((4, 1)),
        actions=np.zeros(3, int),
        terminations=flags,
        truncations=np.zeros(3, bool),
        offsets=np.array([0, 3]),
        observation_space=spaces.Box(-1, 1, (1,)),
        action_space=spaces.Discrete(2),
    )
    assert problems(data) == ["terminations: holds bytes that are no booleans"]
