"""A front end for any terminal, over SSH as well: a line for each state, a key for each answer.

A terminal cannot tell when a key goes up, so games move in turns here. Where standard input is no
terminal, it is read line by line, a key's name on each.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sb3_il_plus.human.game import Game, View
from sb3_il_plus.human.keys import key_name

_SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "[C": "right",
    "[D": "left",
    "OA": "up",
    "OB": "down",
    "OC": "right",
    "OD": "left",
    "[3~": "delete",
}
_CHARACTERS = {
    "\x1b": "escape",
    "\x7f": "backspace",
    "\b": "backspace",
    "\n": "enter",
    "\r": "enter",
}
_CHARACTERS["\t"] = "tab"

_SEQUENCE_SECONDS = 0.05
"""A key that sends several characters sends them within this time."""


class TerminalFrontEnd:
    """Reads keys from standard input, and writes to standard output."""

    turns_only = True

    def run(self, game: Game) -> None:
        """Show a game until it is finished.

        Standard input that ends means that the person stopped.
        """
        game.turns = True
        print(f"keys: {game.view().keys}", flush=True)
        with _keys() as keys:
            while not game.finished:
                _show(game.view())
                key = next(keys, "escape")
                game.press(key)
                game.release(key)
        _show(game.view())

    def close(self) -> None:
        """Nothing to close."""


def _show(view: View) -> None:
    text = f"{view.headline}  {view.detail}  {view.picture}".rstrip()
    print(f"{view.message}\n{text}" if view.message else text, flush=True)


@contextmanager
def _keys() -> Iterator[Iterator[str]]:
    """The keys that a person presses, as long as the block lasts."""
    if not sys.stdin.isatty():
        yield (key_name(line.rstrip("\n")) for line in sys.stdin if line.strip())
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)  # keys at once, and Ctrl-C still interrupts
        yield _read_keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _read_keys(descriptor: int) -> Iterator[str]:
    while True:
        first = os.read(descriptor, 1)
        if not first:
            return
        if first == b"\x1b" and select.select([descriptor], [], [], _SEQUENCE_SECONDS)[0]:
            sequence = _sequence(descriptor)
            if sequence in _SEQUENCES:
                yield _SEQUENCES[sequence]
            continue
        character = first.decode("latin-1")
        yield _CHARACTERS.get(character, key_name(character))


def _sequence(descriptor: int) -> str:
    """What follows an escape character, up to the letter or `~` that ends it."""
    text = ""
    while select.select([descriptor], [], [], _SEQUENCE_SECONDS)[0]:
        text += os.read(descriptor, 1).decode("latin-1")
        if len(text) > 1 and (text[-1].isalpha() or text[-1] == "~"):
            break
    return text
