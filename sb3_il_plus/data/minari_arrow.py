"""What is peculiar to Minari's Arrow storage.

It keeps every column in the dtype of its space. It reads one record batch of Arrow for an episode,
so that of longer ones the rest is silently lost. And Arrow ends the whole process over some damaged
files unless it is told to check them first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.hints import warn
from sb3_il_plus.errors import FileError

_MOST_STEPS = 131_071
"""Of an episode: a record batch of Arrow, less one row."""

_NOT_READ = ("_", ".", "metadata.json")
"""Files that begin so are no part of an episode for Minari."""


def as_stored(piece: Demonstrations) -> Demonstrations:
    """A piece in the dtypes of its spaces, as it will be read back.

    :raises FileError: an episode is too long, or its values do not fit
    """
    longest = int(piece.episode_lengths.max())
    if longest > _MOST_STEPS:
        raise FileError(
            f"an episode has {longest:,} steps, and Minari's Arrow storage gives back no more than "
            f"{_MOST_STEPS:,}; use its HDF5 storage"
        )
    wanted = {**dict(col.named_spaces(piece.observation_space)), "actions": piece.action_space}
    columns = piece.columns()
    for name in wanted.keys() & columns.keys():
        space = wanted[name]
        dtype = np.dtype(space.dtype)
        if not np.can_cast(columns[name].dtype, dtype, "same_kind"):
            raise FileError(f"{name}: {columns[name].dtype} does not fit {dtype} of {space}")
        if not np.can_cast(columns[name].dtype, dtype):
            warn(f"{name}: Minari's Arrow storage rounds {columns[name].dtype} to {dtype}")
        columns[name] = columns[name].astype(dtype, copy=False)
    return Demonstrations.from_columns(
        columns, piece.observation_space, piece.action_space, piece.metadata
    )


def check_files(folder: Path) -> None:
    """Let Arrow check the files of an episode, which it would otherwise trust.

    :raises pyarrow.ArrowInvalid: they are damaged
    """
    import pyarrow

    for path in sorted(folder.rglob("*")):
        if path.name.startswith(_NOT_READ) or not path.is_file():
            continue
        with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_file(source) as file:
            for number in range(file.num_record_batches):
                file.get_batch(number).validate(full=True)
