"""Wrappers that put the command into the observation, from wherever an environment has it."""

from copy import deepcopy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from sb3_il_plus import collect
from sb3_il_plus.conditional import (
    GoalCommand,
    InfoCommand,
    MissionCommand,
    PlannerCommand,
    VocabularyCommand,
)
from sb3_il_plus.errors import InapplicableError, UserError

BOX = spaces.Box(-1, 1, (2,), np.float32)
MISSIONS = ["go left", "go right"]


class Counting(gym.Env):
    """Counts its steps, tells of them in its info, and shows what it is given to show."""

    action_space = spaces.Discrete(2)

    def __init__(self, shown=None, space=BOX, infos=()):
        self.observation_space = space
        self._shown = np.zeros(2, np.float32) if shown is None else shown
        self._infos, self.n_steps = list(infos), 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps = 0
        return deepcopy(self._shown), self._info()

    def step(self, action):
        self.n_steps += 1
        return deepcopy(self._shown), 0.0, False, self.n_steps == 4, self._info()

    def _info(self):
        return self._infos[self.n_steps] if self._infos else {}


def with_mission(text):
    space = spaces.Dict({"image": BOX, "mission": spaces.Text(100)})
    return Counting({"image": np.zeros(2, np.float32), "mission": text}, space)


def shown_commands(env, n_steps=3):
    observation, _ = env.reset(seed=0)
    shown = [observation["command"]]
    for _ in range(n_steps):
        observation, *_ = env.step(0)
        assert env.observation_space.contains(observation)
        shown.append(observation["command"])
    return shown


def test_a_command_from_the_info():
    infos = [{"turn": turn} for turn in (0, 2, 2, 1)]
    env = InfoCommand(Counting(infos=infos), spaces.Discrete(3), key="turn")
    assert sorted(env.observation_space) == ["command", "observation"]
    assert shown_commands(env) == [0, 2, 2, 1]


def test_an_info_without_the_command():
    env = InfoCommand(Counting(infos=[{"turn": 1}]), spaces.Discrete(3))
    with pytest.raises(UserError, match=r"no entry 'command', only \['turn'\]"):
        env.reset()


@pytest.mark.parametrize("command", [3, -1, 0.5, "left"])
def test_a_command_outside_its_space(command):
    env = InfoCommand(Counting(infos=[{"command": command}]), spaces.Discrete(3))
    with pytest.raises(UserError, match=rf"InfoCommand: command {command!r} does not lie in"):
        env.reset()


def test_a_goal():
    entries = {"observation": BOX, "achieved_goal": BOX, "desired_goal": BOX}
    shown = {name: np.full(2, 0.25 * number, np.float32) for number, name in enumerate(entries)}
    env = GoalCommand(Counting(shown, spaces.Dict(entries)))
    assert sorted(env.observation_space) == ["achieved_goal", "command", "observation"]
    observation, _ = env.reset()
    np.testing.assert_array_equal(observation["command"], [0.5, 0.5])
    assert "desired_goal" not in observation


def test_no_goal():
    with pytest.raises(InapplicableError, match="needs a Box as entry 'desired_goal'"):
        GoalCommand(Counting())


def test_a_mission_of_a_list():
    env = MissionCommand(with_mission("go right"), MISSIONS)
    assert env.observation_space == spaces.Dict({"image": BOX, "command": spaces.Discrete(2)})
    assert shown_commands(env) == [1, 1, 1, 1]


def test_an_unknown_mission():
    env = MissionCommand(with_mission("go rigt"), MISSIONS)
    with pytest.raises(UserError, match="unknown mission 'go rigt'; did you mean 'go right'"):
        env.reset()


def test_a_mission_word_by_word():
    env = VocabularyCommand(with_mission("go right"), ["left", "right", "go"], max_words=3)
    command = env.reset()[0]["command"]
    np.testing.assert_array_equal(command.reshape(3, 3), [[0, 0, 1], [0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    "vocabulary, max_words, message",
    [
        (["go", "left"], 2, "unknown word 'right'"),
        (["go", "right"], 1, "mission 'go right' has 2 words, and max_words=1"),
        (["go", "go"], 2, "must be different texts"),
        ([], 2, "must be different texts, at least one"),
        (["go"], 0, "max_words=0 must be at least 1"),
    ],
)
def test_missions_that_do_not_fit(vocabulary, max_words, message):
    with pytest.raises(UserError, match=message):
        VocabularyCommand(with_mission("go right"), vocabulary, max_words).reset()


def test_no_mission():
    with pytest.raises(InapplicableError, match=r"reads the entry 'mission'.*\['observation'\]"):
        MissionCommand(Counting(), MISSIONS)


def test_a_planner_is_asked_at_every_step():
    env = PlannerCommand(
        Counting(), lambda env, observation, info: env.n_steps % 2, spaces.Discrete(2)
    )
    assert shown_commands(env) == [0, 1, 0, 1]
    check_env(env, skip_render_check=True)


def test_a_planner_of_goals():
    env = PlannerCommand(Counting(), lambda *_: [0.1, 0.2], BOX)
    command = env.reset()[0]["command"]
    assert command.dtype == np.float32
    np.testing.assert_allclose(command, [0.1, 0.2], rtol=1e-6)


def test_a_command_is_put_there_once():
    env = PlannerCommand(Counting(), lambda *_: 0, spaces.Discrete(2))
    with pytest.raises(InapplicableError, match="have an entry 'command' already"):
        PlannerCommand(env, lambda *_: 0, spaces.Discrete(2))


def test_wrapped_environments_are_recorded():
    env = PlannerCommand(
        Counting(), lambda env, observation, info: env.n_steps // 2 % 2, spaces.Discrete(2)
    )
    data = collect(lambda observation: observation["command"], env, n_episodes=2, seed=0)
    assert data.actions.tolist() == [0, 0, 1, 1] * 2
    assert data.observations["command"].tolist() == [0, 0, 1, 1, 0] * 2
