"""The column `intervened`: who acted in each step stays with the step, wherever the data goes."""

import dataclasses

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus import Demonstrations
from sb3_il_plus.data.assembly import keep_steps
from sb3_il_plus.data.inspection import summarize
from sb3_il_plus.errors import DataError, FileError

MARKS = np.array([False, True, True, False, True])


@pytest.fixture
def taken_over():
    data = Demonstrations.from_arrays(
        [np.arange(4.0)[:, None], np.arange(3.0)[:, None]],
        [np.array([0, 1, 1]), np.array([0, 1])],
        terminations=[np.array([False, False, True]), np.array([False, True])],
        action_space=spaces.Discrete(2),
    )
    return dataclasses.replace(data, intervened=MARKS)


@pytest.mark.parametrize("name", ["data.npz", "data.mapped"])
def test_files_keep_it(taken_over, tmp_path, name):
    loaded = Demonstrations.load(taken_over.save(tmp_path / name))
    np.testing.assert_array_equal(loaded.intervened, MARKS)
    assert loaded.fingerprint() == taken_over.fingerprint()
    assert loaded.fingerprint() != dataclasses.replace(taken_over, intervened=~MARKS).fingerprint()


def test_selections_keep_it(taken_over):
    np.testing.assert_array_equal(taken_over[1:].intervened, MARKS[3:])
    joined = Demonstrations.concatenate([taken_over[1:], taken_over])
    np.testing.assert_array_equal(joined.intervened, [*MARKS[3:], *MARKS])
    own = keep_steps(taken_over, taken_over.intervened)
    np.testing.assert_array_equal(own.actions, [1, 1, 1])
    np.testing.assert_array_equal(own.episode_lengths, [2, 1])
    assert own.intervened.all()


def test_a_wrong_length_is_refused(taken_over):
    with pytest.raises(DataError, match=r"intervened has shape \(2,\); 5 actions need \(5,\)"):
        dataclasses.replace(taken_over, intervened=MARKS[:2])


def test_a_format_without_a_place_for_it_says_so(taken_over, tmp_path):
    pytest.importorskip("h5py")
    with pytest.raises(FileError, match=r"no place for marks of interventions; save as \.npz"):
        taken_over.save(tmp_path / "data.hdf5")


def test_inspecting_shows_the_share(taken_over, tmp_path):
    summary = summarize(taken_over.save(tmp_path / "data.npz"))
    assert summary.coverage["intervened"].mean == pytest.approx(0.6)
    assert not summary.problems
