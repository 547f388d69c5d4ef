"""Goal-conditioned environments of gymnasium-robotics, and scripted experts that always succeed."""

import gymnasium as gym
import numpy as np
import pytest

from sb3_il_plus import ConditionalBC, collect, evaluate
from sb3_il_plus.conditional import relabel_goals
from sb3_il_plus.conditional.environments import (
    MazeExpert,
    PickAndPlaceExpert,
    ReachExpert,
    goal_env,
)
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.evaluation import evaluate_random

pytest.importorskip("gymnasium_robotics")


@pytest.mark.parametrize(
    "env_id, n_episodes",
    [("PointMaze_UMaze-v3", 20), ("PointMaze_Medium-v3", 20), ("PointMaze_Large-v3", 5)],
)
def test_the_maze_expert_always_arrives(env_id, n_episodes):
    env = goal_env(env_id)
    data = collect(MazeExpert(env), env, n_episodes=n_episodes, seed=0)
    assert data.episode_returns.tolist() == [1.0] * n_episodes
    assert data.terminations.sum() == n_episodes
    last = data.offsets[1:] + np.arange(n_episodes)
    to_goal = data.observations["achieved_goal"][last] - data.observations["command"][last]
    assert (np.linalg.norm(to_goal, axis=1) <= 0.45).all()


@pytest.mark.parametrize(
    "env_id, expert",
    [("FetchReach-v4", ReachExpert), ("FetchPickAndPlace-v4", PickAndPlaceExpert)],
)
def test_the_arm_always_arrives(env_id, expert):
    try:
        env = goal_env(env_id)
    except InapplicableError as error:
        assert "the version of MuJoCo that is installed" in str(error)
        pytest.skip("gymnasium-robotics cannot build the arm with this MuJoCo")
    data = collect(expert(), env, n_episodes=10, seed=0)
    assert data.episode_returns.tolist() == [1.0] * 10


def test_experts_act_on_batches():
    env = goal_env("PointMaze_UMaze-v3")
    expert = MazeExpert(env)
    rows = [env.reset(seed=seed)[0] for seed in range(3)]
    batch = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    actions, _ = expert.predict(batch)
    assert actions.shape == (3, 2)
    for action, row in zip(actions, rows, strict=True):
        np.testing.assert_array_equal(expert.predict(row)[0], action)


def test_the_shortest_way():
    env = goal_env("PointMaze_UMaze-v3")
    steps = MazeExpert(env)._next_cell[(1, 1)]
    way = [(3, 1)]
    while way[-1] != (1, 1):
        way.append(steps[way[-1]])
    assert way == [(3, 1), (3, 2), (3, 3), (2, 3), (1, 3), (1, 2), (1, 1)]


@pytest.mark.slow
def test_a_policy_learns_to_go_where_it_is_told():
    env = goal_env("PointMaze_UMaze-v3")
    data = collect(MazeExpert(env), env, n_episodes=50, seed=0)
    model = ConditionalBC("GoalPolicy", None, data, seed=0, device="cpu").learn(2500)
    assert evaluate(model, env, 40, seed=1).mean_return >= 0.9
    assert evaluate_random(env, 40, seed=1).mean_return <= 0.5


def test_hindsight_has_the_rewards_of_the_environment():
    env = goal_env("PointMaze_UMaze-v3")
    data = collect(MazeExpert(env), env, n_episodes=5, seed=0)
    both = relabel_goals(data, 2, seed=0, env=env)
    following = both.next_observations_at(np.arange(len(both)))
    distance = np.linalg.norm(following["achieved_goal"] - following["command"], axis=1)
    np.testing.assert_array_equal(both.rewards, distance <= 0.45)
    np.testing.assert_array_equal(both.terminations, distance <= 0.45)
    assert both[:5].terminations.sum() == 5, "where the environment ended episodes itself"


def test_the_id_of_ours():
    env = make_env("sb3_il_plus/PointMaze_UMaze-v3")
    assert sorted(env.observation_space) == ["achieved_goal", "command", "observation"]


def test_what_does_not_fit():
    with pytest.raises(InapplicableError, match="MazeExpert drives through mazes"):
        MazeExpert(gym.make("CartPole-v1"))
    with pytest.raises(InapplicableError, match=r"ReachExpert reads \['command'\]"):
        ReachExpert().predict({"observation": np.zeros(10), "desired_goal": np.zeros(3)})
    with pytest.raises(InapplicableError, match="needs a Box as entry 'desired_goal'"):
        goal_env("CartPole-v1")
