"""Recording a person: what they did is what is recorded, saved after every episode, and kept."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from gymnasium import spaces
from people import balance, hold

from sb3_il_plus import Demonstrations
from sb3_il_plus.errors import DataError, FileError, UserError
from sb3_il_plus.human.game import visible_env
from sb3_il_plus.human.keys import key_map
from sb3_il_plus.human.play import PlaySession
from sb3_il_plus.human.recording import Recording

FORK = multiprocessing.get_context("fork")  # a process at once, without importing anything anew

FACTS = {"env_id": "CartPole-v1", "expert": "human"}


@pytest.fixture
def session(cartpole, tmp_path):
    """Opens sessions on one file, and closes its recording after each."""
    opened = []

    def open_session(**options):
        if opened:
            opened.pop().close()
        recording = Recording(
            tmp_path / "mine.npz", cartpole.observation_space, cartpole.action_space, FACTS
        )
        opened.append(recording)
        return PlaySession(cartpole, key_map(cartpole), recording, **options)

    yield open_session
    if opened:
        opened.pop().close()


def play_episode(game, key="left"):
    before = game.recording.n_episodes
    game.press(key)
    while game.recording.n_episodes == before:
        game.tick()


def test_what_was_pressed_is_what_was_done(session, tmp_path, cartpole):
    game = session(seed=3)
    for key, n_ticks in (("right", 3), ("left", 2)):
        hold(game, key, n_ticks)
    game.tick()  # no key: the last action again
    game.stop()
    recorded = Demonstrations.load(tmp_path / "mine.npz")
    np.testing.assert_array_equal(recorded.actions, [1, 1, 1, 0, 0, 0])
    assert recorded.metadata["expert"] == "human"
    assert not recorded.terminations.any() and not recorded.truncations.any()
    for row, action in enumerate(recorded.actions[:-1]):  # CartPole's own dynamics
        cartpole.unwrapped.state = recorded.observations[row].astype(np.float64)
        cartpole.unwrapped.steps_beyond_terminated = None
        following = cartpole.unwrapped.step(int(action))[0]
        np.testing.assert_allclose(following, recorded.observations[row + 1], atol=1e-6)


def test_a_tap_between_two_steps_is_not_lost(session):
    game = session()
    hold(game, "left", 1)
    game.press("right")
    game.release("right")
    game.tick()
    game.stop()
    np.testing.assert_array_equal(game.recording.demonstrations.actions, [0, 1])


def test_every_episode_is_saved_as_soon_as_it_ends(session, tmp_path):
    game = session(n_episodes=2)
    play_episode(game)
    first = Demonstrations.load(tmp_path / "mine.npz")
    assert first.n_episodes == 1 and first.terminations[-1]
    assert game.view().phase == "ready" and "episode 1 saved" in game.view().message
    play_episode(game)
    assert game.finished
    assert Demonstrations.load(tmp_path / "mine.npz").n_episodes == 2


def test_the_last_episode_is_taken_back(session, tmp_path):
    game = session()
    play_episode(game, "left")
    play_episode(game, "right")
    hold(game, "left", 2)
    game.press("backspace")
    assert game.view().message == "the episode in progress (2 steps) is taken back"
    game.press("backspace")
    assert game.view().message == "the last episode is taken back; 1 are left"
    assert (Demonstrations.load(tmp_path / "mine.npz").actions == 0).all()
    game.press("backspace")
    assert not (tmp_path / "mine.npz").exists()
    game.press("backspace")
    assert game.view().message == "there is no episode to take back"


def test_paused_steps_are_no_steps(session):
    game = session()
    hold(game, "left", 1)
    game.press("p")
    hold(game, "right", 5)
    assert game.view().message == "paused: p goes on" and game.view().phase == "paused"
    game.press("p")
    hold(game, "right", 1)
    game.stop()
    np.testing.assert_array_equal(game.recording.demonstrations.actions, [0, 1])


def test_leaving_keeps_the_episode_and_lets_go_of_the_keys(session):
    game = session()
    game.press("left")
    game.tick()
    game.leave()
    game.tick()
    assert game.view().phase == "paused"
    game.press("p")
    hold(game, "right", 1)
    game.stop()
    np.testing.assert_array_equal(game.recording.demonstrations.actions, [0, 1])


def test_a_key_outside_the_map_is_named_and_records_nothing(session):
    game = session()
    hold(game, "x", 3)
    expected = "the key 'x' means nothing here: left=0, right=1, no key=the last one again"
    assert game.view().message == expected
    game.press("enter")
    assert game.view().message.startswith("begin with a key: left=0")
    game.stop()
    assert game.recording.demonstrations is None


def test_an_existing_file_is_continued(session):
    play_episode(session(seed=0))
    game = session(seed=0, n_episodes=2)
    assert "is continued: 1 episodes so far" in game.view().message
    play_episode(game)
    assert game.finished
    starts = game.recording.demonstrations.observations[
        [0, game.recording.demonstrations.offsets[1] + 1]
    ]
    assert not np.array_equal(*starts), "the same seed must not begin the same episode twice"


def test_turns_wait_for_keys(session):
    game = session(turns=True)
    for _ in range(5):
        game.tick()
    for key in ("left", "right", "right"):
        game.press(key)
        game.release(key)
    game.stop()
    np.testing.assert_array_equal(game.recording.demonstrations.actions, [0, 1, 1])


def test_frames_are_drawn_once_for_each_step(session):
    game = session()
    first = game.frame()
    assert first.dtype == np.uint8 and first.shape == (400, 600, 3)
    assert game.frame() is first
    hold(game, "left", 12)
    assert not np.array_equal(game.frame(), first)


def test_taking_over_from_a_learner_is_marked(session, tmp_path):
    game = session(learner=lambda observation: np.array(balance(observation)), n_steps=30)
    game.press("enter")
    for _ in range(10):
        game.tick()
    hold(game, "left", 3)
    game.press("tab")
    assert game.view().message == "you act"
    hold(game, "right", 2)
    game.press("tab")
    while not game.finished:
        game.tick()
    recorded = Demonstrations.load(tmp_path / "mine.npz")
    assert len(recorded) == 30
    np.testing.assert_array_equal(np.flatnonzero(recorded.intervened), [10, 11, 12, 13, 14])
    np.testing.assert_array_equal(recorded.actions[10:15], [0, 0, 0, 1, 1])
    drove = ~recorded.intervened
    at = recorded.observations_at(np.flatnonzero(drove))
    np.testing.assert_array_equal(recorded.actions[drove], [balance(row) for row in at])


def test_two_processes_cannot_record_to_one_file(session, tmp_path, cartpole):
    session()
    with pytest.raises(UserError, match=r"another process is recording to .*mine\.npz"):
        Recording(tmp_path / "mine.npz", cartpole.observation_space, cartpole.action_space, FACTS)


def test_a_file_of_another_environment_is_not_continued(tmp_path, cartpole, session):
    play_episode(session())
    session().recording.close()
    other = {**FACTS, "env_id": "Acrobot-v1"}
    with pytest.raises(DataError, match="holds demonstrations of CartPole-v1, not of Acrobot-v1"):
        Recording(tmp_path / "mine.npz", cartpole.observation_space, cartpole.action_space, other)


@pytest.mark.parametrize("fps", [0, -1, 1e9])
def test_fps_out_of_range(session, fps):
    with pytest.raises(UserError, match=r"fps=.* must lie within"):
        session(fps=fps)


def _play_until_killed(path, ready):
    env = visible_env("CartPole-v1")
    recording = Recording(path, env.observation_space, env.action_space, FACTS)
    game = PlaySession(env, key_map(env), recording)
    play_episode(game)
    hold(game, "right", 4)
    recording.note_running(game._running(), at_once=True)
    ready.set()
    time.sleep(60)


def test_killed_in_the_middle_of_an_episode(tmp_path, session):
    ready = FORK.Event()
    process = FORK.Process(target=_play_until_killed, args=(tmp_path / "mine.npz", ready))
    process.start()
    assert ready.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert Demonstrations.load(tmp_path / "mine.npz").n_episodes == 1
    game = session()  # the lock ended with its process
    recorded = game.recording.demonstrations
    assert recorded.n_episodes == 2 and game.recording.n_complete == 1
    np.testing.assert_array_equal(recorded.episode(1).actions, [1, 1, 1, 1])
    assert session().recording.n_episodes == 2, "it is adopted once"


@pytest.mark.parametrize("name", ["mine.mapped", "mine.hdf5", "mine"])
def test_other_formats_are_continued(tmp_path, cartpole, name):
    pytest.importorskip("h5py")
    for number in (1, 2):
        recording = Recording(
            tmp_path / name, cartpole.observation_space, cartpole.action_space, FACTS
        )
        game = PlaySession(cartpole, key_map(cartpole), recording)
        play_episode(game)
        assert recording.n_episodes == number
        recording.close()
    assert Demonstrations.load(tmp_path / name).n_episodes == 2


def test_what_cannot_be_saved_is_not_played(tmp_path, cartpole):
    facts = cartpole.observation_space, cartpole.action_space, FACTS
    with pytest.raises(FileError, match=r"cannot save demonstrations as '\.txt'"):
        Recording(tmp_path / "mine.txt", *facts)
    pytest.importorskip("h5py")
    dicts = spaces.Dict({"a": cartpole.observation_space})
    with pytest.raises(FileError, match="no place for Dict observations"):
        Recording(tmp_path / "mine.hdf5", dicts, cartpole.action_space, FACTS)
    graph = spaces.Graph(spaces.Discrete(2), None)
    with pytest.raises(FileError, match="a space of type Graph cannot be written"):
        Recording(tmp_path / "mine.npz", graph, cartpole.action_space, FACTS)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock"] * 3


def test_an_episode_that_cannot_be_written_is_kept(session, tmp_path, monkeypatch):
    game = session()

    def full(*_):
        raise FileError("no space left on device")

    monkeypatch.setattr(Demonstrations, "save", full)
    with pytest.raises(FileError, match="no space left"):
        play_episode(game)
    monkeypatch.undo()
    again = session()
    assert again.recording.n_episodes == 1 and again.recording.n_complete == 1
