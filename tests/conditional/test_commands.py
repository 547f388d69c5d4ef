"""Commands in demonstrations: counted, checked, added, kept by files."""

import warnings

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus import Demonstrations, collect
from sb3_il_plus.conditional import (
    MissingCommandWarning,
    command_statistics,
    goals_as_commands,
    with_commands,
)
from sb3_il_plus.conditional.commands import (
    command_space,
    commands_of,
    discrete_command_space,
    warn_of_missing_commands,
)
from sb3_il_plus.conditional.driving import DrivingExpert, DrivingVecEnv
from sb3_il_plus.errors import DataError, InapplicableError

COMMANDS = spaces.Discrete(3)


@pytest.fixture
def bare():
    """Two episodes without commands, of 2 and 3 steps; the action is the number of the step."""
    return Demonstrations.from_arrays(
        [np.zeros((3, 2), np.float32), np.ones((4, 2), np.float32)],
        [np.array([[0.0], [0.1]]), np.array([[0.0], [0.1], [0.2]])],
        action_space=spaces.Box(-1, 1, (1,)),
    )


def test_statistics_of_each_command(bare):
    data = with_commands(bare, [0, 0, 2, 0, 2], COMMANDS)
    follow, never, other = command_statistics(data)
    assert (follow.command, follow.n_transitions, follow.n_episodes) == (0, 3, 2)
    assert follow.share == pytest.approx(0.6)
    np.testing.assert_allclose(follow.mean_action, [0.2 / 3], rtol=1e-6)
    assert (never.n_transitions, never.n_episodes, never.share) == (0, 0, 0)
    assert np.isnan(never.mean_action).all()
    np.testing.assert_allclose(other.mean_action, [0.1])


def test_statistics_of_choices_are_frequencies():
    data = Demonstrations.from_arrays(
        [np.zeros((5, 1), np.float32)], [np.array([1, 2, 2, 1])], action_space=spaces.Discrete(4)
    )
    first, second = command_statistics(with_commands(data, [0, 0, 0, 1], spaces.Discrete(2)))
    np.testing.assert_allclose(first.mean_action, [0, 1 / 3, 2 / 3, 0])
    np.testing.assert_allclose(second.mean_action, [0, 1, 0, 0])


def test_recorded_demonstrations_carry_commands(tmp_path):
    data = collect(DrivingExpert(), DrivingVecEnv(4), n_episodes=12, seed=0)
    statistics = command_statistics(data)
    assert sum(of_command.n_transitions for of_command in statistics) == len(data)
    assert all(of_command.n_episodes > 0 for of_command in statistics)
    left, right = statistics[1].mean_action[0], statistics[3].mean_action[0]
    assert left > 0.05 and right < -0.05, "steering to the left is positive"
    again = Demonstrations.load(data.save(tmp_path / "driving.npz"))
    np.testing.assert_array_equal(commands_of(again), commands_of(data))


def test_goals_become_commands():
    goals = np.array([[1.0, 2.0]] * 3, np.float32)
    data = Demonstrations.from_arrays(
        {"observation": np.zeros((3, 1), np.float32), "desired_goal": goals},
        np.zeros((2, 1), np.float32),
        episode_lengths=[2],
        action_space=spaces.Box(-1, 1, (1,)),
    )
    converted = goals_as_commands(data)
    assert sorted(converted.observation_space) == ["command", "observation"]
    np.testing.assert_array_equal(commands_of(converted), goals[:2])
    with pytest.raises(DataError, match="no entry 'desired_goal'"):
        goals_as_commands(converted)


def test_commands_without_data_are_named(bare):
    with pytest.warns(MissingCommandWarning, match=r"no demonstration of command 1 of Discrete"):
        missing = warn_of_missing_commands(with_commands(bare, [0, 2], COMMANDS))
    assert missing == [1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_of_missing_commands(with_commands(bare, [0, 1], spaces.Discrete(2))) == []


def test_commands_outside_the_space(bare):
    with pytest.raises(DataError, match=r"'command'\]: episode 1, step 0 is 3, which lies outside"):
        with_commands(bare, [0, 3], COMMANDS)
    with pytest.raises(DataError, match="must be integers, not float64"):
        with_commands(bare, [0.0, 1.0], COMMANDS)


@pytest.mark.parametrize(
    "space, message",
    [
        (spaces.Box(-1, 1, (2,)), "the entry 'command' of a Dict observation, and the observation"),
        (spaces.Dict({"image": spaces.Box(-1, 1, (2,))}), r"space is a Dict of \['image'\]"),
        (spaces.Dict({"command": spaces.Discrete(3, start=1)}), "counts from 0.*not of Discrete"),
        (spaces.Dict({"command": spaces.Box(-1, 1, (2, 2))}), "Box with one axis, not of Box"),
    ],
)
def test_spaces_without_a_command(space, message):
    with pytest.raises(InapplicableError, match=rf"Somebody reads.*{message}"):
        command_space(space, "Somebody")


def test_goals_are_no_choice():
    space = spaces.Dict({"command": spaces.Box(-1, 1, (2,))})
    assert command_space(space, "X") == space["command"]
    with pytest.raises(InapplicableError, match="must be Discrete, not Box"):
        discrete_command_space(space, "X")


def test_data_without_commands(bare):
    with pytest.raises(InapplicableError, match="reads the entry 'command'"):
        command_statistics(bare)
