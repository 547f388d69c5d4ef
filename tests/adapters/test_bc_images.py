"""BC from images: their channels are moved once, at the door, and their bytes stay bytes."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_il_plus import BC, Demonstrations, collect, evaluate
from sb3_il_plus.environments import make_vec

SIZE = 36
HORIZON = 5


class Quadrant(gym.Env):
    """Say in which quarter of the image the red square is; green squares distract.

    :param first: show the channels first
    """

    action_space = spaces.Discrete(4)

    def __init__(self, first: bool = False) -> None:
        self.first = first
        shape = (3, SIZE, SIZE) if first else (SIZE, SIZE, 3)
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._step = 0
        return self._observe(), {}

    def step(self, action):
        reward = float(action == self._where)
        self._step += 1
        return self._observe(), reward, False, self._step == HORIZON, {}

    def _observe(self):
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        self._where, other = self.np_random.integers(0, 4, 2)
        for quarter, channel in ((self._where, 0), (other, 1)):
            row, column = (SIZE // 2) * np.array(divmod(int(quarter), 2))
            image[row + 4 : row + 14, column + 4 : column + 14, channel] = 255
        return image.transpose(2, 0, 1) if self.first else image


gym.register("test/Quadrant-v0", Quadrant)
gym.register("test/QuadrantFirst-v0", Quadrant, kwargs={"first": True})


def where(image: np.ndarray) -> int:
    red = image[0] if image.shape[0] == 3 else image[..., 0]
    row, column = np.argwhere(red == 255)[0] // (SIZE // 2)
    return int(2 * row + column)


def env_id(first: bool) -> str:
    return "test/QuadrantFirst-v0" if first else "test/Quadrant-v0"


@pytest.fixture(scope="module")
def recorded() -> dict[bool, Demonstrations]:
    """By whether the channels are first: the same episodes."""
    return {
        first: collect(where, make_vec(env_id(first), 2), n_episodes=40, seed=0)
        for first in (False, True)
    }


@pytest.mark.parametrize("with_env", [False, True])
@pytest.mark.parametrize("env_first", [False, True])
@pytest.mark.parametrize("data_first", [False, True])
def test_channels_are_moved_exactly_once(recorded, data_first, env_first, with_env):
    data = recorded[data_first]
    model = BC("CnnPolicy", env_id(env_first) if with_env else None, data, batch_size=8, seed=0)
    assert model.observation_space.shape == (3, SIZE, SIZE)
    rows = model._batches.rows(np.arange(len(data)))["obs"]
    assert rows.dtype == th.uint8
    expected = recorded[True].observations_at(np.arange(len(data)))
    np.testing.assert_array_equal(rows.numpy(), expected)
    # The model takes an image as the environment shows it, and as SB3's wrapper moves it.
    shown = [np.array(recorded[first].observations[0]) for first in (False, True)]
    logits = [model.policy.obs_to_tensor(image)[0] for image in shown]
    np.testing.assert_array_equal(*[tensor.numpy() for tensor in logits])


@pytest.mark.parametrize(("policy_of", "env_first"), [("ppo", False), ("dqn", True)])
def test_a_cnn_learns_what_is_in_the_image(recorded, policy_of, env_first, tmp_path):
    # Random actions get 1.25 of 5.
    model = BC(
        "CnnPolicy",
        env_id(env_first),
        recorded[False],
        policy_of=policy_of,
        policy_kwargs={"features_extractor_kwargs": {"features_dim": 32}},
        seed=0,
    ).learn(60)
    assert evaluate(model, env_id(env_first), 10, seed=1).mean_return > 4.5
    model.save(tmp_path / "bc")
    loaded = BC.load(tmp_path / "bc", demonstrations=recorded[True])
    image = np.array(recorded[False].observations[0])
    for each in (model, loaded):
        assert each.predict(image, deterministic=True)[0] == where(image)
    assert loaded.learn(1, reset_num_timesteps=False).num_timesteps == 61


def test_images_within_dict_observations_are_moved_too():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, SIZE, SIZE, 3), dtype=np.uint8)
    data = Demonstrations.from_arrays(
        {"camera": images, "speed": rng.normal(size=(12, 2))},
        rng.integers(0, 2, 12),
        action_space=spaces.Discrete(2),
    )
    model = BC("MultiInputPolicy", None, data, batch_size=12, seed=0).learn(2)
    rows = model._batches.rows(np.arange(12))["obs"]
    np.testing.assert_array_equal(rows["camera"].numpy(), images.transpose(0, 3, 1, 2))
    assert rows["camera"].dtype == th.uint8 and rows["speed"].dtype == th.float32
    shown = {"camera": images[0], "speed": np.zeros(2)}
    assert model.predict(shown)[0].shape == ()


def test_what_is_no_image_stays_as_it_is():
    frames = np.random.default_rng(0).normal(size=(12, 4, 5, 3)).astype(np.float32)
    data = Demonstrations.from_arrays(frames, [0, 1] * 6, action_space=spaces.Discrete(2))
    model = BC("MlpPolicy", None, data, batch_size=4)
    assert model.observation_space.shape == (4, 5, 3)
    np.testing.assert_array_equal(model._batches.rows(np.arange(12))["obs"].numpy(), frames)
