"""The columns of a D4RL file: looked over when it is opened, read by rows when they are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.hdf5 import dataset
from sb3_il_plus.errors import DataError, FileError

SCANNED_STEPS = 2**18
"""Rows that are read at a time where a whole column has to be looked at."""

_COLUMNS = (
    "observations",
    "actions",
    "rewards",
    "terminals",
    "timeouts",
    "next_observations",
)

_MINARI = "; it seems to be the inside of a Minari data set: give the folder of that instead"


class FileColumns:
    """The arrays of a file, none of them read yet, whose forms fit each other.

    :param file: an open HDF5 file
    :raises FileError: there are no observations or no actions
    :raises DataError: the columns contradict each other; names every contradiction
    """

    def __init__(self, file: Any) -> None:
        found = {name: dataset(file, name) for name in _COLUMNS}
        self.arrays = {name: array for name, array in found.items() if array is not None}
        missing = {"observations", "actions"} - set(self.arrays)
        if missing:
            raise FileError(
                f"it has no {' and no '.join(sorted(missing))}; its entries are "
                f"{', '.join(sorted(file)[:10])}{_MINARI if 'episode_0' in file else ''}"
            )
        self.n_steps = len(self.arrays["actions"])
        broken = [
            f"{name} has {len(array)} rows for {self.n_steps} actions"
            for name, array in self.arrays.items()
            if len(array) != self.n_steps
        ]
        broken += [
            f"{name} has shape {self.arrays[name].shape}; one number a step is needed"
            for name in ("rewards", "terminals", "timeouts")
            if name in self.arrays and self.arrays[name].size != len(self.arrays[name])
        ]
        if "next_observations" in self and self._row_shapes_differ():
            broken.append("next_observations and observations differ in shape")
        if self.n_steps == 0:
            broken.append("it holds no steps")
        if broken:
            raise DataError("; ".join(broken))

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def _row_shapes_differ(self) -> bool:
        shapes = {self.arrays[name].shape[1:] for name in ("observations", "next_observations")}
        return len(shapes) > 1

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of a column in the machine's own byte order; scalars have shape (n,)."""
        values = self.arrays[name][start:stop]
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if name in ("rewards", "terminals", "timeouts"):
            return values.reshape(len(values))
        return values

    def flags(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of a column of flags as booleans; all false where the file lacks it."""
        if name not in self:
            return np.zeros(stop - start, dtype=bool)
        return col.as_flags(self.rows(name, start, stop), name, start)

    def all_flags(self, name: str) -> np.ndarray:
        """A whole column of flags, one byte a step."""
        starts = range(0, self.n_steps, SCANNED_STEPS)
        return np.concatenate(
            [self.flags(name, start, min(start + SCANNED_STEPS, self.n_steps)) for start in starts]
        )
