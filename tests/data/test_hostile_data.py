"""Whatever a data set hides in its entries, loading never runs it."""

import json
import pickle
import zlib

import h5py
import numpy as np
import pyarrow as pa
import pytest
from gymnasium import spaces

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.errors import DataError, FileError

CHOICE = spaces.Discrete(2)


class Malice:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def touched(tmp_path):
    path = tmp_path / "touched"
    yield path
    assert not path.exists()


@pytest.fixture
def objects(touched):
    """An array that NumPy can only store as a pickle."""
    return np.array([Malice(touched)] * 3, dtype=object)


@pytest.fixture
def demos():
    return Demonstrations.from_arrays(
        [np.zeros((4, 2), np.float32)],
        [np.zeros(3, int)],
        [np.zeros(3)],
        action_space=CHOICE,
        metadata={"env_id": "CartPole-v1"},
    )


def test_the_payload_works(tmp_path, objects):
    """Otherwise the tests below would show nothing."""
    other = tmp_path / "other"
    np.save(tmp_path / "array.npy", np.array([Malice(other)], dtype=object))
    np.load(tmp_path / "array.npy", allow_pickle=True)
    assert other.exists()


@pytest.mark.parametrize("name", ["obs", "actions", "rewards", "dones", "anything"])
def test_plain_npz(tmp_path, objects, name):
    columns = {"obs": np.zeros((3, 2)), "actions": np.zeros(3, int)}
    np.savez(tmp_path / "data.npz", **{**columns, name: objects})
    if name == "anything":  # is not even looked at
        assert len(Demonstrations.load(tmp_path / "data.npz", action_space=CHOICE)) == 3
        return
    with pytest.raises(FileError, match="Object arrays cannot be loaded"):
        Demonstrations.load(tmp_path / "data.npz", action_space=CHOICE)


@pytest.mark.parametrize("name", ["observations", "actions", "offsets"])
def test_mapped_folders(tmp_path, demos, objects, name):
    folder = demos.save(tmp_path / "data.mapped")
    np.save(folder / f"{name}.npy", objects)
    with pytest.raises(FileError, match=rf"{name}\.npy is not a complete column"):
        Demonstrations.load(folder)


@pytest.mark.parametrize("name", ["observations", "rewards", "sb3_il_plus/header"])
def test_hdf5(tmp_path, demos, touched, name):
    path = demos.save(tmp_path / "data.hdf5")
    payload = np.void(pickle.dumps(Malice(touched)))
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = np.array([payload] * 3)
        file.attrs["pickle"] = payload
        file[name].attrs["pickle"] = payload
    with pytest.raises((FileError, DataError), match=f"{name.split('/')[-1]} is of type"):
        Demonstrations.load(path)


@pytest.mark.parametrize("format", ["minari", "minari-arrow"])
def test_environments_that_minari_would_make(tmp_path, demos, touched, format):
    folder = demos.save(tmp_path / "data", format)
    metadata = folder / "data" / "metadata.json"
    content = json.loads(metadata.read_text())
    specification = json.loads(content["env_spec"])
    specification |= {
        "entry_point": "builtins:open",
        "kwargs": {"file": str(touched), "mode": "w"},
    }
    content["env_spec"] = json.dumps(specification)
    metadata.write_text(json.dumps(content))
    assert len(Demonstrations.load(folder)) == 3  # as it asks nobody for the spaces
    for missing in ("observation_space", "action_space"):
        metadata.write_text(json.dumps({**content, missing: None}))
        with pytest.raises(FileError, match="its metadata does not hold the spaces"):
            Demonstrations.load(folder)


def test_files_that_minari_would_follow(tmp_path, demos):
    """A Minari data set that shows another file of its reader's machine as its own."""
    folder = demos.save(tmp_path / "data")
    secret = demos.save(tmp_path / "secret.hdf5")
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0/rewards"]
        file["episode_0/rewards"] = h5py.ExternalLink(str(secret), "rewards")
    with pytest.raises(FileError, match="rewards points to somewhere else, and is not followed"):
        Demonstrations.load(folder)


@pytest.mark.parametrize("place", ["ladder", "episode_0/infos"])
def test_groups_that_minari_would_never_leave(tmp_path, demos, place):
    """A ladder of links, of which each doubles the number of ways."""
    folder = demos.save(tmp_path / "data")
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        group = file.require_group(place)
        for _ in range(40):
            step = group.create_group("left")
            group["right"], group = step, step
    with pytest.raises(FileError, match=r"the group /.* stands in two places"):
        Demonstrations.load(folder)


def test_a_group_that_holds_itself(tmp_path, demos):
    folder = demos.save(tmp_path / "data")
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_0/infos/self"] = file["/"]
    with pytest.raises(FileError, match=r"the group /.* stands in two places"):
        Demonstrations.load(folder)


def test_sizes_that_minari_would_believe(tmp_path, demos):
    folder = demos.save(tmp_path / "data")
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0/rewards"]
        file.create_dataset("episode_0/rewards", (10**12,), "f8", chunks=(1000,))
    with pytest.raises(FileError, match="rewards claims 8,000,000,000,000 bytes, but 0 are"):
        Demonstrations.load(folder)


@pytest.mark.filterwarnings("ignore:pickle-based deserialization")
@pytest.mark.parametrize("format", ["imitation", "minari-arrow"])
def test_arrow_types_that_hold_pickles(tmp_path, demos, touched, format):
    """Arrow before 15 unpickled what describes a type of somebody's own."""
    folder = demos.save(tmp_path / "data", format)
    (file,) = folder.rglob("*.arrow")
    opened, written = (
        (pa.ipc.open_stream, pa.ipc.new_stream)
        if format == "imitation"
        else (pa.ipc.open_file, pa.ipc.new_file)
    )
    table = opened(pa.py_buffer(file.read_bytes())).read_all()
    kind = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Malice(touched)),
    }
    fields = [field.with_metadata(kind) for field in table.schema]
    with written(str(file), pa.schema(fields)) as writer:
        writer.write_table(pa.Table.from_arrays(table.columns, schema=pa.schema(fields)))
    try:
        assert Demonstrations.load(folder).fingerprint() == demos.fingerprint()
    except FileError as error:
        assert "data' is not a complete" in str(error)


def test_scripts_of_datasets_stay_closed(tmp_path, demos, touched):
    """HuggingFace's library once ran a program of a data set's name that lay beside it."""
    folder = demos.save(tmp_path / "data", "imitation")
    for name in ("data.py", "dataset.py", "__init__.py"):
        (folder / name).write_text(f"open({str(touched)!r}, 'w')")
    info = json.loads((folder / "dataset_info.json").read_text())
    info |= {"builder_name": "data", "homepage": str(folder / "data.py")}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    assert Demonstrations.load(folder).fingerprint() == demos.fingerprint()


def test_names_that_lead_out_of_the_folder(tmp_path, demos):
    """Whatever a data set says its files are called, only those beside it are read."""
    secret = demos.save(tmp_path / "secret", "imitation")
    folder = demos.save(tmp_path / "data", "imitation")
    (file,) = folder.glob("*.arrow")
    file.unlink()
    state = json.loads((folder / "state.json").read_text())
    for name in (f"../secret/{file.name}", str(secret / file.name)):
        state["_data_files"] = [{"filename": name}]
        (folder / "state.json").write_text(json.dumps(state))
        with pytest.raises(FileError, match=f"the file {file.name} is missing"):
            Demonstrations.load(folder)
    mapped = demos.save(tmp_path / "data.mapped")
    np.save(tmp_path / "secret.npy", np.zeros(3))
    content = json.loads((mapped / "header.json").read_text())
    header = content["header"]
    header["columns"]["../secret"] = header["columns"]["rewards"]
    del header["checksum"]
    header["checksum"] = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    (mapped / "header.json").write_text(json.dumps(content))
    with pytest.raises(FileError, match=r"secret\.npy is missing"):
        Demonstrations.load(mapped)


def test_files_of_an_episode_that_arrow_would_trust(tmp_path, demos):
    """Minari reads all files of a folder, whatever their names, and so all of them are checked."""
    folder = demos.save(tmp_path / "data", "minari-arrow")
    (file,) = folder.rglob("*.arrow")
    (file.parent / "deeper").mkdir()
    file.rename(file.parent / "deeper" / "part-0")
    assert Demonstrations.load(folder).fingerprint() == demos.fingerprint()
    hidden = file.parent / "deeper" / "part-0"
    hidden.write_bytes(hidden.read_bytes()[:-20])
    with pytest.raises(FileError, match="is not a complete Minari data set"):
        Demonstrations.load(folder)


def test_pickles_under_other_names(tmp_path, touched):
    for name in ("data.npz", "data.hdf5", "data.pkl", "data.mapped"):
        (tmp_path / name).write_bytes(pickle.dumps(Malice(touched)))
        with pytest.raises(FileError, match=r"\(a pickle, which could run any program"):
            Demonstrations.load(tmp_path / name)
