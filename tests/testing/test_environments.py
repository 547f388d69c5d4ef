"""The kit's tiny tasks: solvable, counted, checked by SB3 itself, and registered nowhere."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_checker import check_env

from sb3_il_plus.evaluation import evaluate, evaluate_random
from sb3_il_plus.experts.expert import as_expert
from sb3_il_plus.testing.environments import (
    CODES,
    HORIZON,
    EchoEnv,
    echo_demonstrations,
    echo_expert,
    make_echo,
    registered_echo,
    steps_taken,
)

OBSERVATIONS = ["Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Image"]
ACTIONS = ["Box", "Discrete", "MultiDiscrete", "MultiBinary"]


@pytest.mark.parametrize("name", CODES)
def test_a_code_reads_what_it_writes(name):
    code = CODES[name]
    for bits in ([0, 0], [0, 1], [1, 0], [1, 1]):
        written = code.write(np.array(bits))
        assert code.space().contains(written)
        np.testing.assert_array_equal(code.read(written), bits)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_expert_gets_everything_and_chance_half(observation, action):
    env = EchoEnv(observation, action)
    check_env(env)
    expert = as_expert(echo_expert(observation, action), env.observation_space, env.action_space)
    assert evaluate(expert, make_echo(observation, action), 4, seed=0).mean_return == HORIZON
    chance = evaluate_random(make_echo(observation, action), 20, seed=0).mean_return
    assert chance == pytest.approx(HORIZON / 2, abs=0.6)
    data = echo_demonstrations(observation, action, n_episodes=3)
    assert data.episode_returns.tolist() == [HORIZON] * 3
    assert data.truncations.sum() == 3 and not data.terminations.any()


def test_an_action_can_be_told_from_its_effect():
    data = echo_demonstrations("MultiBinary", "MultiBinary", n_episodes=1)
    shown = data.observations
    np.testing.assert_array_equal(shown[1:, 0], data.actions[:, 1])
    np.testing.assert_array_equal(shown[1:, 1], 1 - data.actions[:, 0])
    assert {tuple(bits) for bits in shown.tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_demonstrations_depend_on_the_seed_alone():
    first, again, other = (echo_demonstrations(seed=seed).fingerprint() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("subprocesses", [False, True])
def test_steps_are_counted(subprocesses):
    env = make_echo(n_envs=3, subprocesses=subprocesses)
    env.reset()
    for _ in range(HORIZON + 2):
        env.step(np.zeros(3, dtype=int))
    assert steps_taken(env) == 3 * (HORIZON + 2)
    env.close()


def test_an_id_lasts_as_long_as_the_block():
    with registered_echo("Dict", "MultiBinary") as env_id:
        assert isinstance(gym.make(env_id).unwrapped, EchoEnv)
    assert env_id not in gym.registry
