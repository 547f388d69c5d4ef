"""Observation normalisation: the data's own statistics, inside the policy, saved with it."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_il_plus import BC, Demonstrations
from sb3_il_plus.normalization import CLIP, EPSILON, StandardizedExtractor


@pytest.fixture
def data() -> Demonstrations:
    rng = np.random.default_rng(0)
    observations = rng.normal([100, -5, 0.1], [20, 0.5, 0], (200, 3)).astype(np.float32)
    return Demonstrations.from_arrays(
        observations, rng.integers(0, 2, 200), action_space=spaces.Discrete(2)
    )


def extractor_of(model: BC) -> StandardizedExtractor:
    assert type(model.policy) is ActorCriticPolicy, "still SB3's own policy class"
    return model.policy.features_extractor


def test_features_are_standardised_with_the_data_s_statistics(data):
    model = BC("MlpPolicy", None, data, normalize_observations=True, seed=0)
    raw = np.array(data.observations)
    expected = (raw - raw.mean(axis=0)) / np.maximum(raw.std(axis=0), EPSILON)
    features = extractor_of(model)(th.as_tensor(raw)).detach().numpy()
    np.testing.assert_allclose(features, expected, atol=1e-3)
    np.testing.assert_allclose(features.std(axis=0)[:2], 1, atol=1e-3)


def test_far_off_observations_are_clipped(data):
    model = BC("MlpPolicy", None, data, normalize_observations=True, seed=0)
    far = th.tensor([[1e9, -1e9, 5.0]])
    assert extractor_of(model)(far).tolist() == [[CLIP, -CLIP, CLIP]]


def test_statistics_travel_in_the_file(data, tmp_path):
    model = BC("MlpPolicy", None, data, normalize_observations=True, seed=0).learn(20)
    model.save(tmp_path / "model")
    loaded = BC.load(tmp_path / "model")  # without the data
    np.testing.assert_array_equal(
        extractor_of(model).statistics["all"].mean, extractor_of(loaded).statistics["all"].mean
    )
    raw = np.array(data.observations)
    np.testing.assert_array_equal(
        model.predict(raw, deterministic=True)[0], loaded.predict(raw, deterministic=True)[0]
    )


def test_dict_observations_keep_images_and_choices_as_they_are():
    rng = np.random.default_rng(0)
    space = spaces.Dict(
        {
            "joints": spaces.Box(-np.inf, np.inf, (2,), np.float32),
            "camera": spaces.Box(0, 255, (3, 36, 36), np.uint8),
            "command": spaces.Discrete(4),
        }
    )
    observations = {
        "joints": rng.normal(50, 10, (40, 2)).astype(np.float32),
        "camera": rng.integers(0, 256, (40, 3, 36, 36), dtype=np.uint8),
        "command": rng.integers(0, 4, 40),
    }
    data = Demonstrations.from_arrays(
        observations,
        rng.integers(0, 2, 40),
        observation_space=space,
        action_space=spaces.Discrete(2),
    )
    model = BC("MultiInputPolicy", None, data, normalize_observations=True, batch_size=20, seed=0)
    statistics = model.policy.features_extractor.statistics
    assert list(statistics) == ["key_joints"]
    np.testing.assert_allclose(
        statistics["key_joints"].mean, data.observations["joints"].mean(axis=0), rtol=1e-5
    )
    model.learn(2)
    one = {key: column[0] for key, column in observations.items()}
    assert model.predict(one)[0].shape == ()
