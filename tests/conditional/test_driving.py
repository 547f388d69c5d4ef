"""The driving task: that it is a sound environment, that its measures are right, and that its
vectorised form does what the single one does."""

from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from sb3_il_plus import collect, evaluate
from sb3_il_plus.conditional.driving import (
    Command,
    DrivingEnv,
    DrivingExpert,
    DrivingVecEnv,
    Simulation,
)
from sb3_il_plus.conditional.driving.observing import driver_view
from sb3_il_plus.conditional.driving.roads import BOX, LANE, STREETS, road_margin
from sb3_il_plus.conditional.driving.simulation import MAX_STEERING, TURNED_BACK, WHEELBASE
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import InapplicableError, UserError

IDS = ["sb3_il_plus/Driving-v0", "sb3_il_plus/DrivingImage-v0"]
TURNS = [Command.LEFT, Command.STRAIGHT, Command.RIGHT]


def drive(env, seed=0, options=None, told=None, change=None):
    """Run one episode of the expert, and return its last info and all commands shown.

    :param told: a command that the expert is given in place of the one shown
    :param change: (when a command is shown for the first time, change it to this)
    """
    expert, shown, observation = DrivingExpert(), [], env.reset(seed=seed, options=options)[0]
    exits, ended = [], False
    while not ended:
        shown.append(int(observation["command"]))
        if change is not None and shown[-1] != Command.FOLLOW:
            env.set_command(change)
            change = None
        if told is not None and shown[-1] != Command.FOLLOW:
            observation = {**observation, "command": np.int64(told)}
        action, _ = expert.predict(observation)
        observation, _, terminated, truncated, info = env.step(action)
        exits += [(info["commanded"], info["taken"])] if "taken" in info else []
        ended = terminated or truncated
    return info, shown, exits


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_passes_both_checkers(env_id):
    env = make_env(env_id, render_mode="rgb_array")
    gymnasium_check_env(env.unwrapped)
    sb3_check_env(env)


@pytest.mark.parametrize("observation", ["vector", "image", "all"])
def test_shows_what_its_space_says(observation):
    env = DrivingEnv(observation)
    shown, _ = env.reset(seed=0)
    assert env.observation_space.contains(shown)
    venv = DrivingVecEnv(3, seed=0, observation=observation)
    for key, value in venv.reset().items():
        np.testing.assert_array_equal(value[0], shown[key])


def test_ids_are_found_without_an_import():
    returns = evaluate(DrivingExpert(), IDS[0], n_episodes=5, seed=1).returns
    np.testing.assert_array_equal(returns, np.ones(5))


@pytest.mark.parametrize("start_offset, start_heading", [(0.5, 0.1), (1.5, 0.3)])
def test_the_expert_succeeds(start_offset, start_heading):
    venv = DrivingVecEnv(
        32, seed=0, n_junctions=3, start_offset=start_offset, start_heading=start_heading
    )
    observations, expert, successes = venv.reset(), DrivingExpert(), []
    while len(successes) < 100:
        observations, _, dones, infos = venv.step(expert.predict(observations)[0])
        successes += [infos[copy]["is_success"] for copy in np.flatnonzero(dones)]
    assert np.mean(successes) >= 0.99


@pytest.mark.parametrize("command", TURNS)
def test_the_expert_takes_the_commanded_branch(command):
    info, shown, exits = drive(DrivingEnv(), options={"commands": [command]})
    assert info["is_success"] and not info["missed_turn"] and not info["off_road"]
    assert exits == [(command, command)]
    # It is to follow, until the junction is near, and again behind it.
    changes = [shown[0], *(b for a, b in pairwise(shown) if a != b)]
    assert changes[-2:] == [command, Command.FOLLOW]
    assert set(changes) <= {Command.FOLLOW, command}


@pytest.mark.parametrize("commanded", TURNS)
@pytest.mark.parametrize("taken", TURNS)
def test_another_branch_is_a_missed_turn(commanded, taken):
    info, _, exits = drive(DrivingEnv(), options={"commands": [commanded]}, told=taken)
    assert exits == [(commanded, taken)]
    assert info["missed_turn"] == (commanded != taken)
    assert info["is_success"] == (commanded == taken)


@pytest.mark.parametrize("first, second", [(a, b) for a in TURNS for b in TURNS if a != b])
def test_a_command_can_be_changed_on_the_way(first, second):
    info, shown, exits = drive(DrivingEnv(), options={"commands": [first]}, change=second)
    assert exits == [(second, second)] and info["is_success"]
    assert shown.count(first) == 1, "the next observation has the new command"


def test_a_command_can_be_changed_in_a_copy():
    venv = DrivingVecEnv(3, seed=0)
    venv.set_options({"commands": [Command.LEFT]})
    observations = venv.reset()
    expert = DrivingExpert()
    while not (observations["command"] == Command.LEFT).all():
        observations, *_ = venv.step(expert.predict(observations)[0])
    venv.env_method("set_command", Command.RIGHT, indices=[1])
    observations, *_ = venv.step(expert.predict(observations)[0])
    assert observations["command"].tolist() == [Command.LEFT, Command.RIGHT, Command.LEFT]


def test_routes_have_several_junctions():
    route = [Command.RIGHT, Command.LEFT, Command.STRAIGHT]
    info, _, exits = drive(DrivingEnv(n_junctions=3), options={"commands": route})
    assert exits == [(command, command) for command in route]
    assert info["is_success"] and info["distance"] > 100


def test_commands_are_equally_frequent():
    simulation = Simulation(1, n_junctions=300)
    simulation.generators[0] = np.random.default_rng(0)
    simulation.reset([0])
    counts = np.bincount(simulation.routes[0], minlength=4)
    assert counts[Command.FOLLOW] == 0
    assert (counts[1:] > 75).all()


def test_the_same_seed_gives_the_same_episode():
    first, second, third = (drive(DrivingEnv(steering_noise=0.1), seed) for seed in (7, 7, 8))
    assert first == second
    assert first != third


@pytest.mark.parametrize("observation", ["vector", "image"])
def test_copies_do_what_single_environments_do(observation):
    options = {"observation": observation, "steering_noise": 0.05, "n_junctions": 2}
    venv = DrivingVecEnv(3, seed=5, **options)
    envs = [DrivingEnv(**options) for _ in range(3)]
    rng = np.random.default_rng(0)
    together = venv.reset()
    singles = [env.reset(seed=5 + copy)[0] for copy, env in enumerate(envs)]
    n_ended = 0
    for _ in range(120):
        for copy, single in enumerate(singles):
            for key, value in single.items():
                np.testing.assert_array_equal(together[key][copy], value)
        actions = rng.uniform(-0.2, 1, (3, 2)).astype(np.float32)
        together, rewards, dones, infos = venv.step(actions)
        for copy, env in enumerate(envs):
            singles[copy], reward, terminated, truncated, info = env.step(actions[copy])
            assert (rewards[copy], dones[copy]) == (reward, terminated or truncated)
            assert info.items() <= infos[copy].items()
            if dones[copy]:
                n_ended += 1
                last = infos[copy]["terminal_observation"]
                for key, value in singles[copy].items():
                    np.testing.assert_array_equal(last[key], value)
                singles[copy], _ = env.reset()
    assert n_ended >= 3


def test_a_car_at_constant_steering_drives_a_circle():
    simulation = Simulation(1)
    simulation.reset([0])
    simulation.speeds[:] = 5.0
    start, heading, steering = simulation.positions[0].copy(), simulation.headings[0], 0.5
    radius = WHEELBASE / np.tan(steering * MAX_STEERING)
    centre = start + radius * np.array([-np.sin(heading), np.cos(heading)])
    for _ in range(10):
        simulation.step(np.array([[steering, 0.0]]))
        offset = (simulation.positions[0] - centre + 100) % 200 - 100
        assert np.hypot(*offset) == pytest.approx(radius, rel=1e-3)
    assert simulation.distances[0] == pytest.approx(5.0)


def test_leaving_the_road_ends_an_episode():
    env = DrivingEnv()
    env.reset(seed=0)
    for _ in range(100):
        _, reward, terminated, _, info = env.step(np.array([-1.0, 0.5]))
        if terminated:
            break
    assert info["off_road"] and not info["is_success"] and reward == 0


def test_turning_back_is_a_missed_turn():
    simulation = Simulation(2)
    simulation.reset([0, 1])
    simulation.headings[1] += np.pi
    outcome = simulation.step(np.zeros((2, 2)))
    assert outcome.missed_turn.tolist() == [False, True]
    assert outcome.taken.tolist() == [Command.FOLLOW, TURNED_BACK]


def test_a_car_that_stands_still_is_cut_off():
    venv = DrivingVecEnv(1, seed=0)
    venv.reset()
    for step in range(1, 251):
        _, _, dones, infos = venv.step(np.array([[0.0, -1.0]]))
        assert dones[0] == (step == 250)
    assert infos[0]["TimeLimit.truncated"] and not infos[0]["is_success"]


def test_the_edge_of_the_road():
    x, y = STREETS[1], STREETS[2]
    corner = BOX - (BOX - LANE) / np.sqrt(2)
    positions = np.array(
        [[x, y], [x + LANE, y + 20], [x + LANE + 1, y + 20], [x + corner, y + corner], [x + 7, y]]
    )
    # In a junction, the nearest edge is the kerb about one of its corners.
    expected = [np.hypot(8, 8) - 4, 0, -1, 0, np.hypot(1, 8) - 4]
    np.testing.assert_allclose(road_margin(positions), expected, atol=1e-9)
    np.testing.assert_allclose(road_margin(positions + 200), road_margin(positions), atol=1e-9)


def test_images_show_the_road_that_is_there():
    rng = np.random.default_rng(0)
    positions, headings = rng.uniform(0, 200, (20, 2)), rng.uniform(0, 2 * np.pi, 20)
    images = driver_view().images(positions, headings)
    rows, columns = np.mgrid[:64, :64]
    forward, left = 0.5 * (47 - rows), 0.5 * (32 - columns)
    for image, (x, y), heading in zip(images, positions, headings, strict=True):
        cos, sin = np.cos(heading), np.sin(heading)
        at = np.stack([x + cos * forward - sin * left, y + sin * forward + cos * left], axis=-1)
        margin = road_margin(at.reshape(-1, 2)).reshape(64, 64)
        is_grass = image[..., 1] > image[..., 2] + 30
        is_grass &= image[..., 0] < 150  # lines are yellow
        clear = np.abs(margin) > 0.6  # the map's pixels are coarse, and so are its headings
        np.testing.assert_array_equal(is_grass[clear], margin[clear] < 0)


def test_frames_show_the_command():
    env = DrivingEnv(render_mode="rgb_array")
    frames = []
    for command in TURNS:
        observation, _ = env.reset(seed=0, options={"commands": [command]})
        while observation["command"] == Command.FOLLOW:
            observation, *_ = env.step(np.zeros(2))
        frames.append(env.render())
    assert frames[0].shape == (256, 256, 3) and frames[0].dtype == np.uint8
    left, straight, right = (np.abs(frame[8:41, 8:41]).max(axis=2) == 250 for frame in frames)
    np.testing.assert_array_equal(left, right[:, ::-1])
    np.testing.assert_array_equal(left, straight.T)
    assert DrivingEnv().render() is None


def test_frames_of_copies():
    venv = DrivingVecEnv(2, seed=0, render_mode="rgb_array")
    venv.reset()
    assert [frame.shape for frame in venv.get_images()] == [(256, 256, 3)] * 2


def test_images_and_numbers_are_recorded_together():
    venv = DrivingVecEnv(2, seed=0, observation="all")
    demonstrations = collect(DrivingExpert(), venv, n_episodes=2, seed=0)
    assert demonstrations.episode_returns.tolist() == [1, 1]
    assert sorted(demonstrations.observation_space) == ["command", "image", "road", "speed"]


def test_the_expert_says_what_it_reads():
    observation, _ = DrivingEnv("image").reset(seed=0)
    with pytest.raises(InapplicableError, match=r"'road'.*observation='all'"):
        DrivingExpert().predict(observation)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"observation": "lidar"}, "observation='lidar' must be one of 'vector', 'image', 'all'"),
        ({"n_junctions": 0}, "n_junctions=0 must be at least 1"),
        ({"start_offset": 2.5}, r"start_offset=2.5 must be below 2.0"),
        ({"steering_noise": float("nan")}, "steering_noise=nan must be at least 0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        DrivingEnv(**options)


@pytest.mark.parametrize(
    "commands, message",
    [
        ([1, 2], r"commands=\[1, 2\] must be 1, one for each junction"),
        ([0], r"command=0 is none of a junction's: 1 \(left\), 2 \(straight\), 3 \(right\)"),
    ],
)
def test_routes_that_cannot_be(commands, message):
    with pytest.raises(UserError, match=message):
        DrivingEnv().reset(seed=0, options={"commands": commands})


def test_copies_share_their_attributes():
    venv = DrivingVecEnv(2, seed=0)
    assert venv.get_attr("render_mode") == [None, None]
    assert venv.env_is_wrapped(gym.Wrapper) == [False, False]
    with pytest.raises(UserError, match="'render_mode' cannot be set for some copies"):
        venv.set_attr("render_mode", "rgb_array", indices=[0])
    with pytest.raises(AttributeError, match="no method 'jump'"):
        venv.env_method("jump")
