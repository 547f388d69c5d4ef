"""What is said of a data set is true, whatever its format and however many pieces it has."""

import json

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from strategies import demonstrations

from sb3_il_plus.data import Demonstrations, stream
from sb3_il_plus.data.inspection import plot_returns, summarize
from sb3_il_plus.data.mapped import save_mapped
from sb3_il_plus.errors import DataError, FileError


def make(lengths=(2, 3), **changes):
    n = sum(lengths)
    columns = {
        "observations": np.arange(2.0 * (n + len(lengths))).reshape(-1, 2),
        "actions": np.arange(n) % 3,
        "rewards": np.ones(n),
        "terminations": np.zeros(n, bool),
        "truncations": np.zeros(n, bool),
        "offsets": np.cumsum([0, *lengths]),
        **changes,
    }
    given_spaces = spaces.Box(-np.inf, np.inf, (2,)), spaces.Discrete(3)
    kept = {name: column for name, column in columns.items() if column is not None}
    return Demonstrations.from_columns(kept, *given_spaces, {"env_id": "Here-v0", "seed": 3})


@settings(max_examples=20)
@given(demos=demonstrations())
def test_figures(demos, tmp_path_factory):
    path = demos.save(tmp_path_factory.mktemp("inspect") / "data.mapped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "PIECE_BYTES", 1)  # each episode a piece
        found = summarize(path)
    assert found.problems == []
    assert found.n_transitions == len(demos)
    assert found.lengths.tolist() == demos.episode_lengths.tolist()
    if demos.rewards is None:
        assert found.returns is None
    else:
        assert found.returns.tolist() == demos.episode_returns.tolist()
    last = demos.offsets[1:] - 1
    assert found.ends["terminated"] == demos.terminations[last].sum()
    assert sum(found.ends.values()) == demos.n_episodes
    assert found.observation_space == demos.observation_space
    actions = found.coverage["actions"]
    np.testing.assert_array_equal(actions.low, demos.actions.min(axis=0))
    np.testing.assert_array_equal(actions.high, demos.actions.max(axis=0))
    np.testing.assert_allclose(actions.mean, demos.actions.mean(axis=0, dtype=float), atol=1e-6)
    for shares in actions.shares():
        assert sum(shares) == pytest.approx(1)
    json.dumps(found.to_json(), allow_nan=False)


def test_shares_of_choices(tmp_path):
    found = summarize(make((4, 4)).save(tmp_path / "data.npz"))
    assert found.coverage["actions"].shares() == [[3 / 8, 3 / 8, 2 / 8]]
    assert found.format == "an .npz file"
    assert found.size_bytes == (tmp_path / "data.npz").stat().st_size
    assert found.metadata["env_id"] == "Here-v0"


def test_problems_are_listed_with_the_figures(tmp_path):
    """Wrong values of somebody else's file, in which everything else can be seen."""
    np.savez(
        tmp_path / "data.npz",
        observations=np.array([[0.0], [np.nan], [2.0], [np.inf]]),
        actions=[0, 1, 5, 0],
        rewards=[1.0, 1.0, np.nan, 1.0],
        terminals=[0, 1, 0, 1],
    )
    found = summarize(tmp_path / "data.npz", action_space=spaces.Discrete(3))
    assert found.n_transitions == 4
    assert found.returns[0] == 2 and np.isnan(found.returns[1])
    # What is not finite does not hide the rest.
    seen, rewards = found.coverage["observations"], found.coverage["rewards"]
    assert (seen.low, seen.high, seen.mean) == ([0], [2], [1])
    assert (rewards.low, rewards.high, rewards.mean) == (1, 1, 1)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["returns"]["mean"] == 2
    first, second, third = found.problems
    assert "observations: episode 0, step 1, component (0,) is nan" in first
    assert "actions: episode 1, step 0 is 5, which lies outside Discrete(3)" in second
    assert "rewards: episode 1, step 0 is nan" in third
    plot_returns(found, tmp_path / "plot.png")


def test_nothing_is_finite(tmp_path):
    lost = make(observations=np.full((7, 2), np.nan), rewards=np.full(5, np.inf))
    save_mapped(lost, tmp_path / "data.mapped")
    found = summarize(tmp_path / "data.mapped")
    assert len(found.problems) == 2
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["columns"]["observations"]["low"] == [None, None]
    assert content["returns"] is None


def test_damage_that_is_met_on_the_way(tmp_path):
    path = make((3, 4)).save(tmp_path / "data.mapped")
    file = path / "rewards.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    found = summarize(path)
    assert found.n_transitions == 7
    (problem,) = found.problems
    assert "rewards: not what was saved" in problem
    (path / "header.json").write_text("{}")
    with pytest.raises(FileError, match="holds no demonstrations"):
        summarize(path)


def test_notes(tmp_path):
    lengths = (60, 60, 60)
    flags = np.zeros(180, bool)
    flags[[59, 119, 179]] = True
    data = make(lengths, terminations=flags, observations=np.zeros((183, 2)), actions=flags * 1)
    notes = summarize(data.save(tmp_path / "data.npz")).notes
    assert notes == [
        "every episode terminates after exactly 60 steps: is that a time limit? Then they are "
        "truncated, not terminated",
        "observations: 2 of 2 components never change",
        "actions: 1 of 3 choices are never taken",
    ]
    fine = make(lengths, truncations=flags, actions=np.arange(180) % 3)
    assert summarize(fine.save(tmp_path / "data.npz")).notes == []


def test_plots(tmp_path):
    found = summarize(make((2, 3, 4)).save(tmp_path / "data.npz"))
    plot_returns(found, tmp_path / "returns.png")
    assert (tmp_path / "returns.png").read_bytes()[:4] == b"\x89PNG"
    unknown = summarize(make(rewards=None).save(tmp_path / "data.npz"))
    with pytest.raises(DataError, match="has no rewards, so there are no returns to plot"):
        plot_returns(unknown, tmp_path / "returns.png")
