"""People as DAgger's teachers: labelling afterwards, or taking over while the learner drives.

    folder/round-000/states.npz      the states that the learner visited        (labelling)
                     states.csv      the same as a table, to read
                     frames/         a picture of each, 00000.png and so on
                     labels.csv      state,action: filled by a person, or by anyone
                     episodes.npz    whole episodes, with marks of who acted    (taking over)

Everything is in these files at once, so a round can be stopped, or killed, at any moment and go on
days later: what was driven is not driven again, and what was labelled is not asked for again.
"""

from __future__ import annotations

import csv
import io
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.assembly import keep_steps
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.npz import load_npz, save_npz
from sb3_il_plus.data.state_only import with_actions
from sb3_il_plus.errors import UserError
from sb3_il_plus.experts.teacher import Lesson, Teacher
from sb3_il_plus.files import atomic_write
from sb3_il_plus.human.game import FrontEnd, SessionStopped
from sb3_il_plus.human.keys import KeyMap
from sb3_il_plus.human.labels import LabelSession, LabelSheet
from sb3_il_plus.human.play import PlaySession
from sb3_il_plus.human.recording import Recording

_MOST_COLUMNS = 32
"""Numbers of an observation that the table shows."""


class LabelLater(Teacher):
    """The learner drives a round alone; then each state that it visited gets a label.

    :param folder: of the session
    :param keys: what keys mean
    :param show: the person's front end; None where others write the labels into the files
    :param patience: seconds between two looks at these files
    """

    def __init__(
        self, folder: str | Path, keys: KeyMap, show: FrontEnd | None, patience: float = 1.0
    ) -> None:
        self.folder, self.keys, self.show, self.patience = Path(folder), keys, show, patience
        self._frames: Path | None = None
        self._n_seen = 0

    def watch(self, venv: VecEnv) -> None:
        """Keep a picture of the state."""
        if self._frames is None or venv.render_mode != "rgb_array":
            return
        frame = venv.get_images()[0]
        if frame is not None:
            from PIL import Image

            Image.fromarray(frame[..., :3]).save(
                self._frames / f"{self._n_seen:05d}.png", compress_level=1
            )
        self._n_seen += 1

    def teach(
        self,
        round_num: int,
        n_steps: int,
        drive: Callable[[], Demonstrations],
        act: Callable[[Any], np.ndarray],
    ) -> Lesson:
        """Have the round driven, unless it was, and all of its states labelled.

        :raises SessionStopped: the person stopped before
        """
        folder = round_folder(self.folder, round_num)
        if not (folder / "states.npz").exists():
            self._drive(folder, drive)
        states = load_npz(folder / "states.npz")

        def open_sheet() -> LabelSheet:
            path = folder / "labels.csv"
            return LabelSheet(path, states.action_space, len(states), self.keys)

        if self.show is None:
            return _lesson(states, self._wait(folder, open_sheet))
        sheet = open_sheet()
        if sheet.missing:
            self.show.run(LabelSession(states, sheet, self.keys, folder / "frames"))
        if sheet.missing:
            raise SessionStopped(f"{len(sheet.missing)} of {len(states)} states have no label yet")
        return _lesson(states, sheet)

    def _drive(self, folder: Path, drive: Callable[[], Demonstrations]) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed while it drove
        self._frames, self._n_seen = folder / "frames", 0
        self._frames.mkdir(parents=True)
        states = drive().without_actions()
        self._frames = None
        with atomic_write(folder / "states.csv") as file:
            file.write(_table(states, folder).encode())
        save_npz(states, folder / "states.npz")

    def _wait(self, folder: Path, open_sheet: Callable[[], LabelSheet]) -> LabelSheet:
        """Until others have labelled all states; what they write wrongly is said once."""
        print(
            f"waiting for a line STATE,ACTION for each state in {folder / 'labels.csv'}; "
            "states.csv and frames/ beside it show the states",
            flush=True,
        )
        said = ""
        while True:
            problem = ""
            try:
                sheet = open_sheet()
                if not sheet.missing:
                    return sheet
            except UserError as error:
                problem = str(error)
            if problem and problem != said:
                print(f"not used: {problem}", flush=True)
            said = problem
            time.sleep(self.patience)


class TakeOver(Teacher):
    """The learner drives, and a person who watches takes over: HG-DAgger (Kelly et al. 2019).

    Only steps in which the person acted are learned from, as there.

    :param folder: of the session
    :param env: in which they drive, a copy of its own
    :param keys: what keys mean
    :param show: the person's front end
    :param metadata: of the episodes
    :param fps: steps in a second; None for the environment's own
    :param seed: of the environment
    """

    def __init__(
        self,
        folder: str | Path,
        env: gym.Env,
        keys: KeyMap,
        show: FrontEnd,
        metadata: Mapping[str, Any],
        *,
        fps: float | None = None,
        turns: bool | None = None,
        seed: int = 0,
    ) -> None:
        self.folder, self.env, self.keys, self.show = Path(folder), env, keys, show
        self.metadata, self.fps, self.turns, self.seed = dict(metadata), fps, turns, seed

    def teach(
        self,
        round_num: int,
        n_steps: int,
        drive: Callable[[], Demonstrations],
        act: Callable[[Any], np.ndarray],
    ) -> Lesson:
        """Have both drive until the round has its steps.

        :raises SessionStopped: the person stopped before
        """
        recording = Recording(
            round_folder(self.folder, round_num) / "episodes.npz",
            self.env.observation_space,
            self.env.action_space,
            {**self.metadata, "round": round_num},
        )
        with closing(recording):
            if recording.n_steps < n_steps:
                session = PlaySession(
                    self.env,
                    self.keys,
                    recording,
                    learner=act,
                    n_steps=n_steps,
                    fps=self.fps,
                    turns=self.turns,
                    seed=self.seed + round_num,
                )
                with closing(session):
                    self.show.run(session)
        if recording.n_steps < n_steps:
            raise SessionStopped(f"{recording.n_steps} of {n_steps} steps are driven")
        driven = recording.demonstrations
        assert driven is not None and driven.intervened is not None
        if not driven.intervened.any():
            return Lesson(None, len(driven))
        own = replace(keep_steps(driven, driven.intervened), intervened=None)
        return Lesson(own, len(driven))


def _lesson(states: Demonstrations, sheet: LabelSheet) -> Lesson:
    return Lesson(with_actions(states, sheet.actions()).validate(), len(states))


def round_folder(folder: Path, round_num: int) -> Path:
    """Where a round is kept."""
    return folder / f"round-{round_num:03d}"


def _table(states: Demonstrations, folder: Path) -> str:
    """The states as a table that people and their programs read.

    :param folder: with the pictures
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    index = np.arange(len(states))
    values: dict[str, np.ndarray] = {}
    for name, column in col.named(states.observations_at(index)):
        rows = column.reshape(len(index), -1)
        if rows.shape[1] <= _MOST_COLUMNS:
            values |= {f"{name}[{i}]": rows[:, i] for i in range(rows.shape[1])}
    writer.writerow(["state", "episode", "step", "frame", *values])
    steps = index - states.offsets[states.episode_index]
    for state in index:
        picture = f"frames/{state:05d}.png" if (folder / f"frames/{state:05d}.png").exists() else ""
        numbers = (column[state] for column in values.values())
        writer.writerow([state, states.episode_index[state], steps[state], picture, *numbers])
    return text.getvalue()
