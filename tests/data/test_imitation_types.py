"""`imitation`'s trajectories and transitions become demonstrations and back, without loss."""

import sys

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import assume, given
from imitation.data import rollout
from imitation.data.types import (
    DictObs,
    Trajectory,
    TrajectoryWithRew,
    Transitions,
    TransitionsMinimal,
    TransitionsWithRew,
)
from strategies import demonstrations

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.errors import DataError, MissingExtraError

ENDED = [(True, False), (False, True), (True, True)]


def spaces_of(demos):
    return {"observation_space": demos.observation_space, "action_space": demos.action_space}


@given(demonstrations())
def test_trajectories_round_trip(demos):
    trajectories = demos.to_trajectories()
    kind = Trajectory if demos.rewards is None else TrajectoryWithRew
    assert [type(trajectory) for trajectory in trajectories] == [kind] * demos.n_episodes
    again = Demonstrations.from_imitation(trajectories, **spaces_of(demos))
    assert again.fingerprint() == demos.fingerprint()
    assert again.observation_space == demos.observation_space


@given(demonstrations())
def test_transitions_hold_the_same_steps(demos):
    """Transitions cannot tell where a fragment ends that the next row happens to continue."""
    transitions = demos.to_transitions()
    assert type(transitions) is (Transitions if demos.rewards is None else TransitionsWithRew)
    again = Demonstrations.from_imitation(transitions, **spaces_of(demos))
    every = np.arange(len(demos))
    for ours, theirs in (
        (again.observations_at(every), demos.observations_at(every)),
        (again.next_observations_at(every), demos.next_observations_at(every)),
    ):
        np.testing.assert_equal(ours, theirs)
    for name in ("actions", "rewards", "terminations", "truncations"):
        np.testing.assert_equal(getattr(again, name), getattr(demos, name))


@given(demonstrations(ends=ENDED))
def test_transitions_of_whole_episodes_round_trip(demos):
    again = Demonstrations.from_imitation(demos.to_transitions(), **spaces_of(demos))
    assert again.fingerprint() == demos.fingerprint()


@given(demonstrations())
def test_we_agree_with_imitation_about_transitions(demos):
    assume(not isinstance(demos.observation_space, spaces.Dict))  # imitation warns about some
    ours = demos.to_transitions()
    theirs = rollout.flatten_trajectories(demos.to_trajectories())
    for name in ("obs", "acts", "next_obs"):
        np.testing.assert_equal(getattr(ours, name), getattr(theirs, name))
    for episode, end in zip(demos.episodes(), demos.offsets[1:] - 1, strict=True):
        assert ours.dones[end] == (episode.terminated or episode.truncated)


def trajectory(length=3, terminal=True, info=None, start=0.0):
    observations = start + np.arange(length + 1.0)[:, None]
    infos = np.array([{}] * (length - 1) + [info or {}])
    return TrajectoryWithRew(observations, np.zeros(length, int), infos, terminal, np.ones(length))


def test_ends():
    episodes = [
        trajectory(),
        trajectory(info={"TimeLimit.truncated": True}),
        trajectory(info={"TimeLimit.truncated": False}),
        trajectory(terminal=False),
        Trajectory(np.zeros((2, 1)), np.zeros(1, int), None, terminal=True),
    ]
    demos = Demonstrations.from_imitation(episodes, action_space=spaces.Discrete(2))
    assert demos.terminations[demos.offsets[1:] - 1].tolist() == [False, False, True, False, False]
    assert demos.truncations[demos.offsets[1:] - 1].tolist() == [True, True, False, False, True]
    assert demos.observation_space == spaces.Box(-np.inf, np.inf, (1,))
    assert demos.rewards is None  # as one episode has none


def test_shuffled_transitions_become_fragments():
    whole = Demonstrations.from_imitation([trajectory(6)], action_space=spaces.Discrete(2))
    rows = whole.to_transitions()
    order = [3, 0, 1, 5, 2]
    shuffled = Transitions(
        rows.obs[order],
        rows.acts[order],
        rows.infos[order],
        rows.next_obs[order],
        rows.dones[order],
    )
    demos = Demonstrations.from_imitation(shuffled, action_space=spaces.Discrete(2))
    assert demos.episode_lengths.tolist() == [1, 2, 1, 1]
    assert np.array_equal(demos.next_observations_at(np.arange(5)), rows.next_obs[order])
    assert demos.truncations.tolist() == [False, False, False, True, False]
    assert not demos.terminations.any()


def test_dict_observations_and_spaces_of_an_environment():
    observations = DictObs({"a": np.zeros((3, 2)), "b": np.arange(3)})
    episode = Trajectory(observations, np.zeros(2, int), None, True)
    space = spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3))
    demos = Demonstrations.from_imitation(
        iter([episode]), observation_space=space, env="CartPole-v1"
    )
    assert demos.observations["b"].tolist() == [0, 1, 2]
    assert demos.action_space == spaces.Discrete(2)
    assert demos.to_trajectories()[0].obs == observations
    single = Demonstrations.from_imitation(episode, action_space=spaces.Discrete(2))
    assert list(single.observation_space.spaces) == ["a", "b"]


def test_rollouts_of_imitation_itself():
    from stable_baselines3.common.vec_env import DummyVecEnv

    from sb3_il_plus.environments import make_env

    venv = DummyVecEnv([lambda: make_env("CartPole-v1", max_episode_steps=20)])
    venv.seed(0)
    venv.action_space.seed(0)  # the random policy draws from it
    trajectories = rollout.rollout(
        None,
        venv,
        rollout.make_sample_until(min_episodes=10),
        rng=np.random.default_rng(0),
        unwrap=False,
        exclude_infos=False,
    )
    demos = Demonstrations.from_imitation(trajectories, env=venv)
    lasts = demos.offsets[1:] - 1
    assert (demos.terminations[lasts] | demos.truncations[lasts]).all()
    timeouts = demos.truncations[lasts]
    assert (demos.episode_lengths[timeouts] == 20).all() and timeouts.any() and not timeouts.all()
    again = Demonstrations.from_imitation(demos.to_trajectories(), env=venv)
    assert again.fingerprint() == demos.fingerprint()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "cannot make demonstrations from a list of nothing: give a Demonstrations"),
        ([1, "a"], "cannot make demonstrations from a list of int, str"),
        (5, "cannot make demonstrations from a int: give"),
        (
            TransitionsMinimal(np.zeros((1, 1)), np.zeros(1, int), np.array([{}])),
            r"there is Demonstrations\.from_arrays\(observations, actions",
        ),
        ([trajectory()], "the action space is unknown: pass env='YourEnv-v0'"),
    ],
)
def test_other_things(source, message):
    with pytest.raises(DataError, match=message):
        Demonstrations.coerce(source)


def test_values_are_validated():
    with pytest.raises(DataError, match=r"observations: a row has shape \(1,\), the space"):
        Demonstrations.coerce([trajectory()], env="CartPole-v1")
    odd = trajectory()
    odd.acts[1] = 7
    with pytest.raises(DataError, match="actions: episode 1, step 1 is 7, which lies outside"):
        Demonstrations.from_imitation([trajectory(), odd], action_space=spaces.Discrete(2))


def test_without_imitation(monkeypatch):
    demos = Demonstrations.from_imitation([trajectory()], action_space=spaces.Discrete(2))
    for name in [name for name in sys.modules if name.startswith("imitation.data")]:
        monkeypatch.setitem(sys.modules, name, None)
    for convert in (demos.to_trajectories, demos.to_transitions):
        with pytest.raises(MissingExtraError, match=r"pip install 'sb3_il_plus\[imitation\]'"):
            convert()


def test_algorithms_take_trajectories_as_they_are():
    import sb3_il_plus

    demos = sb3_il_plus.collect(lambda o: int(o[2] > 0), "CartPole-v1", n_episodes=2, seed=0)
    for source in (demos.to_trajectories(), demos.to_transitions()):
        model = sb3_il_plus.make("bc", env="CartPole-v1", demonstrations=source)
        assert model.demonstrations.fingerprint() == demos.fingerprint()
        model.set_demonstrations(source)
        assert model.demonstrations.fingerprint() == demos.fingerprint()
