"""Labels: kept the moment they are given, checked when they are read, and given by keys."""

import numpy as np
import pytest
from gymnasium import spaces
from people import balance

from sb3_il_plus import collect
from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.human.keys import key_map
from sb3_il_plus.human.labels import LabelSession, LabelSheet

CHOICES = spaces.Discrete(3)
TORQUE = spaces.Box(-2, 2, (1,), np.float32)
PLANE = spaces.Box(-1, 1, (2,), np.float32)


@pytest.mark.parametrize(
    ("space", "action"), [(CHOICES, 2), (TORQUE, [0.25]), (PLANE, [0.1, -1.0])]
)
def test_what_is_put_is_read_back_exactly(tmp_path, space, action):
    action = np.asarray(action, space.dtype)
    sheet = LabelSheet(tmp_path / "labels.csv", space, 3)
    sheet.put(1, action)
    sheet.put(2, np.zeros(space.shape, space.dtype))
    sheet.put(2, action)
    again = LabelSheet(tmp_path / "labels.csv", space, 3)
    assert again.missing == [0] and again.get(0) is None
    np.testing.assert_array_equal(again.get(2), action)
    again.put(0, action)
    assert again.actions().dtype == space.dtype
    np.testing.assert_array_equal(again.actions(), np.stack([action] * 3))


def test_what_people_and_programs_write(tmp_path, cartpole):
    path = tmp_path / "labels.csv"
    path.write_text('\ufeffstate,action\r\n0,1\n1, right\n\n2,\n3,"0"\n4,0', encoding="utf-8")
    sheet = LabelSheet(path, spaces.Discrete(2), 5, key_map(cartpole))
    assert sheet.missing == [2]
    assert [int(sheet.get(i)) for i in (0, 1, 3, 4)] == [1, 1, 0, 0]
    sheet.put(2, np.array(1))  # the last line had no end
    np.testing.assert_array_equal(
        LabelSheet(path, spaces.Discrete(2), 5, key_map(cartpole)).actions(), [1, 1, 1, 0, 0]
    )


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("1,7", UserError, r"line 2: state 1 has 7, which lies outside the action space Discrete"),
        ("1,jump", UserError, "line 2: state 1 has 'jump', which lies outside"),
        ("1,0.5", UserError, "state 1 has 0.5, which lies outside"),
        ("9,0", UserError, "line 2: there is no state 9, but 3 from 0 on"),
        ("x,0", FileError, r"line 2: 'x,0' is not understood; write STATE,ACTION"),
        ("1", FileError, "'1' is not understood"),
        ("-1,0", FileError, "'-1,0' is not understood"),
        ("1,NaN", UserError, "lies outside"),
    ],
)
def test_wrong_labels_are_named(tmp_path, line, error, message):
    path = tmp_path / "labels.csv"
    path.write_text(f"state,action\n{line}\n")
    with pytest.raises(error, match=message):
        LabelSheet(path, CHOICES, 3)


def test_what_is_no_text(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"\x80\x04\xff")
    with pytest.raises(FileError, match=r"labels\.csv' cannot be read"):
        LabelSheet(tmp_path / "labels.csv", CHOICES, 3)


def test_a_label_outside_the_action_space_is_not_written(tmp_path):
    sheet = LabelSheet(tmp_path / "labels.csv", CHOICES, 3)
    with pytest.raises(UserError, match=r"state 1: the label is .*7.*outside the action space"):
        sheet.put(1, np.array(7))
    assert not (tmp_path / "labels.csv").exists()
    with pytest.raises(UserError, match="lacks the labels of 3 states"):
        sheet.actions()


@pytest.fixture
def labelling(cartpole, tmp_path):
    states = collect(balance, "CartPole-v1", n_timesteps=3, seed=0)

    def open_session():
        sheet = LabelSheet(tmp_path / "labels.csv", states.action_space, 3)
        return LabelSession(states, sheet, key_map(cartpole), tmp_path / "frames")

    return open_session


def tap(game, *keys):
    for key in keys:
        game.press(key)
        game.release(key)


def test_a_person_goes_through_the_states(labelling):
    game = labelling()
    assert game.view().headline == "state 0 of 3 (episode 0, step 0)"
    tap(game, "left", "right")
    assert game.view().message == "state 1: 1" and game.view().count == 2
    tap(game, "backspace", "left")  # the second was wrong
    tap(game, "x")
    assert "the key 'x' means nothing here: left=0" in game.view().message
    tap(game, "enter")  # CartPole has no idle action
    assert "'enter' means nothing here" in game.view().message
    tap(game, "right")
    assert game.view().headline == "all 3 states are labelled: enter goes on"
    tap(game, "left")
    assert not game.finished
    tap(game, "enter")
    assert game.finished
    np.testing.assert_array_equal(game.sheet.actions(), [0, 0, 1])


def test_stopped_and_continued(labelling):
    tap(labelling(), "left", "escape")
    game = labelling()
    assert game.view().message == "1 states were labelled before"
    assert game.view().headline.startswith("state 1 of 3")
    tap(game, "right", "right")
    np.testing.assert_array_equal(labelling().sheet.actions(), [0, 1, 1])


def test_keys_held_together_are_one_label(tmp_path):
    from test_keys import Blank

    env = Blank(PLANE)
    keys = key_map(env, '{"left": [-1, 0], "up": [0, 1]}')
    states = collect(lambda o: 0, "CartPole-v1", n_timesteps=2, seed=0)
    sheet = LabelSheet(tmp_path / "labels.csv", PLANE, 2)
    game = LabelSession(states, sheet, keys, tmp_path)
    game.press("left")
    game.press("up")
    game.release("left")
    game.release("up")
    tap(game, "enter")
    np.testing.assert_array_equal(sheet.actions(), [[-1, 1], [0, 0]])
