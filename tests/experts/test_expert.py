"""Everything that can act becomes an `Expert`, and says so clearly when it acts wrongly."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import DataError, InapplicableError
from sb3_il_plus.experts.expert import Expert, ObservationStatistics, as_expert

BOX = spaces.Box(-1, 1, (3,))
PAIR = spaces.Box(-2, 2, (2,))


class DictEnv(gym.Env):
    """Observations of three kinds, one of which VecNormalize shall leave alone."""

    observation_space = spaces.Dict(
        {"a": spaces.Box(-9, 9, (2,)), "b": spaces.Box(-9, 9, (3,)), "c": spaces.Discrete(4)}
    )
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, self.np_random.random() < 0.1, {}


def normalized_ppo(env, policy="MlpPolicy", **kwargs):
    venv = VecNormalize(env, **kwargs)
    model = PPO(policy, venv, n_steps=64, batch_size=32, n_epochs=1, seed=0, device="cpu")
    return model.learn(128), venv


@pytest.mark.parametrize("batch", [None, 1, 7])
def test_a_model_with_vec_normalize_takes_raw_observations(batch):
    model, venv = normalized_ppo(make_vec("CartPole-v1", 2, seed=0), clip_obs=2.0)
    expert = as_expert(model, venv.observation_space, venv.action_space)
    size = (4,) if batch is None else (batch, 4)
    raw = np.random.default_rng(0).normal(size=size).astype(np.float32)

    actions, state = expert.predict(raw)

    expected, _ = model.predict(venv.normalize_obs(raw), deterministic=True)
    np.testing.assert_array_equal(actions, expected)
    assert actions.shape == (() if batch is None else (batch,))
    assert state is None
    assert expert.name == "PPO"
    assert expert.policy is model.policy


def test_dict_observations_are_normalised_where_vec_normalize_does():
    venv = DummyVecEnv([DictEnv])
    model, venv = normalized_ppo(venv, "MultiInputPolicy", norm_obs_keys=["a", "b"])
    raw = venv.venv.reset()
    statistics = ObservationStatistics.from_vec_normalize(venv)

    normalized = statistics.normalize(raw)

    for key, expected in venv.normalize_obs(raw).items():
        np.testing.assert_array_equal(normalized[key], expected)
        assert normalized[key].dtype == expected.dtype
    expert = as_expert(model, venv.observation_space, venv.action_space)
    expected, _ = model.predict(venv.normalize_obs(raw), deterministic=True)
    np.testing.assert_array_equal(expert.predict(raw)[0], expected)
    single = {key: value[0] for key, value in raw.items()}
    assert expert.predict(single)[0].shape == ()


def test_statistics_are_a_copy_and_absent_without_observation_normalisation():
    model, venv = normalized_ppo(make_vec("CartPole-v1"))
    expert = as_expert(model, venv.observation_space, venv.action_space)
    before = expert.statistics.mean.copy()
    model.learn(64)
    np.testing.assert_array_equal(expert.statistics.mean, before)

    rewards_only, _ = normalized_ppo(make_vec("CartPole-v1"), norm_obs=False)
    expert = as_expert(rewards_only, venv.observation_space, venv.action_space)
    assert expert.statistics is None


@pytest.mark.parametrize(
    ("algorithm", "env_id"), [(PPO, "CartPole-v1"), (SAC, "Pendulum-v1"), (DQN, "CartPole-v1")]
)
@pytest.mark.parametrize("part", ["model", "policy"])
def test_models_and_bare_policies_act_as_they_do_in_sb3(algorithm, env_id, part):
    model = algorithm("MlpPolicy", env_id, seed=1, device="cpu")
    source = model if part == "model" else model.policy
    expert = as_expert(source, model.observation_space, model.action_space)
    batch = np.stack([model.observation_space.sample() for _ in range(5)])
    np.testing.assert_array_equal(
        expert.predict(batch)[0], model.predict(batch, deterministic=True)[0]
    )


def test_a_function_of_one_observation_is_looped_over_a_batch():
    seen = []

    def push(observation):
        seen.append(observation.shape)
        return [observation.sum(), -1]

    expert = as_expert(push, BOX, PAIR)
    batch = np.arange(6, dtype=np.float32).reshape(2, 3) / 10

    actions, _ = expert.predict(batch)

    np.testing.assert_allclose(actions, [[0.3, -1], [1.2, -1]], rtol=1e-6)
    assert actions.dtype == PAIR.dtype
    assert seen == [(3,), (3,)]
    assert expert.predict(batch[0])[0].shape == (2,)
    assert expert.name == "push"


def test_a_function_gets_dict_and_discrete_observations_one_by_one():
    venv = DummyVecEnv([DictEnv, DictEnv])
    expert = as_expert(lambda obs: obs["c"] % 3, DictEnv.observation_space, DictEnv.action_space)
    batch = venv.reset()
    np.testing.assert_array_equal(expert.predict(batch)[0], batch["c"] % 3)

    stairs = as_expert(lambda floor: floor > 2, spaces.Discrete(5), spaces.Discrete(2))
    np.testing.assert_array_equal(stairs.predict(np.array([1, 3]))[0], [0, 1])
    assert stairs.predict(np.int64(3))[0] == 1


@pytest.mark.parametrize(
    ("function", "space", "complaint"),
    [
        (lambda o: np.zeros(3), PAIR, r"shape \(3,\).*needs numbers of shape \(4, 2\)"),
        (lambda o: 0.5, PAIR, r"4 times float 0\.5.*needs numbers of shape \(4, 2\)"),
        (lambda o: None, PAIR, r"4 times NoneType None"),
        (lambda o: (np.zeros(2), None), PAIR, r"4 times tuple"),
        (lambda o: {"a": 1}, PAIR, r"4 times dict"),
        (lambda o: np.array([np.nan, 0]), PAIR, r"nan at index \(0, 0\).*outside"),
        (lambda o: np.array([0, 7.0]), PAIR, r"7\.0 at index \(0, 1\).*outside"),
        (lambda o: 0.0, spaces.Discrete(2), r"needs integers of shape \(4,\)"),
        (lambda o: np.array([1]), spaces.Discrete(2), r"needs integers of shape \(4,\)"),
        (lambda o: 2, spaces.Discrete(2), r"2 at index \(0,\).*outside the action space Discrete"),
        (lambda o: 0, spaces.Discrete(2, start=1), r"outside"),
        (lambda o: [0, 3], spaces.MultiDiscrete([2, 3]), r"3 at index \(0, 1\)"),
        (lambda o: [0, 2], spaces.MultiBinary(2), r"2 at index \(0, 1\)"),
    ],
)
def test_a_wrong_action_is_named_at_the_first_call(function, space, complaint):
    expert = as_expert(function, BOX, space, name="pilot")
    with pytest.raises(DataError, match=complaint) as caught:
        expert.predict(np.zeros((4, 3), np.float32))
    assert "'pilot'" in str(caught.value)


def test_actions_of_different_shapes_are_named():
    expert = as_expert(lambda o: np.zeros(1 + int(o[0])), BOX, PAIR)
    with pytest.raises(DataError, match="different shapes"):
        expert.predict(np.array([[0, 0, 0], [1, 0, 0]]))


def test_a_single_wrong_action_is_named_too():
    expert = as_expert(lambda o: np.zeros(3), BOX, PAIR)
    with pytest.raises(DataError, match=r"shape \(3,\) and dtype float64.*shape \(2,\)"):
        expert.predict(np.zeros(3, np.float32))


def test_a_predict_of_another_kind_is_named():
    class Classifier:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            return np.zeros(len(observation))

    expert = as_expert(Classifier(), BOX, PAIR)
    with pytest.raises(DataError, match=r"SB3's predict returns \(actions, state\)"):
        expert.predict(np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("ppo", r"load_expert\(path\)"),
        (PPO, "got <class"),
        (3, "predict"),
    ],
)
def test_what_cannot_act_is_refused(source, complaint):
    with pytest.raises(InapplicableError, match=complaint):
        as_expert(source, BOX, PAIR)


def test_an_expert_of_other_spaces_is_refused():
    model = PPO("MlpPolicy", "CartPole-v1", device="cpu")
    with pytest.raises(InapplicableError, match="'PPO' was made for the observation space"):
        as_expert(model, BOX, model.action_space)
    with pytest.raises(InapplicableError, match="'PPO' was made for the action space"):
        as_expert(model, model.observation_space, spaces.Discrete(3))


def test_image_policies_accept_channels_last_observations():
    channels_first = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    channels_last = spaces.Box(0, 255, (36, 36, 3), np.uint8)

    class Pixels(DictEnv):
        observation_space = channels_last
        action_space = spaces.Discrete(2)

    model = PPO("CnnPolicy", DummyVecEnv([Pixels]), device="cpu")
    assert model.observation_space == channels_first
    expert = as_expert(model, channels_last, spaces.Discrete(2))
    batch = np.stack([channels_last.sample() for _ in range(3)])
    assert expert.predict(batch)[0].shape == (3,)
    assert expert.predict(batch[0])[0].shape == ()


@pytest.mark.parametrize("algorithm", [PPO, SAC], ids=lambda algorithm: algorithm.__name__)
def test_sampled_actions_of_gsde_are_drawn_anew_and_the_model_stays_as_it_was(algorithm):
    model = algorithm("MlpPolicy", "Pendulum-v1", use_sde=True, seed=0, device="cpu")
    expert = as_expert(model, model.observation_space, model.action_space)
    observations = np.ones((50, 3), np.float32)
    before, _ = model.predict(observations, deterministic=False)
    assert np.ptp(before) < 1e-6, "SB3 draws the noise in training only"
    first, _ = expert.predict(observations, deterministic=False)
    second, _ = expert.predict(observations, deterministic=False)
    assert len(np.unique(first)) > 5 and (first != second).any()
    assert expert.predict(observations[0], deterministic=False)[0].shape == (1,)
    np.testing.assert_array_equal(model.predict(observations, deterministic=False)[0], before)


def test_an_expert_stays_itself():
    expert = as_expert(lambda o: np.zeros(2), BOX, PAIR)
    assert as_expert(expert, BOX, PAIR) is expert
    assert isinstance(expert, Expert)
    assert expert.raw_observations
    assert expert.policy is None
