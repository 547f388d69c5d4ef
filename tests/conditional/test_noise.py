"""Noise injection: impulses of the published form; what is recorded is the expert's answer."""

import numpy as np
import pytest

from sb3_il_plus import collect
from sb3_il_plus.conditional import NoiseInjection
from sb3_il_plus.conditional.driving import DrivingExpert, DrivingVecEnv
from sb3_il_plus.conditional.noise import triangle
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.testing.environments import make_echo

STEP = 0.1


class Executed(DrivingVecEnv):
    """Remembers what it was told to do."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.actions = []

    def step_async(self, actions):
        self.actions.append(actions)
        super().step_async(actions)


def noise_of(n_steps=2000, n_envs=4, dimensions=(0,), **options):
    """What is added to actions of 0, shape (n_steps, n_envs, number of dimensions)."""
    env = NoiseInjection(Executed(n_envs), dimensions, STEP, seed=0, **options)
    env.reset()
    infos = [env.step(np.zeros((n_envs, 2), np.float32))[3] for _ in range(n_steps)]
    added = np.array([[info["noise"] for info in row] for row in infos])
    executed = np.array(env.venv.actions)
    np.testing.assert_allclose(executed[..., list(dimensions)], added, atol=1e-7)
    rest = np.delete(executed, list(dimensions), axis=2)
    assert not rest.any(), "other components are left alone"
    return added


def test_an_impulse_is_a_triangle():
    # max(0, 1 - |2 t / tau - 1|) by hand, for tau = 1 s.
    elapsed = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.5])
    np.testing.assert_allclose(triangle(elapsed, np.ones(6)), [0, 0.5, 1, 0.5, 0, 0])


def test_impulses_rise_and_fall_over_their_duration():
    added = noise_of(9, probability=1.0, duration=(0.8, 0.8), intensity=0.4)[..., 0]
    height = np.abs(added)
    expected = 0.4 * np.array([0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(height, np.tile(expected[:, None], 4), atol=1e-9)
    assert set(np.sign(added[4])) == {-1.0, 1.0}


def test_impulses_are_as_frequent_as_published():
    """Waits of 10 s on average and impulses of 1.25 s: ups and downs in 11 % of the time."""
    added = noise_of(n_steps=3000)
    # Episodes that end cut impulses short; the cars stand still, so it is one every 25 seconds.
    share = (added != 0).mean()
    assert 0.08 < share < 0.13
    assert np.abs(added).max() == pytest.approx(0.15, rel=0.05)
    # About a hundred impulses: the mean sign deviates by 0.011.
    assert abs(np.sign(added).mean()) < 0.045
    following = np.corrcoef(added[:-1].ravel(), added[1:].ravel())[0, 1]
    assert following > 0.9, "noise of one step and the next belong together"


def test_the_label_is_the_experts_answer():
    env = NoiseInjection(
        Executed(4), dimensions=[0], time_step=STEP, intensity=0.5, probability=0.9
    )
    data = collect(DrivingExpert(), env, n_episodes=12, seed=0)
    answers, _ = DrivingExpert().predict(data.observations_at(np.arange(len(data))))
    np.testing.assert_array_equal(data.actions, answers)
    executed = np.concatenate(env.venv.actions)
    assert np.abs(executed).max() <= 1
    again = collect(DrivingExpert(), env, n_episodes=12, seed=0)
    assert again.fingerprint() == data.fingerprint(), "the seed decides about the noise, too"
    clean = collect(DrivingExpert(), DrivingVecEnv(4), n_episodes=12, seed=0)
    off_path = [np.abs(each.observations["road"][:, 1]).mean() for each in (clean, data)]
    assert off_path[1] > off_path[0]


def test_an_episode_begins_without_an_impulse():
    env = NoiseInjection(DrivingVecEnv(1, seed=0), [0], STEP, probability=1.0, duration=(9, 9))
    env.reset()
    full_left = np.array([[1.0, 1.0]], dtype=np.float32)
    dones = np.zeros(1, dtype=bool)
    while not dones[0]:
        _, _, dones, infos = env.step(full_left)
    assert infos[0]["noise"] != 0
    _, _, _, infos = env.step(full_left)
    assert infos[0]["noise"] == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dimensions": [2]}, r"dimensions=\[2\] must be components of an action, 0 to 1"),
        ({"dimensions": []}, "at least one"),
        ({"time_step": 0}, "time_step=0 must be positive"),
        ({"intensity": -1}, "intensity=-1 not negative"),
        ({"probability": 2}, r"probability=2 within \[0, 1\]"),
        ({"duration": (2, 1)}, r"duration=\(2, 1\) must be two positive numbers, shortest first"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(UserError, match=message):
        NoiseInjection(DrivingVecEnv(1), **{"dimensions": [0], "time_step": STEP, **arguments})


def test_choices_are_not_perturbed():
    with pytest.raises(InapplicableError, match="actions that are vectors, not to Discrete"):
        NoiseInjection(make_echo(), [0], STEP)
