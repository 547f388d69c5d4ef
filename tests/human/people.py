"""People that tests play: scripted ones, at a game without a front end and at the page's socket."""

import os
import pty
import queue
import sys
import threading
from contextlib import contextmanager

import pexpect.fdpexpect

from sb3_il_plus.cli import app
from sb3_il_plus.human.web import BrowserFrontEnd


def balance(observation):
    """Keep CartPole's pole up."""
    position, velocity, angle, turning = observation
    return int(0.1 * position + 0.3 * velocity + 2 * angle + turning > 0)


def observation_in(view):
    """The numbers that a person reads."""
    detail = view["detail"] if isinstance(view, dict) else view.detail
    return [float(number) for number in detail.strip("[] ").split()]


def hold(game, key, n_ticks):
    """Hold a key for some steps."""
    game.press(key)
    for _ in range(n_ticks):
        game.tick()
    game.release(key)


class ScriptedPerson:
    """A front end whose person knows what to press at each view; `press(game)` says it."""

    turns_only = True

    def __init__(self, press):
        self.press = press

    def run(self, game):
        game.turns = True
        while not game.finished:
            key = self.press(game)
            game.press(key)
            game.release(key)

    def close(self):
        pass


@contextmanager
def served(play, **options):
    """Run `play(front_end)` in a thread; gives the front end and what waits for the result."""
    opened = queue.Queue()
    result = queue.Queue()

    def run():
        try:
            front_end = BrowserFrontEnd(**options)
            opened.put(front_end)
            result.put(play(front_end))
        except BaseException as error:
            opened.put(error)
            result.put(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    front_end = opened.get(timeout=60)

    def wait():
        thread.join(60)
        found = result.get(timeout=1)
        if isinstance(found, BaseException):
            raise found
        return found

    yield front_end, wait


def at_terminal(*arguments):
    """Run the command in a process with a terminal of its own, without importing anything anew.

    :return: what types and reads there
    """
    process, terminal = pty.fork()
    if process == 0:
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        code = 1
        try:
            app([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    child = pexpect.fdpexpect.fdspawn(terminal, timeout=60, encoding="utf-8")
    child.process = process
    return child
