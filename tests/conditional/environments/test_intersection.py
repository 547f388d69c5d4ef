"""The junction of highway-env: what is commanded, observed and counted, and the planner."""

import numpy as np
import pytest

from sb3_il_plus import collect
from sb3_il_plus.conditional.environments import EnvironmentExpert, Exit, intersection_env
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import UserError

pytest.importorskip("highway_env")


def driven(env, command, seed):
    """An episode of the planner's, with a command: its return and where it left."""
    env.reset(seed=seed, options={"command": command})
    ended = False
    while not ended:
        action = env.get_wrapper_attr("expert_action")()
        assert env.action_space.contains(action)
        observation, reward, terminated, truncated, _ = env.step(action)
        assert env.observation_space.contains(observation)
        assert observation["command"] == command
        ended = terminated or truncated
    return reward, env.unwrapped.vehicle.lane_index[1]


@pytest.mark.parametrize(
    "command, node", [(Exit.LEFT, "o1"), (Exit.STRAIGHT, "o2"), (Exit.RIGHT, "o3")]
)
def test_the_planner_leaves_as_told(command, node):
    assert driven(intersection_env(), command, seed=1) == (1.0, node)


def test_leaving_elsewhere_does_not_count():
    env = intersection_env()
    env.reset(seed=1, options={"command": Exit.RIGHT})
    env.get_wrapper_attr("expert_action")()  # the planner has its route from now on
    commanded = env.env
    commanded._command = Exit.STRAIGHT
    ended = False
    while not ended:
        _, reward, terminated, truncated, info = env.step(commanded.expert_action())
        ended = terminated or truncated
    assert (reward, info["is_success"]) == (0.0, False)
    assert env.unwrapped.vehicle.lane_index[1] == "o3"


def test_commands_are_drawn():
    env = intersection_env()
    commands = [int(env.reset(seed=seed)[0]["command"]) for seed in range(12)]
    assert set(commands) == {0, 1, 2}
    assert commands[:2] == [int(env.reset(seed=seed)[0]["command"]) for seed in range(2)]


def test_a_command_that_does_not_exist():
    with pytest.raises(UserError, match=r"command=3 must be one of \[0, 1, 2\]"):
        intersection_env().reset(options={"command": 3})


def test_what_is_seen_of_the_others():
    env = intersection_env()
    observation, _ = env.reset(seed=0)
    world = env.unwrapped
    car = world.vehicle
    others = [other for other in world.road.vehicles if other is not car]
    nearest = min(others, key=lambda other: np.linalg.norm(other.position - car.position))
    present, x, y, *_ = observation["traffic"][0]
    angle = np.arctan2(y, x) + car.heading
    seen = car.position + 50 * np.hypot(x, y) * np.array([np.cos(angle), np.sin(angle)])
    assert present == 1
    np.testing.assert_allclose(seen, nearest.position, atol=1e-3)
    assert observation["traffic"][:, 0].sum() == min(len(others), 8)
    distances = np.linalg.norm(observation["traffic"][: len(others), 1:3], axis=1)
    assert (np.diff(distances) >= 0).all()


def test_the_faster_prediction_is_that_of_highway_env():
    env = intersection_env()
    env.reset(seed=0)
    env.step(np.array([0.2, 0.1], np.float32))
    car, times = env.unwrapped.vehicle, np.arange(0.25, 3, 0.25)
    positions, headings = car.predict_trajectory_constant_speed(times)
    theirs = type(car).predict_trajectory_constant_speed(car, times)
    np.testing.assert_array_equal(positions, theirs[0])
    np.testing.assert_array_equal(headings, theirs[1])


def test_recording():
    env = make_env("sb3_il_plus/Intersection-v1", policy_frequency=3)
    data = collect(EnvironmentExpert(env), env, n_timesteps=5, seed=0)
    assert (len(data), data.n_episodes) == (5, 1)
    assert data.action_space.shape == (2,)
