"""What is measured of policies that read a command, against episodes whose outcome is known."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from sb3_il_plus import collect
from sb3_il_plus.conditional import (
    CommandEvaluation,
    action_agreement,
    evaluate_commands,
    goals_as_commands,
    plot_commands,
)
from sb3_il_plus.conditional.driving import Command, DrivingExpert, DrivingVecEnv
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.testing.environments import make_echo


class Stubborn(DrivingExpert):
    """Goes straight on where it is told to go left, and else does as it is told."""

    def predict(self, observation, *args, **kwargs):
        command = np.array(observation["command"])
        command[command == Command.LEFT] = Command.STRAIGHT
        return super().predict({**observation, "command": command}, *args, **kwargs)


@pytest.fixture(scope="module")
def stubborn():
    return evaluate_commands(Stubborn(), DrivingVecEnv(20), 60, seed=0)


def test_what_is_told_and_not_done(stubborn):
    n_left = stubborn.given[:, Command.LEFT].sum()
    np.testing.assert_array_equal(stubborn.given[:, 1:].sum(axis=1), np.ones(60), "one junction")
    np.testing.assert_array_equal(stubborn.success_per_command[1:], [0.0, 1.0, 1.0])
    followed = stubborn.given[:, Command.FOLLOW]
    assert 0 < followed.sum() < 60, "some episodes begin near the junction"
    assert stubborn.success_per_command[0] == stubborn.successes[followed].mean()
    assert stubborn.success_rate == stubborn.returns.mean() == 1 - n_left / 60
    assert stubborn.infractions["missed_turn"].sum() == n_left
    assert not stubborn.infractions["off_road"].any()
    assert stubborn.missed_turns == pytest.approx(n_left / 60)
    assert stubborn.distance_per_infraction == pytest.approx(stubborn.distances.sum() / n_left)
    expected = np.zeros((4, 5), dtype=int)
    expected[Command.LEFT, Command.STRAIGHT] = n_left
    for command in (Command.STRAIGHT, Command.RIGHT):
        expected[command, command] = stubborn.given[:, command].sum()
    np.testing.assert_array_equal(stubborn.confusion, expected)
    assert f"{100 * stubborn.success_rate:.1f} % of 60 episodes" in str(stubborn)
    assert "1: 0 %" in str(stubborn)


def test_no_infraction_at_all():
    found = evaluate_commands(DrivingExpert(), DrivingVecEnv(4), 8, seed=0)
    assert found.success_rate == 1 and found.missed_turns == 0
    assert found.distance_per_infraction == np.inf


def test_commands_of_a_route_count_apart():
    """Of three junctions in an episode, only those that are driven to were commanded."""
    found = evaluate_commands(Stubborn(), DrivingVecEnv(10, n_junctions=3), 20, seed=0)
    n_junctions = found.confusion.sum()
    assert 20 < n_junctions < 60
    assert found.missed_turns == pytest.approx(found.confusion[Command.LEFT].sum() / n_junctions)


def test_success_of_an_environment_that_does_not_say_so():
    env = make_echo("Dict")
    say_0 = type("Constant", (), {"predict": lambda self, obs, **_: (np.zeros(1, int), None)})()
    with pytest.raises(UserError, match="last info has no entry 'is_success'; say what a success"):
        evaluate_commands(say_0, env, 2)
    found = evaluate_commands(say_0, env, 4, seed=0, success=lambda info, total: total > 100)
    assert found.success_rate == 0 and found.infractions == {}
    assert found.distance_per_infraction is None and np.isnan(found.missed_turns)
    with pytest.raises(InapplicableError, match="evaluate_commands reads the entry 'command'"):
        evaluate_commands(say_0, make_echo("Box"), 2)


def test_agreement_with_the_expert():
    data = collect(DrivingExpert(), DrivingVecEnv(8), n_episodes=16, seed=1)
    found = action_agreement(Stubborn(), data)
    commands = data.observations_at(np.arange(len(data)))["command"]
    assert [each.n_transitions for each in found] == np.bincount(commands).tolist()
    for each in found:
        agrees = each.command != Command.LEFT
        assert (each.agreement == 1) == (each.mean_error == 0) == agrees
    left = commands == Command.LEFT
    actions, _ = Stubborn().predict(data.observations_at(np.flatnonzero(left)))
    errors = np.abs(actions - data.actions[left])
    assert found[Command.LEFT].mean_error == pytest.approx(errors.mean(), rel=1e-5)
    assert found[Command.LEFT].agreement == pytest.approx((errors <= 0.1).all(axis=1).mean())


def test_agreement_of_choices_and_for_goals():
    rng = np.random.default_rng(0)
    goals = Demonstrations.from_arrays(
        {
            "observation": rng.normal(size=(5, 2)).astype(np.float32),
            "desired_goal": rng.uniform(-1, 1, (5, 2)).astype(np.float32),
        },
        np.array([0, 1, 2, 2]),
        episode_lengths=[4],
        observation_space=spaces.Dict(
            {
                "observation": spaces.Box(-9, 9, (2,), np.float32),
                "desired_goal": spaces.Box(-1, 1, (2,), np.float32),
            }
        ),
        action_space=spaces.Discrete(3),
    )
    always_2 = type("C", (), {"predict": lambda self, obs, **_: (np.full(4, 2), None)})()
    (found,) = action_agreement(always_2, goals_as_commands(goals))
    assert (found.command, found.n_transitions, found.agreement) == (None, 4, 0.5)


def test_another_command_changes_the_action_of_the_same_step():
    """Told otherwise at the junction, the agent acts on it with the very next observation."""
    env = gym.make("sb3_il_plus/Driving-v0").unwrapped
    observation, _ = env.reset(seed=0, options={"commands": [Command.LEFT]})
    expert = DrivingExpert()
    while observation["road"][0] > 0.35:  # the junction begins 8 of 20 metres before its middle
        observation, *_ = env.step(expert.predict(observation)[0])
    before, _ = expert.predict(observation)
    env.set_command(Command.RIGHT)
    told_otherwise = env._observe()
    assert told_otherwise["command"] == Command.RIGHT
    np.testing.assert_array_equal(told_otherwise["road"], observation["road"])
    after, _ = expert.predict(told_otherwise)
    assert before[0] > 0 > after[0]


def test_plots(stubborn, tmp_path):
    told = [command.name.lower() for command in Command]
    plot_commands({"stubborn": stubborn, "again": stubborn}, tmp_path / "plot", names=told)
    written = (tmp_path / "plot.svg").read_text()
    assert written.startswith("<?xml")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.width > 2 * image.height
        assert len(image.convert("RGB").getcolors(maxcolors=1 << 20)) > 50
    with pytest.raises(UserError, match=r"names=\['a'\] must be 4, one for each command"):
        plot_commands({"stubborn": stubborn}, tmp_path / "plot", names=["a"])
    empty = CommandEvaluation(
        np.ones(1, bool), np.ones(1), np.zeros((1, 0), bool), {}, None, np.zeros((0, 1))
    )
    with pytest.raises(UserError, match=r"commands that are choices; they have \[0, 4\] commands"):
        plot_commands({"a": empty, "b": stubborn}, tmp_path / "plot")
