"""Demonstrations as Minari data sets, the standard of the Farama Foundation, in HDF5 or Arrow.

A data set lives under an id in Minari's own store, where `minari list` and `minari.load_dataset`
find it, or in a folder of your choice with the same layout. What Minari has no place for:

* rewards that are unknown are written as NaN, so that nobody can mistake them for rewards;
* our metadata, the spaces with the order of their keys, and checksums stand under `sb3_il_plus` in
  its metadata;
* what `Demonstrations` cannot hold (text, nested or tuple spaces) is refused.

Data sets that others made are read just the same, episode by episode. What is peculiar to the Arrow
storage is in `minari_arrow.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_il_plus.data.demonstrations import Demonstrations, Episode
from sb3_il_plus.data.hdf5 import check_everything, import_h5py
from sb3_il_plus.data.header import Checksums, Header
from sb3_il_plus.data.hints import Hints
from sb3_il_plus.data.minari_arrow import as_stored, check_files
from sb3_il_plus.data.reference_scores import REFERENCE_KEYS
from sb3_il_plus.data.stream import (
    Source,
    Steps,
    first_of,
    joined,
    of_episodes,
    reading,
    refuse_what_it_lacks,
)
from sb3_il_plus.errors import DataError, FileError, MissingExtraError, UserError
from sb3_il_plus.files import atomic_folder

if TYPE_CHECKING:
    from minari.data_collector import EpisodeBuffer

_OURS = "sb3_il_plus"
_DATA = "data"
"""Minari keeps a data set's files in this folder of it."""


def save_minari(source: Source, target: str | Path, data_format: str = "hdf5") -> Path:
    """Write a Minari data set; it appears complete or not at all.

    :param source: demonstrations, or a stream of pieces
    :param target: an id such as `"CartPole/expert-v0"`, which must be new, or a folder (a `Path`,
        or a string that begins with `/`, `.` or `~`), where an older data set is replaced
    :param data_format: Minari's storage, "hdf5" or "arrow"
    :return: the folder of the data set
    :raises FileError: the target is taken, not a valid id, or cannot be written
    :raises MissingExtraError: Minari is not installed
    """
    storage_type = _import_storage()
    folder = folder_of(target)
    if folder.exists() and not (_is_path(target) and _may_replace(folder)):
        raise FileError(
            f"{str(folder)!r} exists and is not replaced; "
            "choose another name, or the next version of the id"
        )
    first, pieces = first_of(source)
    _refuse_what_minari_lacks(first)
    # Unlike Minari's create_dataset_from_buffers, this neither asks for an author nor makes the
    # environment, and it can be done beside the store.
    with atomic_folder(folder) as temporary, _needing_storage(data_format):
        storage = storage_type.new(
            temporary / _DATA,
            observation_space=first.observation_space,
            action_space=first.action_space,
            env_spec=_env_spec(first.metadata.get("env_id")),
            data_format=data_format,
            jpeg_encoding=False,
        )
        size, sums = storage.get_size, Checksums()
        # Minari sums up all files after each episode, which takes the square of their time.
        storage.get_size = lambda: 0.0
        for piece in pieces:
            stored = as_stored(piece) if data_format == "arrow" else piece
            storage.update_episodes(map(_buffer, stored.episodes()))
            sums.add(stored)
        facts = _metadata(Header.of(first, sums), target, folder)
        storage.update_metadata({**facts, "dataset_size": float(size())})
    return folder


def save_minari_arrow(source: Source, target: str | Path) -> Path:
    """`save_minari` with Minari's Arrow storage."""
    return save_minari(source, target, data_format="arrow")


def load_minari(source: str | Path) -> Demonstrations:
    """Read a whole Minari data set into memory: see `read_minari`."""
    pieces = read_minari(source)
    with reading(source, "Minari data set"):
        return joined(pieces)


def read_minari(source: str | Path, hints: Hints | None = None) -> Iterator[Demonstrations]:
    """Read a Minari data set from the local store or from a folder, without downloading anything.

    :param source: as in `save_minari`
    :param hints: not needed, as Minari stores the spaces
    :return: a stream of pieces
    :raises FileError: there is none, or it is damaged; the message names it
    :raises DataError: its values contradict each other or its spaces
    :raises MissingExtraError: Minari is not installed
    """
    storage_type = _import_storage()
    folder = folder_of(source)
    data = folder if (folder / "metadata.json").is_file() else folder / _DATA
    if not data.is_dir():
        hint = "" if _is_path(source) else f"; to download it: minari download {source}"
        raise FileError(f"there is no Minari data set {str(source)!r} ({folder}){hint}")
    with reading(source, "Minari data set"):
        raw = storage_type.read_raw_metadata(data)
        if not all(type(raw[key]) is str for key in ("observation_space", "action_space")):
            # Minari would run the environment that the file names to ask for its spaces.
            raise FileError("its metadata does not hold the spaces")
        with _needing_storage(raw["data_format"]):
            yield from _pieces(storage_type.read(data), raw)


def is_in_store(name: str) -> bool:
    """Whether Minari is installed and its local store has a data set of this id."""
    try:
        _import_storage()
        return not _is_path(name) and (folder_of(name) / _DATA).is_dir()
    except UserError:
        return False


def is_id(name: str | Path) -> bool:
    """Whether a name is an id as Minari's store has them, and no path."""
    try:
        return not _is_path(name) and bool(folder_of(name))
    except (ImportError, UserError):
        return False


def is_dataset(folder: Path) -> bool:
    """Whether a folder looks like a Minari data set."""
    return _data_format(folder) is not None


def is_arrow_dataset(folder: Path) -> bool:
    """Whether a folder looks like a Minari data set in Arrow storage."""
    return _data_format(folder) == "arrow"


def _data_format(folder: Path) -> str | None:
    for file in (folder / "metadata.json", folder / _DATA / "metadata.json"):
        if file.is_file():
            try:
                return str(json.loads(file.read_text())["data_format"])
            except (KeyError, RecursionError, TypeError, ValueError):
                return "damaged"
    return None


def _import_storage() -> Any:
    try:
        import h5py  # noqa: F401
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise MissingExtraError(
            f"Minari data sets need Minari: pip install 'sb3_il_plus[minari]' ({error})"
        ) from error
    return MinariStorage


@contextmanager
def _needing_storage(data_format: str) -> Iterator[None]:
    """Turn the absence of a storage's library into our message."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"Minari's storage {data_format!r} needs more: pip install 'sb3_il_plus[minari]' "
            f"({error})"
        ) from error


def _is_path(target: str | Path) -> bool:
    return isinstance(target, Path) or target.startswith(("/", ".", "~"))


def folder_of(target: str | Path) -> Path:
    """Where a data set is, or would be: a path, or the folder of an id in Minari's store."""
    if _is_path(target):
        # Minari's own code fails on relative paths.
        return Path(target).expanduser().absolute()
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage.datasets_root_dir import get_dataset_path

    try:
        parse_dataset_id(str(target))
    except (TypeError, ValueError) as error:
        raise FileError(
            f"{target!r} is no id of a Minari data set; ids look like 'CartPole/expert-v0', and a "
            f"folder is given as Path({target!r}) or './{target}'"
        ) from error
    return get_dataset_path(str(target))


def _may_replace(folder: Path) -> bool:
    """Never delete what we cannot have written."""
    return folder.is_dir() and (is_dataset(folder) or not any(folder.iterdir()))


def _refuse_what_minari_lacks(piece: Demonstrations) -> None:
    refuse_what_it_lacks(piece, "Minari", dicts=True)
    if isinstance(piece.observation_space, spaces.Dict):
        for key in piece.observation_space.spaces:
            if not key or "/" in key or key.startswith("."):
                raise FileError(
                    f"HDF5 cannot store an observation called {key!r}; rename it, or save as .npz"
                )


def _env_spec(env_id: Any) -> gym.envs.registration.EnvSpec | None:
    """The specification of a registered environment, which Minari can rebuild it from."""
    if not isinstance(env_id, str):
        return None
    from sb3_il_plus.environments import register_namespace  # with it comes torch

    try:
        register_namespace(env_id)
        return gym.spec(env_id)
    except (MissingExtraError, gym.error.Error):
        return None


def _metadata(header: Header, target: str | Path, folder: Path) -> dict[str, Any]:
    from minari import __version__ as minari_version

    entries: dict[str, Any] = {
        "dataset_id": _id_for(folder) if _is_path(target) else str(target),
        "minari_version": minari_version,
        _OURS: header.to_json(),
    }
    if isinstance(header.metadata.get("expert"), str):
        entries["algorithm_name"] = header.metadata["expert"]
    # Under the same names at the top, where minari.get_normalized_score looks for them.
    return entries | {k: v for k, v in header.metadata.items() if k in REFERENCE_KEYS}


def _id_for(folder: Path) -> str:
    """A valid id for a data set outside the store, from the name of its folder."""
    name = re.sub(r"[^\w-]", "-", folder.name)
    return name if re.search(r"\w-v\d+$", name) else f"{name}-v0"


def _buffer(episode: Episode) -> EpisodeBuffer:
    from minari.data_collector import EpisodeBuffer

    flags = np.zeros((2, len(episode)), dtype=bool)
    flags[:, -1] = episode.terminated, episode.truncated
    unknown = np.full(len(episode), np.nan, dtype=np.float32)
    return EpisodeBuffer(
        observations=episode.observations,
        actions=episode.actions,
        rewards=unknown if episode.rewards is None else episode.rewards,
        terminations=flags[0],
        truncations=flags[1],
    )


def _pieces(storage: Any, raw: Mapping[str, Any]) -> Iterator[Demonstrations]:
    if raw.get(_OURS) is None:
        found = storage.observation_space, storage.action_space
        pieces = of_episodes(_episodes(storage, found[0]), *found, _foreign_metadata(raw))
        yield from _counted(pieces, raw)
        return
    header = Header.from_json(raw[_OURS])
    pieces = of_episodes(
        _episodes(storage, header.observation_space),
        header.observation_space,
        header.action_space,
        header.metadata,
    )
    # Minari's own tools may have added episodes, but never changed or removed some.
    grown = int(raw["total_steps"]) > header.n_transitions
    yield from _counted(pieces if grown else header.verified(pieces), raw)


def _counted(pieces: Iterator[Demonstrations], raw: Mapping[str, Any]) -> Iterator[Demonstrations]:
    """Make sure that as many steps are found as Minari's metadata says."""
    n_steps = 0
    for piece in pieces:
        n_steps += len(piece)
        yield piece
    if n_steps != raw["total_steps"]:
        raise FileError(f"it has {n_steps} steps; its metadata says {raw['total_steps']}")


def _episodes(storage: Any, observation_space: spaces.Space) -> Iterator[Steps]:
    rewards_known = True
    for number, (entry, facts) in enumerate(_entries(storage)):
        actions = _plain(entry["actions"], "actions", storage.action_space)
        if "total_steps" in facts and int(facts["total_steps"]) != len(actions):
            raise FileError(
                f"episode {number} gives {len(actions)} of its {facts['total_steps']} steps"
            )
        rewards = np.asarray(entry["rewards"])
        if number == 0:
            rewards_known = not np.isnan(rewards).all()
        yield Steps(
            observations=_observations(entry["observations"], observation_space),
            actions=actions,
            rewards=rewards if rewards_known else None,
            terminations=np.asarray(entry["terminations"]),
            truncations=np.asarray(entry["truncations"]),
        )


def _entries(storage: Any) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """What Minari returns for each episode, and for its metadata."""
    numbers = range(int(storage.total_episodes))
    if storage.FORMAT == "hdf5":
        with import_h5py().File(storage.data_path / "main_data.hdf5", "r") as file:
            check_everything(file)
        both = storage.get_episodes(numbers), storage.get_episode_metadata(numbers)
        yield from zip(*both, strict=True)
        return
    for number in numbers:
        if storage.FORMAT == "arrow":  # and not Parquet, which trusts nothing
            check_files(storage.data_path / str(number))
        # One at a time: asked for many, the storage would mix up the parts of long ones.
        (entry,), (facts,) = storage.get_episodes([number]), storage.get_episode_metadata([number])
        yield entry, facts


def _observations(value: Any, space: spaces.Space) -> Any:
    """In the order of the space's keys, which HDF5 does not keep."""
    if isinstance(space, spaces.Dict):
        return {
            key: _plain(value[key], f"observations[{key!r}]", entry)
            for key, entry in space.spaces.items()
        }
    return _plain(value, "observations", space)


def _plain(value: Any, name: str, space: spaces.Space) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise DataError(f"{name}: spaces such as {space} are not handled; flatten them first")
    return value


def _foreign_metadata(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What others say about their data set, under our names."""
    metadata = {"minari_id": raw.get("dataset_id"), "expert": raw.get("algorithm_name")}
    metadata |= {key: raw.get(key) for key in REFERENCE_KEYS}
    if isinstance(raw.get("env_spec"), str):
        metadata["env_id"] = json.loads(raw["env_spec"]).get("id")
    return {key: value for key, value in metadata.items() if value is not None}
