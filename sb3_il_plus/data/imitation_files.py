"""What `imitation` saves: HuggingFace data set folders, and the npz files of its older versions.

    obs, acts, rews     one list for each episode (`rews` where there are rewards)
    terminal            whether the episode ended, for whatever reason
    infos               a string of jsonpickle for each step; the last one tells why it ended

The folders are read with pyarrow alone and the strings as plain JSON: neither `datasets` nor
`jsonpickle` runs, as the latter builds whatever objects a string names. Why an episode ended is
read as in `imitation.py`: an end that nothing explains is a truncation. The infos of the old npz
files are pickles, which nothing here opens, so all their ends are truncations.

Neither form holds spaces. Folders that we write have them in a file of their own, with metadata and
checksums, so they are read back without loss; `imitation` reads these folders as its own.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sb3_il_plus.data.arrays import guess_observation_space
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.header import Checksums, Header
from sb3_il_plus.data.hints import Hints, warn
from sb3_il_plus.data.imitation import ends_of, info_of
from sb3_il_plus.data.npz import entries_of, read_array
from sb3_il_plus.data.stream import (
    Source,
    Steps,
    first_of,
    of_episodes,
    reading,
    refuse_what_it_lacks,
)
from sb3_il_plus.errors import DataError, FileError, MissingExtraError
from sb3_il_plus.files import atomic_folder

_STATE, _INFO, _OURS = "state.json", "dataset_info.json", "sb3_il_plus.json"
_ARROW_FILE = "data-00000-of-00001.arrow"
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""The last bytes of a complete Arrow stream."""
_NPZ_ENTRIES = ("obs.npy", "acts.npy", "terminal.npy", "indices.npy")


def is_dataset_folder(path: Path) -> bool:
    """Whether `path` is a folder that HuggingFace's `datasets` wrote."""
    return (path / _STATE).is_file() and (path / _INFO).is_file()


def is_old_npz(path: Path) -> bool:
    """Whether `path` is an npz file of an older version of `imitation`."""
    return set(entries_of(path)) >= set(_NPZ_ENTRIES)


def read_imitation(path: str | Path, hints: Hints | None = None) -> Iterator[Demonstrations]:
    """Read the folder that `imitation.data.serialize.save` wrote, piece by piece.

    :param hints: the action space, and the observation space where it shall not be guessed
    :raises FileError: the folder is missing, damaged or of another kind
    :raises DataError: its values contradict each other, or the action space is unknown
    :raises MissingExtraError: pyarrow is not installed
    """
    path = Path(path)
    with reading(path, "data set of imitation"):
        episodes = _episodes(_batches(path))
        ours = path / _OURS
        if not ours.is_file():
            yield from _without_header(episodes, hints or Hints())
            return
        header = Header.from_json(json.loads(ours.read_text("utf-8")))
        facts = header.observation_space, header.action_space, header.metadata
        yield from header.verified(of_episodes(episodes, *facts))


def save_imitation(source: Source, path: str | Path) -> Path:
    """Write a folder that `imitation.data.serialize.load` reads, replacing an older one.

    :param source: demonstrations, or a stream of pieces
    :raises FileError: the path cannot be written, or the format has no place for something
    :raises MissingExtraError: pyarrow is not installed
    """
    pa, path = _import_arrow(), Path(path)
    if path.exists() and not (is_dataset_folder(path) or not any(path.iterdir())):
        raise FileError(f"{str(path)!r} exists and is not replaced; choose another name")
    first, pieces = first_of(source)
    refuse_what_it_lacks(first, "imitation's format", dicts=False)
    sums = Checksums()
    with atomic_folder(path) as folder:
        schema = _record_batch(pa, first).schema
        with (
            pa.OSFile(str(folder / _ARROW_FILE), "wb") as file,
            pa.ipc.new_stream(file, schema) as writer,
        ):
            for piece in pieces:
                writer.write_batch(_record_batch(pa, piece))
                sums.add(piece)
        _write_json(folder / _STATE, {**_EMPTY_STATE, "_data_files": [{"filename": _ARROW_FILE}]})
        _write_json(folder / _INFO, _EMPTY_INFO)
        _write_json(folder / _OURS, Header.of(first, sums).to_json())
    return path


def read_old_npz(path: str | Path, hints: Hints | None = None) -> Iterator[Demonstrations]:
    """Read an npz file that `imitation` before 0.4 saved; its pickled infos stay closed.

    :param hints: the action space, and the observation space where it shall not be guessed
    :raises FileError: the file is missing or damaged
    :raises DataError: its values contradict each other, or the action space is unknown
    """
    with reading(path, "npz file of imitation"), zipfile.ZipFile(path) as archive:
        observations, acts, terminal, indices = (read_array(archive, n) for n in _NPZ_ENTRIES)
        rewards = None
        if "rews.npy" in archive.namelist():
            rewards = read_array(archive, "rews.npy")
        if indices.dtype.kind not in "iu" or terminal.shape != (len(indices) + 1,):
            raise DataError("its indices and its flags of terminal episodes contradict each other")
        if len(observations) != len(acts) + len(terminal):
            raise DataError(
                f"{len(acts)} actions in {len(terminal)} episodes need "
                f"{len(acts) + len(terminal)} observations; it has {len(observations)}"
            )
        if terminal.any():
            warn(
                "why the episodes ended is only in pickled infos, which are not opened: their "
                "ends count as truncations"
            )
        bounds = [0, *indices.tolist(), len(acts)]
        episodes = (
            _steps(
                observations[start + i : stop + i + 1],
                acts[start:stop],
                None if rewards is None else rewards[start:stop],
                bool(terminal[i]),
                {},
            )
            for i, (start, stop) in enumerate(pairwise(bounds))
        )
        yield from _without_header(episodes, hints or Hints())


_EMPTY_STATE: dict[str, Any] = {
    "_fingerprint": "sb3_il_plus",
    "_format_columns": None,
    "_format_kwargs": {},
    "_format_type": None,
    "_output_all_columns": False,
    "_split": None,
}
_EMPTY_INFO = {"citation": "", "description": "", "features": None, "homepage": "", "license": ""}


def _import_arrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError(
            f"imitation's data sets need pyarrow: pip install 'sb3_il_plus[minari]' ({error})"
        ) from error
    return pyarrow


def _without_header(episodes: Iterator[Steps], hints: Hints) -> Iterator[Demonstrations]:
    """Spaces from the hints, or guessed from the first episode."""
    first = next(episodes, None)
    if first is None:
        return
    observation_space = hints.observation_space or guess_observation_space(first.observations)
    yield from of_episodes(
        chain([first], episodes), observation_space, hints.known_action_space(), {}
    )


def _steps(
    observations: np.ndarray,
    acts: np.ndarray,
    rewards: np.ndarray | None,
    terminal: bool,
    info: Any,
) -> Steps:
    flags = np.zeros((2, len(acts)), dtype=bool)
    if len(acts):
        flags[:, -1] = ends_of(terminal, info)
    return Steps(observations, acts, rewards, flags[0], flags[1])


def _batches(path: Path) -> Iterator[Any]:
    """Record batches of episodes, checked by Arrow before anything trusts their offsets."""
    pa = _import_arrow()
    state = json.loads((path / _STATE).read_text("utf-8"))
    if state.get("_indices_data_files"):
        raise FileError("it holds a selection of another data set; save it again with save_to_disk")
    for entry in state["_data_files"]:
        file = path / Path(entry["filename"]).name
        if not file.is_file():
            raise FileError(f"the file {file.name} is missing")
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - len(_END)))
            if opened.read() != _END:  # Arrow itself takes what is there for the whole
                raise FileError(f"the file {file.name} was cut off")
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as batches:
            for batch in batches:
                batch.validate(full=True)
                yield batch


def _episodes(batches: Iterable[Any]) -> Iterator[Steps]:
    numbers = count()
    for batch in batches:
        names = set(batch.schema.names)
        missing = {"obs", "acts", "terminal"} - names
        if missing:
            raise FileError(f"it lacks the columns {', '.join(sorted(missing))}")
        terminal = _dense(batch.column("terminal"), "terminal").astype(bool)
        for row, number in zip(range(batch.num_rows), numbers, strict=False):
            observations, acts, rewards = (
                _dense(batch.column(name)[row].values, f"{name} of episode {number}")
                if name in names
                else None
                for name in ("obs", "acts", "rews")
            )
            infos = batch.column("infos")[row].values if "infos" in names else ()
            assert observations is not None and acts is not None
            yield _steps(observations, acts, rewards, bool(terminal[row]), _read_info(infos))


def _dense(values: Any, name: str) -> np.ndarray:
    """An array from nested lists of equal lengths."""
    shape = [len(values)]
    values = getattr(values, "storage", values)
    while hasattr(values, "flatten") and _is_list(values):
        inner = values.flatten()
        size = len(inner) // max(1, len(values))
        regular = np.unique(values.value_lengths().to_numpy(zero_copy_only=False))
        if values.null_count or (len(values) and regular.tolist() != [size]):
            raise DataError(f"{name}: rows that differ in length cannot form one array")
        shape.append(size)
        values = inner
    array = values.to_numpy(zero_copy_only=False)
    if values.null_count or array.dtype.kind not in "biuf":
        raise DataError(f"{name}: is {values.type}, not an array of numbers")
    return array.reshape(shape)


def _is_list(values: Any) -> bool:
    types = _import_arrow().types
    kind = values.type
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _read_info(infos: Any) -> dict[str, Any]:
    """The flags in an episode's last info; whatever else it holds is not looked at."""
    if infos is None or len(infos) == 0:
        return {}
    try:
        info = json.loads(infos[len(infos) - 1].as_py())
    except (RecursionError, TypeError, ValueError):
        return {}
    flags = {key: _flag(value) for key, value in info.items()} if isinstance(info, dict) else {}
    return {key: flag for key, flag in flags.items() if flag is not None}


def _flag(value: Any) -> bool | None:
    """A boolean, or NumPy's boolean as jsonpickle writes it; None for anything else."""
    if isinstance(value, bool):
        return value
    try:
        encoded = value["py/reduce"][1]["py/tuple"][1]["py/b64"]
    except (IndexError, KeyError, TypeError):
        return None
    return {"AA==": False, "AQ==": True}.get(encoded)


def _record_batch(pa: Any, piece: Demonstrations) -> Any:
    """One row for each episode."""
    ends = piece.offsets[1:] - 1
    infos = np.full(len(piece), "{}", dtype=object)
    infos[ends] = [json.dumps(info_of(episode)) for episode in piece.episodes()]
    terminal = (piece.terminations | piece.truncations)[ends]
    observation_offsets = piece.offsets + np.arange(len(piece.offsets))
    columns = {
        "obs": _lists(pa, piece.observations, observation_offsets),
        "acts": _lists(pa, piece.actions, piece.offsets),
        "infos": _lists(pa, infos, piece.offsets),
        "terminal": pa.array(terminal),
    }
    if piece.rewards is not None:
        columns["rews"] = _lists(pa, piece.rewards, piece.offsets)
    return pa.RecordBatch.from_pydict(columns)


def _lists(pa: Any, column: Any, offsets: np.ndarray) -> Any:
    """Nested lists, one of each episode's rows."""
    kind = pa.string() if column.dtype == object else None
    values = pa.array(np.ascontiguousarray(column).reshape(-1), type=kind)
    for size in reversed(column.shape[1:]):
        n = len(values) // size
        values = pa.ListArray.from_arrays(pa.array(np.arange(n + 1) * size, pa.int32()), values)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1), "utf-8")
