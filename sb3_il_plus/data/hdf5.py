"""Reading HDF5 without trust: numbers only, from this one file, of the size that they claim.

HDF5 executes nothing, but a file can point into other files of the reader's machine, claim a
terabyte that it does not hold, or hold groups in circles. All of this is refused here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sb3_il_plus.errors import FileError, MissingExtraError

_MAGIC = b"\x89HDF\r\n\x1a\n"

_LARGE = 2**26
"""From this size on, a claimed size is compared with what is stored."""

_MOST_COMPRESSION = 2000
"""Higher than what HDF5's own filters reach, about 1000 for zeros."""


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def import_h5py() -> Any:
    """Import h5py.

    :raises MissingExtraError: it is not installed
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            f"HDF5 files need h5py: pip install 'sb3_il_plus[minari]' ({error})"
        ) from error
    return h5py


def dataset(group: Any, name: str) -> Any | None:
    """The array `name` of a file or group, not read yet; None where there is none.

    :raises FileError: it is not an array of numbers that is stored in this file
    """
    found = _item(group, name)
    if found is None:
        return None
    if not hasattr(found, "dtype"):
        raise FileError(f"{name} is a group, not an array")
    if found.dtype.kind not in "biuf" or found.shape is None or not found.shape:
        raise FileError(
            f"{name} is of type {found.dtype} and shape {found.shape}, not numbers, one row a step"
        )
    return found


def subgroup(group: Any, name: str) -> Any | None:
    """The group `name` of a file or group; None where there is none.

    :raises FileError: it is no group of this file
    """
    found = _item(group, name)
    if found is not None and hasattr(found, "dtype"):
        raise FileError(f"{name} is an array, not a group")
    return found


def check_everything(file: Any) -> None:
    """Look at all items of a file that a library is about to read.

    :raises FileError: one points elsewhere, stands in two places (so that reading might never come
        to an end), or claims a size that it does not have
    """
    _check_groups(file, {_address(file["/"])})


def _check_groups(group: Any, seen: set[int]) -> None:
    for name in group:
        found = _item(group, name)
        if found is None or hasattr(found, "dtype"):
            continue
        if _address(found) in seen:
            raise FileError(f"the group {found.name} stands in two places")
        seen.add(_address(found))
        _check_groups(found, seen)


def _address(group: Any) -> int:
    """Where in the file a group is."""
    return int(import_h5py().h5o.get_info(group.id).addr)


def _item(group: Any, name: str) -> Any | None:
    h5py = import_h5py()
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise FileError(f"{name} points to somewhere else, and is not followed")
    found = group[name]
    if isinstance(found, h5py.Dataset):
        if found.external or found.is_virtual:
            raise FileError(f"{name} points into other files, and is not followed")
        _check_filters(found, name)
        stored = found.id.get_storage_size()
        if found.nbytes > max(_LARGE, _MOST_COMPRESSION * stored):
            raise FileError(
                f"{name} claims {found.nbytes:,} bytes, but {stored:,} are stored; it was never "
                "completely written"
            )
    return found


def _check_filters(array: Any, name: str) -> None:
    """HDF5 itself says no more than that a folder of plug-ins cannot be opened."""
    stored, filters = array.id.get_create_plist(), import_h5py().h5z
    for i in range(stored.get_nfilters()):
        number, *_ = stored.get_filter(i)
        if not filters.filter_avail(number):
            raise FileError(
                f"{name} is compressed by HDF5's filter {number}, which is not installed; "
                "try: pip install hdf5plugin, and import it"
            )
