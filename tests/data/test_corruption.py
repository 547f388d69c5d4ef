"""Flaws come in the amounts that were asked for, touch nothing else, and are the same again."""

import dataclasses

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from strategies import assert_equal, demonstrations

from sb3_il_plus.data import Demonstrations, columns
from sb3_il_plus.errors import DataError

SHARES = st.floats(0.01, 0.99)


def walk(n_episodes=40, length=50, action_space=None):
    """Observations of a random walk whose components have the scales 1 and 100."""
    rng, n = np.random.default_rng(0), n_episodes * length
    action_space = action_space or spaces.Box(np.float32([-1, 0]), np.float32([1, 10]))
    action_space.seed(0)
    return Demonstrations(
        observations=rng.normal(size=(n + n_episodes, 2)) * [1, 100],
        actions=np.stack([action_space.sample() for _ in range(n)]),
        rewards=np.arange(n, dtype=np.float64),
        terminations=np.zeros(n, bool),
        truncations=np.arange(n) % length == length - 1,
        offsets=np.arange(0, n + 1, length),
        observation_space=spaces.Box(-np.inf, np.inf, (2,), np.float64),
        action_space=action_space,
        metadata={"env_id": "Walk-v0"},
    ).validate()


def applicable(demos, amount):
    """Every flaw that the spaces allow."""
    flaws = {"random_actions": amount, "dropped_steps": amount / 2}
    if any(isinstance(s, spaces.Box) for _, s in columns.named_spaces(demos.observation_space)):
        flaws["observation_noise"] = amount
    flaws["action_noise" if isinstance(demos.action_space, spaces.Box) else "wrong_actions"] = (
        amount
    )
    if demos.n_episodes > 1:
        flaws["dropped_episodes"] = 1
    return flaws


@given(demonstrations(), SHARES, st.integers(0, 5))
def test_flawed_data_is_valid_and_the_same_for_one_seed(demos, amount, seed):
    if len(demos) < 4:
        amount = min(amount, 0.5)
    flaws = applicable(demos, amount)
    first = demos.corrupt(seed=seed, **flaws).validate()
    assert_equal(first, demos.corrupt(seed=seed, **flaws))
    assert first.metadata["corruption"] == [{**flaws, "seed": seed}]
    assert first.observation_space == demos.observation_space


@given(demonstrations(), SHARES, st.integers(0, 5))
def test_labels_alone_are_changed(demos, share, seed):
    flawed = demos.corrupt(seed=seed, random_actions=share)
    n_changed = (flawed.actions != demos.actions).reshape(len(demos), -1).any(axis=1).sum()
    assert n_changed <= round(share * len(demos))
    assert_equal(dataclasses.replace(flawed, actions=demos.actions, metadata=demos.metadata), demos)


@given(demonstrations(), SHARES, st.integers(0, 5))
def test_dropped_steps_leave_each_other_step_what_it_was(demos, share, seed):
    share = min(share, (len(demos) - 0.51) / len(demos))
    numbered = dataclasses.replace(demos, rewards=np.arange(len(demos)))
    thinned = numbered.corrupt(seed=seed, dropped_steps=share)
    kept = thinned.rewards.astype(int)
    assert len(kept) == len(demos) - round(share * len(demos))
    for read in ("observations_at", "next_observations_at"):
        seen = getattr(thinned, read)(np.arange(len(kept)))
        expected = getattr(demos, read)(kept)
        for (_, one), (_, other) in zip(columns.named(seen), columns.named(expected), strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(thinned.terminations, demos.terminations[kept])
    np.testing.assert_array_equal(thinned.truncations, demos.truncations[kept])
    neighbours = np.flatnonzero(np.diff(thinned.episode_index) == 0)
    assert (kept[neighbours + 1] == kept[neighbours] + 1).all()
    episode_of = demos.episode_index[kept]
    assert (episode_of[neighbours] == episode_of[neighbours + 1]).all()


@given(demonstrations(min_episodes=2), st.data())
def test_lost_episodes_are_a_count_or_a_share(demos, data):
    n_lost = data.draw(st.integers(1, demos.n_episodes - 1))
    by_count = demos.corrupt(seed=1, dropped_episodes=n_lost)
    by_share = demos.corrupt(seed=1, dropped_episodes=n_lost / demos.n_episodes)
    assert by_count.n_episodes == demos.n_episodes - n_lost
    assert by_count.fingerprint() == by_share.fingerprint()
    whole = [demos[i].fingerprint() for i in range(demos.n_episodes)]
    assert all(by_count[i].fingerprint() in whole for i in range(by_count.n_episodes))


class TestAmounts:
    def test_observation_noise_is_in_units_of_each_component(self):
        demos = walk()
        noise = demos.corrupt(seed=0, observation_noise=0.5).observations - demos.observations
        scale = noise.std(axis=0) / demos.observations.std(axis=0)
        np.testing.assert_allclose(scale, 0.5, rtol=0.1)
        assert abs(np.corrcoef(noise.T)[0, 1]) < 0.1

    def test_action_noise_is_in_units_of_the_range_and_clipped(self):
        demos = dataclasses.replace(walk(), actions=np.full((2000, 2), [0, 5], np.float32))
        actions = demos.corrupt(seed=0, action_noise=0.2).actions
        np.testing.assert_allclose(actions.std(axis=0), [0.2, 1.0], rtol=0.1)
        extreme = demos.corrupt(seed=0, action_noise=3.0).actions
        assert extreme.min(axis=0).tolist() == [-1, 0] and extreme.max(axis=0).tolist() == [1, 10]

    @pytest.mark.parametrize(
        "space",
        [
            spaces.Discrete(3, start=-1),
            spaces.MultiDiscrete([2, 5]),
            spaces.MultiBinary(2),
        ],
        ids=lambda space: type(space).__name__,
    )
    def test_wrong_actions_are_wrong_in_every_component(self, space):
        demos = walk(action_space=space)
        changed = (demos.corrupt(seed=0, wrong_actions=0.25).actions != demos.actions).reshape(
            len(demos), -1
        )
        assert changed.all(axis=1).sum() == changed.any(axis=1).sum() == 500

    def test_random_actions_are_uniform(self):
        demos = walk(action_space=spaces.Discrete(4))
        still = dataclasses.replace(demos, actions=np.zeros(2000, np.int64))
        counts = np.bincount(still.corrupt(seed=0, random_actions=1.0).actions, minlength=4)
        assert abs(counts - 500).max() < 80

    def test_a_flaw_does_not_change_another(self):
        demos = walk()
        alone = demos.corrupt(seed=0, random_actions=0.3)
        both = demos.corrupt(seed=0, random_actions=0.3, observation_noise=1.0)
        assert (alone.actions == both.actions).all()

    def test_what_was_done_is_listed(self):
        twice = walk().corrupt(seed=0, action_noise=0.1).corrupt(seed=1, dropped_episodes=2)
        assert twice.metadata["corruption"] == [
            {"action_noise": 0.1, "seed": 0}, {"dropped_episodes": 2, "seed": 1},
        ]  # fmt: skip

    def test_images_stay_images(self):
        space = spaces.Box(0, 255, (4, 4, 1), np.uint8)
        demos = dataclasses.replace(
            walk(2, 5),
            observations=np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1)).astype(np.uint8),
            observation_space=space,
        )
        noisy = demos.corrupt(seed=0, observation_noise=0.5).validate()
        assert noisy.observations.dtype == np.uint8
        assert (noisy.observations != demos.observations).mean() > 0.9


@pytest.mark.parametrize(
    ("flaws", "message"),
    [
        ({"observation_noise": -1}, "observation_noise=-1 must be a number, 0 or more"),
        ({"action_noise": float("nan")}, "action_noise=nan must be a number"),
        ({"random_actions": "0.3"}, "random_actions='0.3' must be a number"),
        ({"dropped_steps": True}, "dropped_steps=True must be a number"),
        ({"random_actions": 1.5}, r"random_actions=1.5 is a share and must lie within \[0, 1\]"),
        ({"dropped_episodes": 2}, "dropped_episodes=2 leaves none of 2 episodes"),
        ({"dropped_episodes": 1.0}, "dropped_episodes=1.0 leaves none of 2 episodes"),
        ({"dropped_steps": 1.0}, "dropped_steps=1.0 leaves none of 10 steps"),
        ({"wrong_actions": 0.5}, "wrong_actions needs a space of two choices or more, not Box"),
    ],
)
def test_bad_amounts_are_named(flaws, message):
    with pytest.raises(DataError, match=message):
        walk(2, 5).corrupt(seed=0, **flaws)


def test_flaws_that_do_not_fit_the_spaces():
    demos = walk(2, 5, spaces.Discrete(2))
    with pytest.raises(DataError, match="action_noise is for Box actions, not for Discrete"):
        demos.corrupt(seed=0, action_noise=0.1)
    seen = dataclasses.replace(
        demos, observations=np.zeros(12, np.int64), observation_space=spaces.Discrete(4)
    )
    with pytest.raises(DataError, match=r"needs observations of a Box space, not Discrete\(4\)"):
        seen.corrupt(seed=0, observation_noise=0.1)
    with pytest.raises(DataError, match="random_actions reads the demonstrations' actions"):
        demos.without_actions().corrupt(seed=0, random_actions=0.1)
