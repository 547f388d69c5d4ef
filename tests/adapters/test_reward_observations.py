"""Dicts and images on the discriminator's side: flattened, restored, seen through extractors."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from imitation.rewards.reward_nets import BasicRewardNet, CnnRewardNet
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from sb3_il_plus import AIRL, GAIL
from sb3_il_plus.adapters.observations import FlatSpace, FlattenObservations, RestoreObservations
from sb3_il_plus.adapters.reward_features import FeaturesRewardNet
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.registry import registry
from sb3_il_plus.testing.environments import HORIZON, echo_demonstrations, make_echo
from sb3_il_plus.testing.learning import check_learns
from sb3_il_plus.testing.task import Task

EVERYTHING = spaces.Dict(
    {
        "bits": spaces.MultiBinary(3),
        "choice": spaces.Discrete(4),
        "choices": spaces.MultiDiscrete([2, 3]),
        "picture": spaces.Box(0, 255, (1, 5, 4), np.uint8),
        "vector": spaces.Box(-np.inf, np.inf, (2, 2), np.float32),
    }
)
PPO = {"n_steps": 16, "batch_size": 16, "n_epochs": 2}


class Everything(gym.Env):
    """Shows random observations of every kind, in episodes of three steps."""

    observation_space, action_space = EVERYTHING, spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps, self.shown = 0, [self.observation_space.sample()]
        return self.shown[-1], {}

    def step(self, action):
        self.steps += 1
        self.shown.append(self.observation_space.sample())
        return self.shown[-1], 0.0, False, self.steps == 3, {}


def sampled(n):
    EVERYTHING.seed(0)
    rows = [EVERYTHING.sample() for _ in range(n)]
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def assert_same(left, right):
    assert list(left) == list(right)
    for key in left:
        np.testing.assert_array_equal(left[key], right[key])
        assert np.asarray(left[key]).dtype == np.asarray(right[key]).dtype, key


def build(cls, observation="Dict", action="Discrete", policy=None, n_envs=2, env=None, **kwargs):
    alias = {"Dict": "MultiInputPolicy", "Image": "CnnPolicy", "Box": "MlpPolicy"}[observation]
    kwargs = {"generator_kwargs": PPO, "demo_batch_size": 16, "seed": 0, **kwargs}
    env = env or make_echo(observation, action, n_envs, seed=0)
    return cls(policy or alias, env, echo_demonstrations(observation, action), **kwargs)


def test_a_dict_as_a_vector_by_hand():
    space = spaces.Dict(
        {
            "choice": spaces.Discrete(3),
            "choices": spaces.MultiDiscrete([2, 2]),
            "picture": spaces.Box(0, 255, (1, 1, 2), np.uint8),
            "vector": spaces.Box(-9, 9, (2,)),
        }
    )
    flat = FlatSpace(space).flatten(
        {
            "choice": np.array([2, 0]),
            "choices": np.array([[1, 0], [0, 0]]),
            "picture": np.array([[[[255, 0]]], [[[51, 102]]]], dtype=np.uint8),
            "vector": np.array([[3.5, -1.0], [0.0, 2.0]]),
        }
    )
    expected = [
        [0, 0, 1, 0, 1, 1, 0, 1, 0, 3.5, -1],
        [1, 0, 0, 1, 0, 1, 0, 0.2, 0.4, 0, 2],
    ]
    np.testing.assert_allclose(flat, expected, rtol=1e-6)
    assert flat.dtype == np.float32


def test_flattening_loses_nothing():
    flat, seen = FlatSpace(EVERYTHING), sampled(50)
    assert_same(flat.restore(flat.flatten(seen)), seen)


def test_extractors_are_given_what_sb3_gives_them():
    flat, seen = FlatSpace(EVERYTHING), sampled(7)
    ours = flat.split(th.as_tensor(flat.flatten(seen)))
    theirs = preprocess_obs({key: th.as_tensor(seen[key]) for key in seen}, EVERYTHING)
    for key, space in EVERYTHING.spaces.items():
        assert ours[key].shape == theirs[key].shape or not isinstance(space, spaces.Box)
        th.testing.assert_close(ours[key].flatten(1), theirs[key].flatten(1))


def test_the_generator_sees_what_the_environment_shows():
    inner = DummyVecEnv([Everything])
    env = RestoreObservations(FlattenObservations(inner, FlatSpace(EVERYTHING)))
    assert env.observation_space == EVERYTHING
    env.seed(3)
    seen = [env.reset()]
    for _ in range(2):
        seen.append(env.step([0])[0])
    for one, shown in zip(seen, inner.envs[0].shown, strict=True):
        assert_same(one, {key: np.asarray(shown[key])[None] for key in one})
    last = None

    class Spy(Everything):
        def step(self, action):
            nonlocal last
            result = super().step(action)
            last = result[0]
            return result

    inner.envs[0].__class__ = Spy
    _, _, dones, infos = env.step([0])
    assert dones.all()
    assert_same(
        {k: np.asarray(v) for k, v in infos[0]["terminal_observation"].items()},
        {k: np.asarray(v) for k, v in last.items()},
    )


@pytest.mark.parametrize("name", ["gail", "airl"])
def test_learns_from_dicts(name, tmp_path):
    check_learns(Task(registry.get(name), tmp_path, observation="Dict"))


@pytest.mark.slow
def test_learns_from_images():
    model = build(
        GAIL,
        "Image",
        n_envs=4,
        learning_rate=1e-3,
        generator_kwargs={"n_steps": 32, "batch_size": 32, "n_epochs": 4, "ent_coef": 0.05},
        demo_batch_size=64,
        n_disc_updates_per_round=12,
        reward_net_kwargs={"features_extractor_kwargs": {"features_dim": 64}},
    )
    env, mean = make_echo("Image", seed=1), 0.0
    while mean < 0.75 * HORIZON and model.num_timesteps < 6000:
        model.learn(512, reset_num_timesteps=False)
        mean, _ = evaluate_policy(model, env, 8, warn=False)
    assert mean >= 0.75 * HORIZON


def test_airl_asks_the_policy_about_dicts():
    model = build(AIRL, action="MultiBinary")
    data = echo_demonstrations("Dict", "MultiBinary")
    index = np.arange(12)
    seen = data.observations_at(index)
    acts = data.actions[index].astype(np.float32)
    flat = FlatSpace(data.observation_space).flatten(seen)
    with th.no_grad():
        ours = model.trainer._get_log_policy_act_prob(th.as_tensor(flat), th.as_tensor(acts))
        tensors = {key: th.as_tensor(np.array(value)) for key, value in seen.items()}
        _, theirs, _ = model.policy.evaluate_actions(tensors, th.as_tensor(acts))
    th.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("cls", [GAIL, AIRL])
def test_the_learned_reward_of_dicts(cls, tmp_path):
    model = build(cls).learn(64)
    venv = model.as_reward_wrapper(make_echo("Dict", "Discrete", 3, seed=1))
    before, actions = venv.reset(), np.array([0, 1, 2])
    after, rewards, dones, _ = venv.step(actions)
    flat = FlatSpace(venv.observation_space)
    by_net = model.reward_net.predict(flat.flatten(before), actions, flat.flatten(after), dones)
    np.testing.assert_array_equal(rewards, by_net)
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_reward(before, actions, after, dones), rewards)


def test_vec_normalize_shows_both_sides_the_same_dicts():
    env = VecNormalize(make_echo("Dict", "Discrete", 2, seed=0), norm_obs_keys=["bit"])
    model = build(GAIL, env=env).learn(256)
    expert = model._draw_expert_batch()["obs"]
    raw = model.demonstrations.observations_at(np.arange(64))
    shown = FlatSpace(env.observation_space).flatten(env.normalize_obs(raw))
    rows = {tuple(row) for row in shown.round(4).tolist()}
    assert {tuple(row) for row in expert.round(4).tolist()} <= rows
    generated = model.trainer._gen_replay_buffer.sample(100).obs
    np.testing.assert_allclose(np.abs(generated[:, 0]).mean(), 1, atol=0.2)


def test_images_stay_bytes_until_the_reward_net_reads_them():
    model = build(GAIL, "Image").learn(32)
    kept = model.trainer._gen_replay_buffer.sample(8).obs
    assert kept.dtype == np.uint8 and kept.shape == (8, 1, 36, 40)
    assert model._draw_expert_batch()["obs"].dtype == np.uint8
    assert isinstance(model.discriminator, FeaturesRewardNet)
    assert isinstance(model.discriminator.features.extractor, NatureCNN)
    state, *_ = model.discriminator.preprocess(
        kept, np.zeros(8, dtype=int), kept, np.zeros(8, dtype=bool)
    )
    assert state.max() == 1.0


def test_the_learned_reward_of_images_in_either_order_of_axes():
    model = build(GAIL, "Image").learn(32)
    venv = model.as_reward_wrapper(make_echo("Image", n_envs=3, seed=1))
    before, actions = venv.reset(), np.array([0, 1, 2])
    after, rewards, dones, _ = venv.step(actions)
    assert before.shape == (3, 36, 40, 1), "the test needs pictures as the environment shows them"
    moved = [np.moveaxis(picture, -1, 1) for picture in (before, after)]
    by_net = model.reward_net.predict(moved[0], actions, moved[1], dones)
    np.testing.assert_array_equal(rewards, by_net)


class Corners(BaseFeaturesExtractor):
    """The first and the last pixel, for pictures too small for SB3's CNN."""

    def __init__(self, observation_space, scale=1.0):
        super().__init__(observation_space, 2)
        self.scale, self.weight = scale, nn.Parameter(th.ones(2))

    def forward(self, observations):
        return self.scale * self.weight * observations.flatten(1)[:, [0, -1]]


def test_the_reward_net_sees_through_an_extractor_like_the_policys(tmp_path):
    kwargs = {"features_extractor_class": Corners, "features_extractor_kwargs": {"scale": 2.0}}
    model = build(AIRL, "Image", policy_kwargs=kwargs).learn(32)
    net = model.discriminator
    extractors = [net.base.features.extractor, net.potential[0].extractor]
    assert all(isinstance(each, Corners) and each.scale == 2.0 for each in extractors)
    assert extractors[0] is not extractors[1]
    other = build(
        GAIL,
        "Image",
        policy_kwargs=kwargs,
        reward_net_kwargs={"features_extractor_kwargs": {"scale": 5.0}, "hid_sizes": (8,)},
    )
    assert other.discriminator.features.extractor.scale == 5.0
    assert other.discriminator.mlp.dense0.out_features == 8


def test_reward_nets_of_the_users_choice():
    flat = build(GAIL, reward_net_class=BasicRewardNet)
    assert isinstance(flat.discriminator, BasicRewardNet)
    assert flat.discriminator.mlp.dense0.in_features == 1 + 2 + 4  # one number, two one-hots
    kwargs = {"hwc_format": False, "hid_channels": (4,)}
    images = build(GAIL, "Image", reward_net_class=CnnRewardNet, reward_net_kwargs=kwargs)
    for model in (flat, images):
        assert model.learn(32).num_timesteps == 32


@pytest.mark.parametrize("observation", ["Box", "Dict", "Image"])
def test_states_alone_tell_expert_from_learner(observation):
    """What GAIL from observation needs: pairs of states, and no action."""
    kwargs = {"use_action": False, "use_next_state": True}
    model = build(GAIL, observation, reward_net_kwargs=kwargs).learn(32)
    before, after = (make_echo(observation, n_envs=4, seed=seed).reset() for seed in (0, 1))
    dones = np.zeros(4, dtype=bool)

    def rewards(action, following):
        return model.predict_reward(before, np.full(4, action), following, dones)

    np.testing.assert_array_equal(rewards(0, after), rewards(3, after))
    assert not np.array_equal(rewards(0, after), rewards(0, before))


def test_statistics_of_dicts_reach_policy_and_reward_net():
    model = build(
        GAIL, normalize_observations=True, normalize_reward_inputs="demonstrations"
    ).learn(32)
    statistics = model.discriminator.features.extractor.statistics["key_bit"]
    values = model.demonstrations.observations["bit"]
    assert statistics.mean.item() == pytest.approx(values.mean(), abs=1e-6)
    assert statistics.std.item() == pytest.approx(values.std(), rel=1e-6)


def test_normalising_pixels_is_refused_with_the_reason():
    with pytest.raises(InapplicableError, match="normalize_reward_inputs='running' is for vectors"):
        build(GAIL, "Image", normalize_reward_inputs="running")
