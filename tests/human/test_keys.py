"""Keys: the defaults, gymnasium's convention, one's own, and what is refused."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import UserError
from sb3_il_plus.human.default_keys import DEFAULTS, default_keys
from sb3_il_plus.human.keys import KeyMap, key_map, key_name


class Blank(gym.Env):
    """Spaces, and nothing else."""

    observation_space = spaces.Box(-1, 1, (1,))

    def __init__(self, action_space, own_keys=None):
        self.action_space = action_space
        if own_keys is not None:
            self.get_keys_to_action = lambda: own_keys


DISCRETE, PLANE = spaces.Discrete(4), spaces.Box(-1, 1, (2,), np.float32)


@pytest.mark.parametrize(
    ("env_id", "held", "expected"),
    [
        ("CartPole-v1", ["left"], 0),
        ("CartPole-v1", ["left", "right"], 1),
        ("CartPole-v1", [], None),
        ("seals/CartPole-v0", ["right"], 1),
        ("MountainCar-v0", ["left"], 0),
        ("MountainCar-v0", [], 1),
        ("MountainCarContinuous-v0", ["a"], [-0.5]),
        ("Acrobot-v1", ["right"], 2),
        ("Pendulum-v1", ["left"], [2.0]),
        ("Pendulum-v1", ["d"], [-1.0]),
        ("Pendulum-v1", ["left", "a"], [2.0]),
        ("Pendulum-v1", [], [0.0]),
        ("sb3_il_plus/Driving-v0", ["left", "up"], [0.5, 1.0]),
    ],
)
def test_defaults(env_id, held, expected):
    env = make_env(env_id)
    action = key_map(env).action(held)
    assert action is None if expected is None else np.array_equal(action, expected)
    assert action is None or env.action_space.contains(_as_given(action, env.action_space))


def _as_given(action, space):
    return action.item() if isinstance(space, spaces.Discrete) else action


def test_all_defaults_lie_in_their_spaces():
    spaces_of = {
        "LunarLander": spaces.Discrete(4),
        "LunarLanderContinuous": PLANE,
        "CarRacing": spaces.Box(np.array([-1, 0, 0]), np.array([1, 1, 1]), dtype=np.float32),
        "FrozenLake": DISCRETE,
        "CliffWalking": DISCRETE,
        "Taxi": spaces.Discrete(6),
        "MiniGrid": spaces.Discrete(7),
    }
    for name, space in spaces_of.items():
        assert len(key_map(Blank(space), DEFAULTS[name].keys).actions) >= 3
    assert default_keys("LunarLanderContinuous-v3") is DEFAULTS["LunarLanderContinuous"]
    assert default_keys("sb3_il_plus/MiniGrid-GoToDoor-6x6-v0").turns
    assert default_keys("Hopper-v4") is None


def test_gymnasiums_convention():
    own = {(ord("w"),): 1, "a": 2, (ord("a"), ord("w")): 3}
    found = key_map(Blank(DISCRETE, own))
    assert [found.action(held) for held in (["w"], ["a"], ["a", "w"])] == [1, 2, 3]
    assert found.action([]) == 0  # as gymnasium.utils.play does without a key
    assert key_map(Blank(DISCRETE, {(): 3, "a": 1})).action([]) == 3


def test_own_keys():
    pairs = key_map(Blank(DISCRETE), "a=0, d=1,a+d=3,none=2")
    assert [pairs.action(held) for held in (["a"], ["d"], ["d", "a"], [])] == [0, 1, 3, 2]
    assert pairs.action(["a", "x"]) == 0, "a key outside the map changes nothing"
    text = '{"left": [-1, 0], "up": [0, 1], "left+up": [-0.5, 0.5]}'
    plane = key_map(Blank(PLANE), text)
    np.testing.assert_array_equal(plane.action(["left", "up"]), [-0.5, 0.5])
    assert plane.action(["up"]).dtype == np.float32
    assert key_map(Blank(PLANE), plane.to_json()).describe() == plane.describe()


def test_own_keys_from_a_file(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text('{"a": 0, "space": 1}')
    assert key_map(Blank(DISCRETE), str(path)).action(["space"]) == 1
    with pytest.raises(UserError, match="cannot be read"):
        key_map(Blank(DISCRETE), str(tmp_path / "none.json"))


def test_the_last_key_wins_and_no_key_repeats_the_action():
    keys = KeyMap({frozenset("a"): np.array(0), frozenset("d"): np.array(1)}, None, DISCRETE)
    assert keys.action(["a", "d"]) == 1
    assert keys.action(["d", "a"]) == 0
    assert keys.action([], last=np.array(1)) == 1


def test_continuous_keys_add_up_within_the_bounds():
    keys = key_map(Blank(PLANE), {"a": [0.8, 0], "b": [0.8, 0], "c": [0, -1]})
    np.testing.assert_allclose(keys.action(["a", "b", "c"]), [1, -1])


@pytest.mark.parametrize(
    ("space", "keys", "message"),
    [
        (DISCRETE, "a=7", r"'a' means 7, which lies outside the action space Discrete\(4\)"),
        (DISCRETE, "a=0.5", "'a' means 0.5, which lies outside"),
        (PLANE, '{"a": [2, 0]}', r"'a' means \[2, 0\], which lies outside the action space Box"),
        (PLANE, '{"a": 1}', "'a' means 1, which lies outside"),
        (DISCRETE, '{"a": "jump"}', "'a' means 'jump', which lies outside"),
        (DISCRETE, "p=1", "'p' means 'pause' in every session; choose another key"),
        (DISCRETE, "a:1", "'a:1' is not understood; write pairs such as --keys 'a=0,d=1'"),
        (DISCRETE, "{", "is no JSON"),
        (DISCRETE, "none=0", "the map is empty"),
        (DISCRETE, {(5,): 1}, "5 is no code of a key"),
        (DISCRETE, None, r"no default keys for it with the actions Discrete\(4\); name them"),
    ],
)
def test_refused(space, keys, message):
    with pytest.raises(UserError, match=message):
        key_map(Blank(space), keys)


def test_names_of_keys():
    names = {"ArrowLeft": "left", " ": "space", "A": "a", "Return": "enter", "Escape": "escape"}
    assert {given: key_name(given) for given in names} == names
