"""Demonstrations as Minari data sets, the standard of the Farama Foundation (HDF5 storage).

A data set lives under an id in Minari's own store, where `minari list` and `minari.load_dataset`
find it, or in a folder of your choice with the same layout. What Minari has no place for:

* rewards that are unknown are written as NaN, so that nobody can mistake them for rewards;
* our metadata, the spaces with the order of their keys, and a fingerprint of the columns stand
  under `sb3_il_plus` in its metadata;
* what `Demonstrations` cannot hold (text, nested or tuple spaces) is refused.

Data sets that others made are read just the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_il_plus.data.assembly import from_episodes
from sb3_il_plus.data.demonstrations import Demonstrations, Episode
from sb3_il_plus.data.metadata import as_json, library_versions
from sb3_il_plus.environments import register_namespace
from sb3_il_plus.errors import DataError, FileError, MissingExtraError, UserError
from sb3_il_plus.files import atomic_folder
from sb3_il_plus.spaces import space_from_json, space_to_json

if TYPE_CHECKING:
    from minari.data_collector import EpisodeBuffer

_OURS = "sb3_il_plus"
_DATA = "data"
"""Minari keeps a data set's files in this folder of it."""


def save_minari(demonstrations: Demonstrations, target: str | Path) -> Path:
    """Write a Minari data set; it appears complete or not at all.

    :param target: an id such as `"CartPole/expert-v0"`, which must be new, or a folder (a `Path`,
        or a string that begins with `/`, `.` or `~`), where an older data set is replaced
    :return: the folder of the data set
    :raises FileError: the target is taken, not a valid id, or cannot be written
    :raises MissingExtraError: Minari is not installed
    """
    storage_type = _import_storage()
    folder = _folder(target)
    if folder.exists() and not (_is_path(target) and _may_replace(folder)):
        raise FileError(
            f"{str(folder)!r} exists and is not replaced; "
            "choose another name, or the next version of the id"
        )
    _refuse_what_minari_lacks(demonstrations)
    # Unlike Minari's create_dataset_from_buffers, this neither asks for an author nor makes the
    # environment, and it can be done beside the store.
    with atomic_folder(folder) as temporary:
        storage = storage_type.new(
            temporary / _DATA,
            observation_space=demonstrations.observation_space,
            action_space=demonstrations.action_space,
            env_spec=_env_spec(demonstrations.metadata.get("env_id")),
            data_format="hdf5",
            jpeg_encoding=False,
        )
        storage.update_metadata(_metadata(demonstrations, target, folder))
        storage.update_episodes(map(_buffer, demonstrations.episodes()))
    return folder


def load_minari(source: str | Path) -> Demonstrations:
    """Read a Minari data set from the local store or from a folder, without downloading anything.

    :param source: as in `save_minari`
    :raises FileError: there is none, or it is damaged; the message names it
    :raises DataError: its values contradict each other or its spaces
    :raises MissingExtraError: Minari is not installed
    """
    storage_type = _import_storage()
    folder = _folder(source)
    data = folder if (folder / "metadata.json").is_file() else folder / _DATA
    if not data.is_dir():
        hint = "" if _is_path(source) else f"; to download it: minari download {source}"
        raise FileError(f"there is no Minari data set {str(source)!r} ({folder}){hint}")
    try:
        raw = storage_type.read_raw_metadata(data)
        if not all(type(raw[key]) is str for key in ("observation_space", "action_space")):
            # Minari would run the environment that the file names to ask for its spaces.
            raise FileError("its metadata does not hold the spaces")
        return _read(storage_type.read(data), raw)
    except UserError as error:
        raise type(error)(f"Minari data set {str(source)!r}: {error}") from error
    except Exception as error:  # whatever Minari stumbles over, the data set is damaged
        raise FileError(
            f"{str(source)!r} is not a complete Minari data set ({type(error).__name__}: {error})"
        ) from error


def is_in_store(name: str) -> bool:
    """Whether Minari is installed and its local store has a data set of this id."""
    try:
        _import_storage()
        return not _is_path(name) and (_folder(name) / _DATA).is_dir()
    except UserError:
        return False


def is_dataset(folder: Path) -> bool:
    """Whether a folder looks like a Minari data set."""
    return any((inner / "metadata.json").is_file() for inner in (folder, folder / _DATA))


def _import_storage() -> Any:
    try:
        import h5py  # noqa: F401
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise MissingExtraError(
            f"Minari data sets need Minari: pip install 'sb3_il_plus[minari]' ({error})"
        ) from error
    return MinariStorage


def _is_path(target: str | Path) -> bool:
    return isinstance(target, Path) or target.startswith(("/", ".", "~"))


def _folder(target: str | Path) -> Path:
    if _is_path(target):
        return Path(target).expanduser()
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


def _refuse_what_minari_lacks(demonstrations: Demonstrations) -> None:
    if demonstrations.action_masks is not None:
        raise FileError("Minari has no place for action masks; save as .npz")
    if isinstance(demonstrations.observation_space, spaces.Dict):
        for key in demonstrations.observation_space.spaces:
            if not key or "/" in key or key.startswith("."):
                raise FileError(
                    f"HDF5 cannot store an observation called {key!r}; rename it, or save as .npz"
                )


def _env_spec(env_id: Any) -> gym.envs.registration.EnvSpec | None:
    """The specification of a registered environment, which Minari can rebuild it from."""
    if not isinstance(env_id, str):
        return None
    try:
        register_namespace(env_id)
        return gym.spec(env_id)
    except (MissingExtraError, gym.error.Error):
        return None


def _metadata(demonstrations: Demonstrations, target: str | Path, folder: Path) -> dict[str, Any]:
    from minari import __version__ as minari_version

    metadata = as_json(demonstrations.metadata)
    entries: dict[str, Any] = {
        "dataset_id": _id_for(folder) if _is_path(target) else str(target),
        "minari_version": minari_version,
        _OURS: {
            "metadata": metadata,
            "versions": library_versions(),
            "observation_space": space_to_json(demonstrations.observation_space),
            "action_space": space_to_json(demonstrations.action_space),
            "fingerprint": demonstrations.fingerprint(),
            "n_transitions": len(demonstrations),
        },
    }
    if isinstance(metadata.get("expert"), str):
        entries["algorithm_name"] = metadata["expert"]
    return entries


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


def _read(storage: Any, raw: Mapping[str, Any]) -> Demonstrations:
    ours = raw.get(_OURS)
    if ours is None:
        found = storage.observation_space, storage.action_space, _foreign_metadata(raw)
        return from_episodes(list(_episodes(storage, storage.observation_space)), *found)
    observation_space = space_from_json(ours["observation_space"])
    demonstrations = from_episodes(
        list(_episodes(storage, observation_space)),
        observation_space,
        space_from_json(ours["action_space"]),
        ours["metadata"],
    )
    # Episodes may have been added with Minari's own tools since; a changed value is damage.
    untouched = ours["n_transitions"] == len(demonstrations)
    if untouched and ours["fingerprint"] != demonstrations.fingerprint():
        raise FileError("its columns are not those that were saved; the files are damaged")
    return demonstrations


def _episodes(storage: Any, observation_space: spaces.Space) -> Iterator[Episode]:
    for number, entry in enumerate(storage.get_episodes(range(storage.total_episodes))):
        rewards, flags = entry["rewards"], (entry["terminations"], entry["truncations"])
        for name, column in zip(("terminations", "truncations"), flags, strict=True):
            if column[:-1].any():
                raise DataError(
                    f"{name}: episode {number}, step {int(np.argmax(column))} is true, but the "
                    "episode goes on after it"
                )
        yield Episode(
            observations=_observations(entry["observations"], observation_space),
            actions=_plain(entry["actions"], "actions", storage.action_space),
            rewards=None if np.isnan(rewards).all() else rewards,
            terminated=bool(flags[0][-1]),
            truncated=bool(flags[1][-1]),
        )


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
    if isinstance(raw.get("env_spec"), str):
        metadata["env_id"] = json.loads(raw["env_spec"]).get("id")
    return {key: value for key, value in metadata.items() if value is not None}
