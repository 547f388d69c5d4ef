"""Labels: what should have been done in each state of a round, in a text file, and how they arise.

`LabelSheet` is the file: one line for each label, appended the moment it is given, so that a killed
process loses none, and readable and writable by anyone. `LabelSession` is the `Game` of filling it.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.human.game import View
from sb3_il_plus.human.keys import CONTROLS, KeyMap, checked_action, key_name, show_action
from sb3_il_plus.human.play import show_observation

HEADER = ["state", "action"]


class LabelSheet:
    """Labels by number of the state, in a CSV file with the columns `state` and `action`.

    An action is a number, a JSON list, or the name of a key. The last label of a state counts.

    :param path: the file; it need not exist
    :param action_space: of the labels
    :param n_states: how many states there are
    :param keys: whose names may stand for actions
    :raises FileError: a line cannot be read
    :raises UserError: a label lies outside the action space; both name the line
    """

    def __init__(
        self, path: Path, action_space: spaces.Space, n_states: int, keys: KeyMap | None = None
    ) -> None:
        self.path, self._space, self.n_states, self._keys = path, action_space, n_states, keys
        self._labels: dict[int, np.ndarray] = {}
        self._read()

    def _read(self) -> None:
        if not self.path.exists():
            return
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                self._labels = dict(self._lines(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise FileError(f"{str(self.path)!r} cannot be read: {error}") from error

    def _lines(self, file: Iterator[str]) -> Iterator[tuple[int, np.ndarray]]:
        for number, row in enumerate(csv.reader(file), 1):
            cells = [cell.strip() for cell in row]
            if not any(cells) or (number == 1 and cells == HEADER):
                continue
            where = f"{str(self.path)!r}, line {number}"
            if len(cells) < 2 or not cells[0].isdecimal():
                raise FileError(f"{where}: {','.join(row)!r} is not understood; write STATE,ACTION")
            state = int(cells[0])
            if state >= self.n_states:
                raise UserError(
                    f"{where}: there is no state {state}, but {self.n_states} from 0 on"
                )
            if cells[1]:  # an empty one is still to come
                yield state, self._action(",".join(cells[1:]), f"{where}: state {state} has")

    def _action(self, text: str, where: str) -> np.ndarray:
        try:
            return checked_action(json.loads(text), self._space, where)
        except ValueError as error:
            named = None if self._keys is None else self._keys.action([key_name(text)])
            if named is not None and self._keys is not None and self._keys.knows(key_name(text)):
                return named
            if isinstance(error, UserError):
                raise
            return checked_action(text, self._space, where)

    def put(self, state: int, action: np.ndarray) -> None:
        """Write a label, at once.

        :raises UserError: it lies outside the action space
        """
        action = checked_action(action, self._space, f"state {state}: the label is")
        text = json.dumps(action.tolist())
        line = f'{state},"{text}"\n' if "," in text else f"{state},{text}\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            if file.tell() == 0:
                line = ",".join(HEADER) + "\n" + line
            elif not self._ends_with_newline():
                line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        self._labels[state] = action

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"

    def get(self, state: int) -> np.ndarray | None:
        """A label; None where it is still to come."""
        return self._labels.get(state)

    @property
    def missing(self) -> list[int]:
        """States without a label."""
        return [state for state in range(self.n_states) if state not in self._labels]

    def actions(self) -> np.ndarray:
        """All labels, shape (N, *action shape).

        :raises UserError: some are missing
        """
        if self.missing:
            raise UserError(f"{str(self.path)!r} lacks the labels of {len(self.missing)} states")
        return np.stack([self._labels[state] for state in range(self.n_states)])


class LabelSession:
    """A person goes through the states of a round, and says what should be done in each.

    A label is given when a key goes up again, so that keys can be held together.

    :param states: of the round
    :param sheet: where labels go; one that is partly filled is continued
    :param keys: what keys mean
    :param frames: folder with a picture of each state, `00000.png` and so on
    """

    fps = 30.0
    turns = True

    def __init__(
        self, states: Demonstrations, sheet: LabelSheet, keys: KeyMap, frames: Path
    ) -> None:
        self.states, self.sheet, self.keys, self.frames = states, sheet, keys, frames
        self.finished = False
        self._held: list[str] = []
        self._message = ""
        missing = sheet.missing
        self._position = missing[0] if missing else sheet.n_states
        if missing and len(missing) < sheet.n_states:
            self._message = f"{sheet.n_states - len(missing)} states were labelled before"

    @property
    def _at_end(self) -> bool:
        return self._position >= self.sheet.n_states

    def press(self, key: str) -> None:
        """A key goes down."""
        if self.finished:
            return
        if key in CONTROLS:
            self._control(key)
        elif not self.keys.knows(key):
            self._message = f"the key {key!r} means nothing here: {self.keys.describe()}"
        elif self._at_end:
            self._message = "all states are labelled: enter goes on, backspace goes back"
        elif key not in self._held:
            self._held.append(key)

    def release(self, key: str) -> None:
        """A key goes up: what was held is the label."""
        if key in self._held:
            action = self.keys.action(self._held)
            self._held = []
            if action is not None:
                self._label(action)

    def _control(self, key: str) -> None:
        self._message = ""
        if key == "escape":
            self.finished = True
        elif key == "backspace":
            self._position = max(0, self._position - 1)
        elif key == "enter" and self._at_end:
            self.finished = True
        elif key == "enter" and self.keys.idle is not None:
            self._label(self.keys.idle)
        else:
            self._message = f"the key {key!r} means nothing here: {self.keys.describe()}"

    def _label(self, action: np.ndarray) -> None:
        self.sheet.put(self._position, action)
        self._message = f"state {self._position}: {show_action(action)}"
        missing = self.sheet.missing
        later = [state for state in missing if state > self._position]
        self._position = (later or missing or [self.sheet.n_states])[0]

    def leave(self) -> None:
        """Let go of the keys."""
        self._held = []

    def tick(self) -> None:
        """Nothing moves by itself."""

    def view(self) -> View:
        """Which state it is, and what the keys do."""
        n_done, n_states = self.sheet.n_states - len(self.sheet.missing), self.sheet.n_states
        if self._at_end:
            headline, detail = f"all {n_states} states are labelled: enter goes on", ""
        else:
            row = np.array([self._position])
            episode = int(self.states.episode_index[self._position])
            step = self._position - int(self.states.offsets[episode])
            observation = col.take(self.states.observations_at(row), 0)
            headline = f"state {self._position} of {n_states} (episode {episode}, step {step})"
            detail = show_observation(observation)
        return View(
            headline=headline,
            detail=detail,
            keys=f"{self._map_text()}; backspace: the state before, escape: stop",
            message=self._message,
            phase="finished" if self.finished else "labelling",
            count=n_done,
            picture=str(self._picture) if self._picture.exists() else "",
        )

    def _map_text(self) -> str:
        text = self.keys.describe().rpartition(", no key=")[0]
        return text if self.keys.idle is None else f"{text}, enter={show_action(self.keys.idle)}"

    def frame(self) -> np.ndarray | None:
        """The picture of the state."""
        if not self._picture.exists():
            return None
        from PIL import Image

        with Image.open(self._picture) as image:
            return np.asarray(image.convert("RGB"))

    @property
    def _picture(self) -> Path:
        return self.frames / f"{min(self._position, self.sheet.n_states - 1):05d}.png"
