"""`Recording`: a file of demonstrations that grows by an episode at a time.

After each episode the file is written anew, complete or not at all. The episode in progress goes to
a small file beside it every now and then, so that a process that is killed loses at most the last
moment; whoever opens the recording next finds these steps at its end, as an episode that was cut.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.formats import load
from sb3_il_plus.data.npz import load_npz, save_npz
from sb3_il_plus.data.state_only import stand_ins
from sb3_il_plus.data.validation import fit_to
from sb3_il_plus.errors import DataError, UserError
from sb3_il_plus.files import check_writable
from sb3_il_plus.spaces import space_to_json

_NOTE_SHARE = 0.05
"""Of the time that may be spent on writing the episode in progress."""

_AFTER = "episodes_before"


class Recording:
    """Episodes in a file, which only one process writes.

    :param path: in any format of `Demonstrations.save`; an existing recording of the same
        environment is continued
    :param metadata: of the demonstrations, with the `env_id`
    :raises UserError: another process is recording to the file
    :raises DataError: it holds something else
    """

    def __init__(
        self,
        path: str | Path,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        metadata: Mapping[str, Any],
    ) -> None:
        self.path = Path(path)
        self.metadata = dict(metadata)
        self.resumed = False
        self._running_path = self.path.with_name(f".{self.path.name}.running.npz")
        self._written_at, self._write_seconds = -1e9, 0.0
        check_writable(self.path.absolute().parent)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"another process is recording to {str(self.path)!r}; stop it, or name another file"
            ) from None
        self.demonstrations: Demonstrations | None = None
        try:
            _check_form(self.path, observation_space, action_space)
            self._open(observation_space, action_space)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        if self.path.exists():
            known = load(self.path, observation_space=observation_space, action_space=action_space)
            found, expected = known.metadata.get("env_id"), self.metadata.get("env_id")
            if found not in (None, expected):  # some formats have no place for it
                raise DataError(
                    f"{str(self.path)!r} holds demonstrations of {found}, not of {expected}; "
                    "name another file with --out"
                )
            self.demonstrations = fit_to(known, observation_space, action_space)
            self.resumed = True
        if not self._running_path.exists():
            return
        cut = load_npz(self._running_path)
        # Otherwise the episode ended, and its process was killed before it tidied up.
        if cut.metadata.get(_AFTER) == self.n_episodes:
            facts = {key: value for key, value in cut.metadata.items() if key != _AFTER}
            self.append(_with(cut, facts))
            self.resumed = True
        self._running_path.unlink(missing_ok=True)

    @property
    def n_episodes(self) -> int:
        """Episodes in the file, those that were cut among them."""
        return 0 if self.demonstrations is None else self.demonstrations.n_episodes

    @property
    def n_complete(self) -> int:
        """Episodes that ended by themselves."""
        known = self.demonstrations
        return 0 if known is None else int((known.terminations | known.truncations).sum())

    @property
    def n_steps(self) -> int:
        """Steps in the file."""
        return 0 if self.demonstrations is None else len(self.demonstrations)

    def append(self, episode: Demonstrations) -> None:
        """Add an episode, and write the file.

        :raises FileError: it cannot be written; the episode is kept beside it, for the next try
        """
        known = self.demonstrations
        together = episode if known is None else Demonstrations.concatenate([known, episode])
        try:
            together.save(self.path)
        except UserError:
            self.note_running(episode, at_once=True)
            raise
        self.demonstrations = together
        self._running_path.unlink(missing_ok=True)

    def discard_last(self) -> bool:
        """Take the last episode out of the file; false if there is none."""
        known = self.demonstrations
        if known is None:
            return False
        if known.n_episodes > 1:
            self.demonstrations = known[:-1]
            self.demonstrations.save(self.path)
        else:
            _remove(self.path)
            self.demonstrations = None
        return True

    def note_running(self, running: Demonstrations | None, at_once: bool = False) -> None:
        """Keep the steps of the episode in progress; None where there are none any more.

        :param at_once: even if it was done a moment ago
        """
        if running is None:
            self._running_path.unlink(missing_ok=True)
            return
        if not at_once and not self.due:
            return
        start = time.monotonic()
        save_npz(_with(running, {**running.metadata, _AFTER: self.n_episodes}), self._running_path)
        self._written_at = time.monotonic()
        self._write_seconds = self._written_at - start

    @property
    def due(self) -> bool:
        """Whether it is time to keep the episode in progress."""
        pause = max(1.0, self._write_seconds / _NOTE_SHARE)
        return time.monotonic() - self._written_at >= pause

    def close(self) -> None:
        """Let other processes write the file."""
        self._lock.release()


def _check_form(path: Path, observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """Write a step that means nothing, elsewhere: what cannot be saved is not worth playing.

    :raises FileError: the format is unknown, or has no place for such observations
    :raises MissingExtraError: it needs a library that is not installed
    """
    for space in (observation_space, action_space):
        space_to_json(space)
    observations = {n: stand_ins(s, 2) for n, s in col.named_spaces(observation_space)}
    step = {"actions": stand_ins(action_space, 1), "rewards": np.zeros(1)}
    ends = {"terminations": np.array([True]), "truncations": np.array([False])}
    columns = {**observations, **step, **ends, "offsets": np.array([0, 1])}
    with tempfile.TemporaryDirectory(prefix="sb3_il_plus-") as folder:
        nothing = Demonstrations.from_columns(columns, observation_space, action_space)
        nothing.save(Path(folder) / path.name)


def _with(data: Demonstrations, metadata: Mapping[str, Any]) -> Demonstrations:
    return dataclasses.replace(data, metadata=metadata)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
