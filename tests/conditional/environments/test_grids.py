"""MiniGrid and BabyAI: what is observed and commanded, and the bot that demonstrates."""

import numpy as np
import pytest

from sb3_il_plus import ConditionalBC, collect, evaluate
from sb3_il_plus.conditional.environments import BotAdvice, EnvironmentExpert, GridPlanes, grid_env
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.tables.presets import preset

pytest.importorskip("minigrid")

DOORS = "MiniGrid-GoToDoor-6x6-v0"
EMPTY, WALL, DOOR, AGENT = 1, 2, 4, 10
"""Planes of kinds; those of the six colours begin at 11, those of the four directions at 17."""


def test_what_the_planes_show():
    from minigrid.core.constants import COLOR_TO_IDX

    env = grid_env(DOORS, "grid")
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        assert env.observation_space.contains(observation)
        grid, world = observation["grid"], env.unwrapped
        assert np.argwhere(grid[..., AGENT]).tolist() == [list(world.agent_pos)]
        shown = grid[tuple(world.agent_pos)]
        assert shown[17:].argmax() == world.agent_dir
        assert shown[11:17].sum() == 0, "the agent has no colour"
        target = grid[tuple(world.target_pos)]
        assert target[DOOR] and target[11 + COLOR_TO_IDX[world.target_color]]
        assert grid[..., :11].sum(axis=-1).tolist() == np.ones((6, 6)).tolist()
        assert not grid[grid[..., EMPTY] == 1][:, 11:17].any()
        assert grid[0, 0, WALL]


def test_the_grid_around_the_agent():
    env = grid_env(DOORS)
    directions = set()
    for seed in range(25):
        grid, world = env.reset(seed=seed)[0]["grid"], env.unwrapped
        assert grid.shape == (11, 11, 21)
        assert np.argwhere(grid[..., AGENT]).tolist() == [[5, 5]]
        to_target = np.subtract(world.target_pos, world.agent_pos)
        ahead, beside = int(to_target @ world.dir_vec), int(to_target @ world.right_vec)
        assert grid[5 + ahead, 5 + beside, DOOR]
        assert grid[..., :11].sum() == 36, "every cell is somewhere"
        directions.add(world.agent_dir)
    assert directions == {0, 1, 2, 3}


def test_the_mission_is_the_command():
    from minigrid.core.constants import COLOR_NAMES

    env = grid_env(DOORS)
    commands = set()
    for seed in range(20):
        command = env.reset(seed=seed)[0]["command"]
        assert COLOR_NAMES[command] in env.unwrapped.mission
        commands.add(int(command))
    assert commands == set(range(6))


def test_what_the_agent_sees():
    assert grid_env(DOORS, "agent").observation_space["grid"].shape == (7, 7, 21)
    with pytest.raises(UserError, match="view='all' must be one of 'centred', 'grid', 'agent'"):
        grid_env(DOORS, "all")


@pytest.mark.parametrize(
    "env_id", [DOORS, "BabyAI-GoToLocal-v0", "BabyAI-PutNextLocal-v0", "BabyAI-UnlockPickup-v0"]
)
@pytest.mark.parametrize("view", ["centred", "agent"])
def test_the_bot_succeeds(env_id, view):
    env = grid_env(env_id, view, bot=True)
    data = collect(EnvironmentExpert(env), env, n_episodes=8, seed=0)
    assert data.episode_returns.tolist() == [1.0] * 8


def test_the_bot_finds_its_way_from_wherever_it_is_led():
    env = grid_env(DOORS, bot=True)
    rng = np.random.default_rng(0)
    for seed in range(10):
        env.reset(seed=seed)
        for _ in range(6):
            env.step(rng.integers(3))  # left, right, forward
        ended = False
        while not ended:
            _, reward, ended, _, _ = env.step(env.get_wrapper_attr("expert_action")())
        assert reward == 1.0


def test_no_advice_after_the_end():
    env = BotAdvice(make_env(DOORS))
    with pytest.raises(UserError, match="no advice before reset"):
        env.expert_action()
    env.reset(seed=0)
    env.step(env.unwrapped.actions.done)
    with pytest.raises(UserError, match="after an episode's end"):
        env.expert_action()


def test_a_mission_in_words():
    env = grid_env("BabyAI-GoToLocal-v0")
    command = env.reset(seed=0)[0]["command"]
    assert command.sum() == len(env.unwrapped.mission.split())
    with pytest.raises(UserError, match="unknown word 'the'; known: go, to"):
        grid_env("BabyAI-GoToLocal-v0", words=["go", "to"]).reset(seed=0)


@pytest.mark.parametrize("env_id", ["BabyAI-BossLevel-v0", "BabyAI-PickupLoc-v0"])
def test_the_vocabulary_has_all_of_babyais_words(env_id):
    env = grid_env(env_id, max_words=60)
    for seed in range(10):
        env.reset(seed=seed)


@pytest.mark.slow
def test_the_command_makes_the_difference():
    env_id = f"sb3_il_plus/{DOORS}"
    chosen = preset("conditional_bc", env_id).hyperparameters
    env = make_env(env_id, bot=True)
    data = collect(EnvironmentExpert(env), env, n_episodes=2000, seed=0)
    rates = {}
    for policy in ("BranchedPolicy", "UnconditionalPolicy"):
        model = ConditionalBC(policy, None, data, seed=0, device="cpu", **chosen).learn(1000)
        rates[policy] = evaluate(model, env_id, 100, seed=1, n_envs=10).mean_return
    assert rates["BranchedPolicy"] >= 0.75
    assert rates["UnconditionalPolicy"] <= 0.45


def test_the_id_of_ours():
    env = make_env(f"sb3_il_plus/{DOORS}", bot=True)
    assert env.observation_space == grid_env(DOORS).observation_space


def test_environments_of_another_kind():
    with pytest.raises(InapplicableError, match="needs the entries 'image' and 'mission'"):
        GridPlanes(make_env("CartPole-v1"))
    with pytest.raises(InapplicableError, match="the bot knows the levels of BabyAI"):
        BotAdvice(make_env("MiniGrid-Empty-5x5-v0")).reset()
