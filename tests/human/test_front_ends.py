"""The terminal and the window: real keys, through a pseudo-terminal and pygame's queue."""

import gymnasium as gym
import numpy as np
import pexpect
import pygame
import pytest
from people import ScriptedPerson, at_terminal

from sb3_il_plus import Demonstrations
from sb3_il_plus.cli import app
from sb3_il_plus.errors import UserError
from sb3_il_plus.human.dagger import human_dagger
from sb3_il_plus.human.record import front_end, record
from sb3_il_plus.human.window import WindowFrontEnd


def test_a_terminal(tmp_path):
    path = tmp_path / "cliff.npz"
    child = at_terminal("record", "--env", CLIFF, "--terminal", "--out", path)
    child.expect("keys: up=0, right=1, down=2, left=3")
    child.expect(r"episode 1: step 0, return 0.0  36")
    for sent, seen in (
        ("x", "the key 'x' means nothing here"),
        ("\x1b[A", r"step 1, return -1.0  24"),  # arrows
        ("\x1bOC", r"step 2, return -2.0  25"),
        ("\x7f", r"the episode in progress \(2 steps\) is taken back"),
        ("\x1b[A", "step 1"),
        ("\x1b[99~", ""),  # a key that we do not know
        ("\x1b[C", "step 2"),
    ):
        child.send(sent)
        child.expect(seen)
    child.send("\x1b")
    child.expect("1 episodes, 2 transitions, return -2.0")
    child.expect(pexpect.EOF)
    recorded = Demonstrations.load(path)
    np.testing.assert_array_equal(recorded.actions, [0, 1])


CLIFF = next(name for name in ("CliffWalking-v1", "CliffWalking-v0") if name in gym.registry)


class _Typist(WindowFrontEnd):
    """A window at which somebody types: what to post when so many frames were drawn."""

    def __init__(self, script):
        super().__init__()
        self.script, self.n_frames = script, 0

    def _draw(self, game):
        super()._draw(game)
        for kind, key in self.script.get(self.n_frames, ()):
            details = {} if key is None else {"key": key}
            pygame.event.post(pygame.event.Event(kind, **details))
        self.n_frames += 1


def test_a_window(tmp_path):
    down, up = pygame.KEYDOWN, pygame.KEYUP
    script = {
        2: [(down, pygame.K_LEFT)],
        5: [(up, pygame.K_LEFT), (down, pygame.K_RIGHT)],
        7: [(pygame.QUIT, None)],
    }
    window = _Typist(script)
    record("CartPole-v1", tmp_path / "mine.npz", show=window, fps=1000)
    recorded = Demonstrations.load(tmp_path / "mine.npz")
    np.testing.assert_array_equal(recorded.actions, [0, 0, 0, 1, 1])
    assert not recorded.terminations.any()


def test_a_window_where_there_is_no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "none")
    pygame.display.quit()
    with pytest.raises(UserError, match=r"no window can be opened here .*--web"):
        front_end("window")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--web", "--terminal"], "choose either --web or --terminal"),
        (["--port", "80"], "--port is for the page in a browser: add --web"),
        (["--keys", "a=7", "--terminal"], "'a' means 7, which lies outside the action space"),
    ],
)
def test_options_that_cannot_be(options, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        app(["record", "--env", "CartPole-v1", "--out", str(tmp_path / "x.npz"), *options])
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_hyperparameter_that_dagger_lacks(capsys, tmp_path):
    arguments = ["dagger-human", "--env", "CartPole-v1", "--out", str(tmp_path), "--terminal"]
    with pytest.raises(SystemExit) as ended:
        app([*arguments, "--set", "n_epoch=2"])
    assert ended.value.code == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "dagger has no hyperparameter 'n_epoch'; did you mean 'n_epochs'" in shown


def test_labelling_in_a_window(tmp_path):
    arrows = [(pygame.KEYDOWN, pygame.K_LEFT), (pygame.KEYUP, pygame.K_LEFT)]
    enter = [(pygame.KEYDOWN, pygame.K_RETURN), (pygame.KEYUP, pygame.K_RETURN)]
    window = _Typist({1: arrows * 40, 3: enter})
    human_dagger("CartPole-v1", tmp_path, n_rounds=1, round_steps=40, show=window, n_epochs=1)
    labels = (tmp_path / "round-000" / "labels.csv").read_text().split()
    assert labels == ["state,action", *(f"{state},0" for state in range(40))]


def test_a_person_is_told_what_to_do(tmp_path):
    seen = []

    def press(game):
        seen.append((game.env.unwrapped.mission, game.view().detail))
        return "escape" if len(seen) > 2 else "up"

    recorded = record("sb3_il_plus/Driving-v0", tmp_path / "mine.npz", show=ScriptedPerson(press))
    missions, details = zip(*seen, strict=True)
    assert all(d.startswith(f"{m}: ") for m, d in seen)
    assert set(missions) <= {"follow", "left", "straight", "right"} and "command" in details[0]
    np.testing.assert_array_equal(recorded.actions, [[0, 1], [0, 1]])


def test_an_unknown_front_end():
    with pytest.raises(UserError, match="there is no front end 'windwo'; did you mean 'window'"):
        front_end("windwo")
