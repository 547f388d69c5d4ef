"""Files of SB3, sb3-contrib and our own become experts that act as the saved agents did."""

import json
import zipfile
from copy import deepcopy
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import FileError
from sb3_il_plus.evaluation import evaluate
from sb3_il_plus.experts.expert import as_expert
from sb3_il_plus.experts.loading import load_expert
from sb3_il_plus.experts.statistics import read_statistics

AGENTS = Path(__file__).parents[2].parent / "shared" / "rl_zoo_agents"


class Stub(gym.Env):
    """Random observations of a space; the action has no effect."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, self.np_random.random() < 0.1, {}

    def action_masks(self):
        return np.ones(self.action_space.n, dtype=bool)


VECTOR = spaces.Box(-1, 1, (3,))
IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
MIXED = spaces.Dict({"image": IMAGE, "vector": VECTOR, "kind": spaces.Discrete(4)})
FORCE = spaces.Box(-2, 2, (2,))
CHOICE = spaces.Discrete(3)

ON_POLICY = {"n_steps": 8, "batch_size": 8}
OFF_POLICY = {"learning_starts": 5, "batch_size": 4, "buffer_size": 100}
SMALL = {"net_arch": [8]}

CASES = [
    ("PPO", "MlpPolicy", VECTOR, FORCE, ON_POLICY),
    ("PPO", "MlpPolicy", spaces.Discrete(5), spaces.MultiDiscrete([2, 3]), ON_POLICY),
    ("PPO", "MlpPolicy", VECTOR, spaces.MultiBinary(3), ON_POLICY),
    ("PPO", "MlpPolicy", VECTOR, FORCE, {**ON_POLICY, "use_sde": True}),
    ("PPO", "CnnPolicy", IMAGE, CHOICE, ON_POLICY),
    ("PPO", "MultiInputPolicy", MIXED, FORCE, ON_POLICY),
    (
        "PPO",
        "MlpPolicy",
        VECTOR,
        FORCE,
        {
            **ON_POLICY,
            "policy_kwargs": {
                "net_arch": {"pi": [4], "vf": [5, 6]},
                "activation_fn": th.nn.ELU,
                "log_std_init": -1.0,
                "share_features_extractor": False,
                "optimizer_kwargs": {"eps": 1e-6},
            },
        },
    ),
    ("A2C", "MlpPolicy", VECTOR, FORCE, {}),
    ("SAC", "MlpPolicy", VECTOR, FORCE, {**OFF_POLICY, "policy_kwargs": SMALL}),
    ("SAC", "MlpPolicy", VECTOR, FORCE, {**OFF_POLICY, "use_sde": True}),
    ("SAC", "MultiInputPolicy", MIXED, FORCE, {**OFF_POLICY, "policy_kwargs": SMALL}),
    ("TD3", "MlpPolicy", VECTOR, FORCE, OFF_POLICY),
    ("DDPG", "MlpPolicy", VECTOR, FORCE, {**OFF_POLICY, "policy_kwargs": SMALL}),
    ("DQN", "MlpPolicy", VECTOR, CHOICE, OFF_POLICY),
    ("TQC", "MlpPolicy", VECTOR, FORCE, {**OFF_POLICY, "policy_kwargs": {"n_critics": 3}}),
    ("TRPO", "MlpPolicy", VECTOR, FORCE, ON_POLICY),
    ("ARS", "LinearPolicy", VECTOR, FORCE, {}),
    ("ARS", "MlpPolicy", VECTOR, CHOICE, {"policy_kwargs": {"net_arch": [4]}}),
    ("QRDQN", "MlpPolicy", VECTOR, CHOICE, {**OFF_POLICY, "policy_kwargs": {"n_quantiles": 7}}),
    (
        "RecurrentPPO",
        "MlpLstmPolicy",
        VECTOR,
        FORCE,
        {**ON_POLICY, "policy_kwargs": {"lstm_hidden_size": 6, "n_lstm_layers": 2}},
    ),
    (
        "RecurrentPPO",
        "MlpLstmPolicy",
        VECTOR,
        CHOICE,
        {**ON_POLICY, "policy_kwargs": {"shared_lstm": True, "enable_critic_lstm": False}},
    ),
    ("MaskablePPO", "MlpPolicy", VECTOR, CHOICE, ON_POLICY),
]


def trained(name, policy, observation_space, action_space, arguments):
    algorithm = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)
    env = Stub(observation_space, action_space)
    # SB3 writes into policy_kwargs, so each model gets its own.
    model = algorithm(policy, env, seed=0, device="cpu", **deepcopy(arguments))
    return model.learn(2000 if name == "ARS" else 16), env


def assert_same_actions(expert, model, space):
    space.seed(0)
    batch = [space.sample() for _ in range(6)]
    if isinstance(space, spaces.Dict):
        batch = {key: np.stack([row[key] for row in batch]) for key in space.spaces}
    else:
        batch = np.stack(batch)
    expected, state = model.predict(batch, deterministic=True)
    actions, own_state = expert.predict(batch)
    np.testing.assert_array_equal(actions, expected)
    if state is not None:  # recurrent policies: the second step depends on the first
        starts = np.zeros(6, dtype=bool)
        expected, _ = model.predict(batch, state, starts, deterministic=True)
        np.testing.assert_array_equal(expert.predict(batch, own_state, starts)[0], expected)


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch")
@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{type(case[3]).__name__}"
)
def test_every_algorithm_acts_the_same_after_each_way_through_a_file(case, tmp_path):
    model, env = trained(*case)
    model.save(tmp_path / "agent")
    from_file = load_expert(tmp_path / "agent")
    in_env = load_expert(tmp_path / "agent.zip", env)
    in_env.save(tmp_path / "own.zip")
    again = load_expert(tmp_path / "own.zip")
    as_expert(model, env.observation_space, env.action_space).save(tmp_path / "direct.zip")
    direct = load_expert(tmp_path / "direct", env)

    for expert in (from_file, in_env, again, direct):
        assert_same_actions(expert, model, env.observation_space)
        assert expert.action_space == env.action_space
    assert in_env.observation_space == again.observation_space == env.observation_space
    assert in_env.metadata["policy_class"] == type(model.policy).__name__
    assert again.metadata == in_env.metadata
    assert again.name == in_env.name == "agent"


def test_a_model_of_ours_is_an_expert_too(tmp_path):
    pytest.importorskip("imitation")
    from sb3_il_plus import collect, make

    pilot = as_expert(
        lambda observation: int(observation[2] > 0),
        gym.make("CartPole-v1").observation_space,
        spaces.Discrete(2),
    )
    model = make("bc", "CartPole-v1", collect(pilot, "CartPole-v1", n_episodes=2, seed=0), seed=0)
    model.save(tmp_path / "bc.zip")
    for env in (None, "CartPole-v1"):
        expert = load_expert(tmp_path / "bc.zip", env)
        assert_same_actions(expert, model, spaces.Box(-1, 1, (4,)))


def test_files_of_our_own_hold_no_pickle_but_torchs(tmp_path):
    model, env = trained(*CASES[0])
    as_expert(model, env.observation_space, env.action_space).save(tmp_path / "own.zip")
    with zipfile.ZipFile(tmp_path / "own.zip") as archive:
        assert sorted(archive.namelist()) == ["data", "policy.pth"]
        assert b"serialized" not in archive.read("data")
        json.loads(archive.read("data"))
    assert list(tmp_path.iterdir()) == [tmp_path / "own.zip"]


def test_an_expert_of_a_loaded_policy_is_saved_with_its_statistics(tmp_path):
    model, venv = normalized_agent()
    expert = as_expert(model, venv.observation_space, venv.action_space, name="teacher")
    expert.metadata["note"] = ["a", 1, None]
    expert.save(tmp_path / "own.zip")
    again = load_expert(tmp_path / "own.zip", "CartPole-v1")
    raw = venv.venv.reset()
    np.testing.assert_array_equal(again.predict(raw)[0], expert.predict(raw)[0])
    np.testing.assert_array_equal(again.statistics.mean, venv.obs_rms.mean)
    assert (again.name, again.metadata) == ("teacher", {"note": ["a", 1, None]})


def test_a_function_cannot_be_saved(tmp_path):
    expert = as_expert(lambda observation: 0, VECTOR, CHOICE)
    with pytest.raises(FileError, match="is not an SB3 policy"):
        expert.save(tmp_path / "own.zip")
    assert list(tmp_path.iterdir()) == []


class HomeMade(stable_baselines3.common.policies.ActorCriticPolicy):
    """A policy class of somebody else's."""


def test_a_policy_class_of_ones_own_is_neither_saved_nor_loaded(tmp_path):
    model = PPO(HomeMade, "CartPole-v1", device="cpu")
    expert = as_expert(model, model.observation_space, model.action_space)
    with pytest.raises(FileError, match="HomeMade"):
        expert.save(tmp_path / "own.zip")
    model.save(tmp_path / "agent.zip")
    with pytest.raises(FileError, match=r"agent\.zip: entry 'policy_class': .*refers to"):
        load_expert(tmp_path / "agent.zip")
    # The algorithm's name says which class SB3 would have used.
    loaded = load_expert(tmp_path / "agent.zip", "CartPole-v1", algorithm="ppo")
    assert_same_actions(loaded, model, spaces.Box(-1, 1, (4,)))
    assert loaded.metadata["algorithm"] == "ppo"


# -- normalisation ---------------------------------------------------------------------------------


def normalized_agent(**arguments):
    venv = VecNormalize(make_vec("CartPole-v1", 2, seed=0), **arguments)
    model = PPO("MlpPolicy", venv, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu")
    return model.learn(128), venv


@pytest.mark.parametrize(
    "place", ["vecnormalize.pkl", "vec_normalize.pkl", "agent/vecnormalize.pkl", None]
)
def test_statistics_beside_the_zip_are_found(place, tmp_path):
    model, venv = normalized_agent(clip_obs=3.0)
    model.save(tmp_path / "agent.zip")
    target = tmp_path / (place or "elsewhere/statistics.pkl")
    target.parent.mkdir(exist_ok=True)
    venv.save(str(target))

    expert = load_expert(tmp_path / "agent.zip", vec_normalize=None if place else target)

    raw = venv.venv.reset() * 50
    expected, _ = model.predict(venv.normalize_obs(raw), deterministic=True)
    np.testing.assert_array_equal(expert.predict(raw)[0], expected)
    assert expert.statistics.clip_obs == 3.0
    assert expert.metadata["vec_normalize"] == target.name
    without = load_expert(tmp_path / "agent.zip", vec_normalize=False)
    assert without.statistics is None
    given = load_expert(tmp_path / "agent.zip", vec_normalize=venv)
    np.testing.assert_array_equal(given.statistics.mean, expert.statistics.mean)


def test_checkpoints_find_their_statistics(tmp_path):
    venv = VecNormalize(make_vec("CartPole-v1"))
    model = PPO("MlpPolicy", venv, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu")
    callback = CheckpointCallback(32, str(tmp_path), save_vecnormalize=True)
    model.learn(64, callback=callback)
    expert = load_expert(tmp_path / "rl_model_32_steps")
    assert expert.metadata["vec_normalize"] == "rl_model_vecnormalize_32_steps.pkl"


def test_statistics_of_dict_observations_and_of_rewards_only(tmp_path):
    venv = VecNormalize(DummyVecEnv([lambda: Stub(MIXED, CHOICE)]), norm_obs_keys=["vector"])
    venv.reset()
    venv.save(str(tmp_path / "dict.pkl"))
    statistics = read_statistics(tmp_path / "dict.pkl")
    raw = venv.venv.reset()
    for key, value in venv.normalize_obs(raw).items():
        np.testing.assert_array_equal(statistics.normalize(raw)[key], value)
    rewards_only = VecNormalize(make_vec("CartPole-v1"), norm_obs=False)
    rewards_only.save(str(tmp_path / "rewards.pkl"))
    assert read_statistics(tmp_path / "rewards.pkl") is None


def test_statistics_of_another_environment_are_refused(tmp_path):
    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "agent.zip")
    VecNormalize(make_vec("Pendulum-v1")).save(str(tmp_path / "vecnormalize.pkl"))
    with pytest.raises(FileError, match=r"vecnormalize\.pkl' do not fit .*False for none"):
        load_expert(tmp_path / "agent.zip")


# -- what cannot be loaded -------------------------------------------------------------------------


def test_a_loaded_agent_explores_with_the_learned_noise(tmp_path):
    """SB3 draws gSDE's noise at construction, with the initial scale; it must be drawn again."""
    model = SAC("MlpPolicy", "Pendulum-v1", use_sde=True, seed=0, device="cpu")
    with th.no_grad():
        model.actor.log_std.fill_(-20.0)
    model.save(tmp_path / "agent.zip")
    expert = load_expert(tmp_path / "agent.zip")
    observation = np.zeros((1, 3), np.float32)
    sampled, _ = expert.predict(observation, deterministic=False)
    np.testing.assert_allclose(sampled, expert.predict(observation)[0], atol=1e-4)


# -- agents that other people published ------------------------------------------------------------

published = sorted(AGENTS.glob("*/*/*.zip"))


@pytest.mark.skipif(not published, reason="the RL Zoo agents are not here")
def test_all_published_agents_of_the_zoo_load():
    assert len(published) == 38
    for path in published:
        expert = load_expert(path)
        observation = np.zeros((2, *expert.observation_space.shape), np.float32)
        assert len(expert.predict(observation)[0]) == 2
        statistics = path.with_suffix("") / "vecnormalize.pkl"
        assert (expert.statistics is not None) == statistics.is_file()


@pytest.mark.skipif(not published, reason="the RL Zoo agents are not here")
@pytest.mark.parametrize(
    ("agent", "env_id", "least"),
    [
        ("a2c/Pendulum-v1_1/Pendulum-v1.zip", "Pendulum-v1", -250),
        (
            "ars/MountainCarContinuous-v0_1/MountainCarContinuous-v0.zip",
            "MountainCarContinuous-v0",
            90,
        ),
        ("dqn/CartPole-v1_1/CartPole-v1.zip", "CartPole-v1", 495),
        ("trpo/MountainCar-v0_1/MountainCar-v0.zip", "MountainCar-v0", -125),
    ],
)
def test_published_agents_reach_their_published_return(agent, env_id, least):
    assert evaluate(load_expert(AGENTS / agent, env_id), env_id, 8, seed=0).mean_return > least


def test_agents_of_imitation_are_read(tmp_path):
    """Those that HumanCompatibleAI published standardise what they see in their policy."""
    policies = pytest.importorskip("imitation.policies.base")
    networks = pytest.importorskip("imitation.util.networks")
    arguments = {
        "features_extractor_class": policies.NormalizeFeaturesExtractor,
        "features_extractor_kwargs": {"normalize_class": networks.RunningNorm},
    }
    env = Stub(VECTOR, FORCE)
    agent = PPO("MlpPolicy", env, **ON_POLICY, policy_kwargs=arguments, device="cpu").learn(8)
    agent.save(tmp_path / "agent.zip")
    expert = load_expert(tmp_path / "agent.zip", env)
    seen = np.stack([VECTOR.sample() for _ in range(4)])
    expected = agent.predict(seen, deterministic=True)[0]
    np.testing.assert_array_equal(expert.predict(seen, deterministic=True)[0], expected)
