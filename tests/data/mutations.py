"""Damaged data sets of every format, and what loading them does; for `test_mutations.py`.

    python tests/data/mutations.py START STOP

damages files START to STOP - 1, each in a way of its own that depends on its number alone, loads
them and prints a line for each, and at the end, as errors are, how often each damage had each
outcome in each format. It is a program, so that crashes and hangs of libraries show.
"""

import json
import random
import sys
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
from gymnasium import spaces

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.arrays import from_arrays
from sb3_il_plus.data.d4rl import DROPPED_LAST
from sb3_il_plus.errors import UserError

sys.path.append(str(Path(__file__).parents[1]))
from damage import BYTES, judge, workplace

ACTION_SPACE = spaces.Discrete(3)


def demonstrations(with_dict: bool) -> Demonstrations:
    rng = np.random.default_rng(0)
    lengths = (7, 1, 12, 5)
    observations = [rng.normal(size=(length + 1, 3)).astype(np.float32) for length in lengths]
    if with_dict:
        observations = [
            {"state": o, "image": rng.integers(0, 256, (len(o), 4, 4, 1), dtype=np.uint8)}
            for o in observations
        ]
    return from_arrays(
        observations,
        [rng.integers(0, 3, length) for length in lengths],
        [rng.normal(size=length) for length in lengths],
        terminations=[True, False, True, False],
        action_space=ACTION_SPACE,
        metadata={"env_id": "Some-v0", "seed": 3},
    )


def foreign_d4rl(demos: Demonstrations, path: Path) -> Path:
    """A D4RL file as others write it."""
    demos.save(path)
    with h5py.File(path, "a") as file:
        del file["sb3_il_plus"]
        file["infos/qpos"] = np.zeros((len(demos), 2))
    return path


def foreign_folder(demos: Demonstrations, path: Path) -> Path:
    """`imitation`'s folder as it writes it itself."""
    demos.save(path, "imitation")
    (path / "sb3_il_plus.json").unlink()
    return path


def foreign_minari(demos: Demonstrations, path: Path, format: str) -> Path:
    """A Minari data set as others write it."""
    demos.save(path, format)
    metadata = path / "data" / "metadata.json"
    content = json.loads(metadata.read_text())
    del content["sb3_il_plus"]
    metadata.write_text(json.dumps(content))
    return path


def old_npz(demos: Demonstrations, path: Path) -> Path:
    columns = demos.columns()
    np.savez_compressed(
        path,
        obs=columns["observations"],
        acts=columns["actions"],
        rews=columns["rewards"],
        infos=np.array([{}] * len(demos), dtype=object),
        terminal=np.ones(demos.n_episodes, bool),
        indices=demos.offsets[1:-1],
    )
    return path


def plain_npz(demos: Demonstrations, path: Path) -> Path:
    index = np.arange(len(demos))
    np.savez(
        path,
        observations=demos.observations_at(index),
        next_observations=demos.next_observations_at(index),
        actions=demos.actions,
        rewards=demos.rewards,
        terminals=demos.terminations,
        timeouts=demos.truncations,
    )
    return path


def originals(folder: Path) -> dict[str, Path]:
    """One sound data set in each format, ours and others', by name; `*` marks others'."""
    flat, nested = demonstrations(False), demonstrations(True)
    return {
        "npz": nested.save(folder / "npz.npz"),
        "mapped": nested.save(folder / "mapped.mapped"),
        "d4rl": flat.save(folder / "d4rl.hdf5"),
        "minari": nested.save(folder / "minari"),
        "minari-arrow": nested.save(folder / "minari-arrow", "minari-arrow"),
        "imitation": flat.save(folder / "imitation", "imitation"),
        "d4rl*": foreign_d4rl(flat, folder / "other.hdf5"),
        "minari*": foreign_minari(nested, folder / "other-minari", "minari"),
        "minari-arrow*": foreign_minari(nested, folder / "other-arrow", "minari-arrow"),
        "imitation*": foreign_folder(flat, folder / "other-imitation"),
        "imitation-npz*": old_npz(flat, folder / "old.npz"),
        "plain-npz*": plain_npz(flat, folder / "plain.npz"),
    }


# -- damage --------------------------------------------------------------------------------------


def change_array(column: np.ndarray, rng: random.Random) -> np.ndarray | None:
    """Another shape or dtype, or None to leave the column out."""
    changes = (
        lambda c: None,
        lambda c: c[:-1],
        lambda c: c[:0],
        lambda c: np.concatenate([c, c]),
        lambda c: c[..., None],
        lambda c: c.reshape(-1)[:1],
        lambda c: np.array(5.0),
        lambda c: c.astype(np.float16) if c.dtype.kind == "f" else c.astype(np.float64) + 0.5,
        lambda c: c.astype(">f8"),
        lambda c: c.astype(np.complex64),
        lambda c: c.astype("S3"),
        lambda c: np.full(c.shape, np.nan),
        lambda c: np.full(c.shape, -(2**40)),
    )
    while True:
        try:
            return rng.choice(changes)(column)
        except (IndexError, TypeError, ValueError):
            continue  # not every change can be made to every column


def damage_npz(path: Path, rng: random.Random) -> None:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name != "infos.npy"]
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(names)
    with np.load(path) as arrays:
        column = change_array(arrays[name.removesuffix(".npy")], rng)
    with zipfile.ZipFile(path, "w") as archive:
        for other, content in entries.items():
            if other != name:
                archive.writestr(other, content)
        if column is not None:
            with archive.open(name, "w") as entry:
                np.lib.format.write_array(entry, np.asanyarray(column))


def damage_hdf5(path: Path, rng: random.Random) -> None:
    with h5py.File(path, "a") as file:
        found = []
        file.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
        name = rng.choice([name for name in found if "infos" not in name])
        column = change_array(file[name][()], rng)
        del file[name]
        if column is not None:
            file[name] = column


def damage_json(path: Path, rng: random.Random) -> None:
    content = json.loads(path.read_text())
    place = content
    while isinstance(place, dict) and place:
        key = rng.choice(sorted(place))
        if not isinstance(place[key], dict) or not place[key] or rng.random() < 0.4:
            values = (None, [], {}, -1, 2**70, "x", True, [[]], {"type": "Box"})
            if rng.random() < 0.3:
                del place[key]
            else:
                place[key] = rng.choice(values)
            break
        place = place[key]
    path.write_text(json.dumps(content))


def damage_npy(path: Path, rng: random.Random) -> None:
    column = change_array(np.load(path), rng)
    path.unlink() if column is None else np.save(path, column)


def damage_arrow_stream(path: Path, rng: random.Random) -> None:
    with pa.ipc.open_stream(path.read_bytes()) as stream:
        table = stream.read_all()
    name = rng.choice(table.column_names)
    changed = rng.choice(
        [
            lambda t: t.drop_columns([name]),
            lambda t: t.slice(1),
            lambda t: t.slice(0, 0),
            lambda t: t.rename_columns([c + "x" if c == name else c for c in t.column_names]),
            lambda t: t.set_column(0, name, pa.array([None] * len(t))),
            lambda t: t.set_column(0, name, pa.array(["text"] * len(t))),
            lambda t: t.set_column(0, "obs", pa.array([[[1.0], [2.0, 3.0]]] * len(t))),
            lambda t: t.set_column(1, "acts", t.column("acts").take(pa.array([1, 0, 3, 2]))),
        ]
    )(table)
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, changed.schema) as writer:
        writer.write_table(changed)


STRUCTURE = {
    ".npz": damage_npz,
    ".hdf5": damage_hdf5,
    ".json": damage_json,
    ".npy": damage_npy,
}


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file, or one file of a folder, and say how."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    file = rng.choice(files)
    structural = STRUCTURE.get(file.suffix)
    if file.name.startswith("data-") and file.suffix == ".arrow":
        structural = damage_arrow_stream
    if structural is not None and rng.random() < 0.4:
        structural(file, rng)
        return f"{structural.__name__} in {file.name}"
    change = rng.choice(BYTES)
    file.write_bytes(change(file.read_bytes(), rng))
    return f"{change.__name__} in {file.name}"


# -- what loading does ---------------------------------------------------------------------------


def load(name: str, path: Path) -> Demonstrations:
    """Load a data set; those of others do not hold all spaces."""
    return Demonstrations.load(path, **({"action_space": ACTION_SPACE} if "*" in name else {}))


def outcome(name: str, path: Path, sound: Demonstrations, what: str) -> str:
    """`refused` or `loaded`, or else what is wrong."""
    try:
        loaded = load(name, path)
    except UserError as error:
        return "refused" if str(path) in str(error) else f"WRONG: no path in {error!r}"
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {error}"
    loaded.validate()
    if "*" not in name:  # our own files carry checksums
        if loaded.fingerprint() != sound.fingerprint():
            return "WRONG: other data"
        # Without our header, a Minari data set is like anybody else's.
        same = loaded.metadata == sound.metadata or "minari_id" in loaded.metadata
        return "loaded" if same else "WRONG: other metadata"
    lengths, wanted = loaded.episode_lengths.tolist(), sound.episode_lengths.tolist()
    if "damage_arrow_stream" in what:  # may leave whole episodes out, of which nobody can know
        wanted = wanted[len(wanted) - len(lengths) :]
        return "loaded" if lengths == wanted else f"WRONG: {lengths} instead of {wanted}"
    if DROPPED_LAST in loaded.metadata:  # the column of next observations has another name now
        n_dropped = int((~sound.terminations[sound.offsets[1:] - 1]).sum())
        wanted = [sum(wanted) - n_dropped]
    if sum(lengths) != sum(wanted):
        return f"WRONG: {sum(lengths)} transitions instead of {sum(wanted)}"
    return "loaded"


def main(start: int, stop: int) -> None:
    with workplace() as folder:
        sources = originals(folder)
        sound = {name: load(name, path) for name, path in sources.items()}
        judged = judge(
            sources,
            folder,
            range(start, stop),
            damage,
            lambda name, path, what, rng: outcome(name, path, sound[name], what),
        )
        counts = Counter(
            (name, what.split(" in ")[0], result.split(":")[0]) for name, what, result in judged
        )
    report(counts)


def report(counts: Counter[tuple[str, str, str]]) -> None:
    for place, title in enumerate(("format", "damage")):
        print(f"{title:22}{'loaded':>8}{'refused':>8}{'WRONG':>8}", file=sys.stderr)
        for row in sorted({key[place] for key in counts}):
            found = [
                sum(n for key, n in counts.items() if (key[place], key[2]) == (row, outcome))
                for outcome in ("loaded", "refused", "WRONG")
            ]
            print(f"{row:22}" + "".join(f"{n:8}" for n in found), file=sys.stderr)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
