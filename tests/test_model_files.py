"""Model files: damaged, foreign and hostile ones are refused, and nothing in them is executed."""

import base64
import contextlib
import io
import json
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from json_strategies import json_values, quick
from stable_baselines3 import PPO

from sb3_il_plus import BC, GAIL, load_model
from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.serialization import read_archive, write_archive
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo
from sb3_il_plus.testing.task import differing


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model's file."""
    path = tmp_path_factory.mktemp("saved") / "model.zip"
    BC("MlpPolicy", None, echo_demonstrations(), policy_kwargs={"net_arch": [4]}).save(path)
    return path


def rewritten(source: Path, target: Path, **entries: bytes) -> Path:
    """Copy a model file with other content in some entries (`policy` for `policy.pth`)."""
    named = {name if name == "data" else f"{name}.pth": value for name, value in entries.items()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, named.get(name, old.read(name)))
    return target


def json_of(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("data"))


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled(value) -> bytes:
    return pickle.dumps(value)


def pickled_by_torch(value) -> bytes:
    buffer = io.BytesIO()
    th.save({"weight": th.zeros(2), "bomb": value}, buffer)
    return buffer.getvalue()


def pickled_by_old_torch(value) -> bytes:
    buffer = io.BytesIO()
    th.save({"bomb": value}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("smuggle", [pickled, pickled_by_torch, pickled_by_old_torch])
@pytest.mark.parametrize("entry", ["data", "policy", "policy.optimizer"])
@pytest.mark.parametrize("read", [BC.load, load_model, read_archive])
def test_a_smuggled_pickle_is_refused_and_never_executed(saved, tmp_path, smuggle, entry, read):
    fuse = tmp_path / "executed"
    pickle.loads(pickled(Bomb(fuse)))
    assert fuse.exists()  # it would go off
    fuse.unlink()
    path = rewritten(saved, tmp_path / "bad.zip", **{entry: smuggle(Bomb(fuse))})
    expected = "was not saved by sb3_il_plus" if entry == "data" else f"entry {entry}.pth holds"
    with pytest.raises(FileError, match=f"{path}.*{expected}") as caught:
        read(path)
    assert "weights_only" not in str(caught.value)  # torch would tell how to execute it
    assert not fuse.exists()


@pytest.mark.parametrize("name", ["payload.pkl", "data.pkl", "../data", "policy.pth"])
@pytest.mark.parametrize("read", [BC.load, load_model, read_archive])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_does_not_belong_there_is_refused(saved, tmp_path, name, read):
    fuse = tmp_path / "executed"
    path = rewritten(saved, tmp_path / "bad.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, pickled(Bomb(fuse)))
    complaint = "entries have the same name" if name == "policy.pth" else f"holds '{name}', which"
    with pytest.raises(FileError, match=f"{path} .*{complaint}"):
        read(path)
    assert not fuse.exists()


def test_a_pickle_in_the_json_is_refused(saved, tmp_path):
    fuse = tmp_path / "executed"
    content = json_of(saved)
    # As SB3 itself stores what is not JSON, and unpickles it when it loads.
    text = base64.b64encode(pickled(Bomb(fuse))).decode()
    content["arguments"]["policy_kwargs"] = {":type:": "dict", ":serialized:": text}
    path = rewritten(saved, tmp_path / "bad.zip", data=json.dumps(content).encode())
    with pytest.raises(FileError, match=r"a pickled object is in place of a value"):
        BC.load(path)
    assert not fuse.exists()


def test_an_entry_smuggled_in_under_a_name_in_the_json(saved, tmp_path):
    fuse = tmp_path / "executed"
    content = json_of(saved)
    content["tensors"].append("extra")
    path = rewritten(saved, tmp_path / "bad.zip", data=json.dumps(content).encode())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("extra.pth", pickled_by_torch(Bomb(fuse)))
    with pytest.raises(FileError, match=r"entry extra\.pth holds something other than tensors"):
        BC.load(path)
    assert not fuse.exists()


# -- bombs -----------------------------------------------------------------------------------------


def test_an_entry_that_unpacks_to_more_than_the_file_is_refused(saved, tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", json.dumps(json_of(saved)) + " " * 10**8)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**8))
    rewritten(saved, tmp_path / "tensors.zip", policy=inner.getvalue())
    for name in ("data", "tensors"):
        path = tmp_path / f"{name}.zip"
        assert path.stat().st_size < 10**6
        tracemalloc.start()
        with pytest.raises(FileError, match=f"{path}.* an entry is compressed"):
            BC.load(path)
        assert tracemalloc.get_traced_memory()[1] < 10**7
        tracemalloc.stop()


def test_a_declared_size_that_the_file_does_not_have_is_refused(saved, tmp_path):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(json_of(saved)))
        entry = archive.filelist[0]
        entry.file_size = entry.compress_size = 2**50
    with pytest.raises(FileError, match=f"{path} .*declare more bytes than the file has"):
        BC.load(path)


# -- damage ----------------------------------------------------------------------------------------


def test_set_parameters_executes_nothing_either(saved, tmp_path):
    fuse = tmp_path / "executed"
    path = rewritten(saved, tmp_path / "bad.zip", policy=pickled_by_torch(Bomb(fuse)))
    model = BC.load(saved)
    with pytest.raises(FileError, match=r"entry policy.pth holds something other than tensors"):
        model.set_parameters(path)
    assert not fuse.exists()


def test_a_file_cut_off_is_refused_wherever_it_was_cut(saved, tmp_path):
    content = saved.read_bytes()
    path = tmp_path / "cut.zip"
    for length in {*range(0, len(content), 41), *range(len(content) - 100, len(content))}:
        path.write_bytes(content[:length])
        with pytest.raises(FileError) as caught:
            BC.load(path)
        assert str(caught.value).startswith(f"{path} is not a complete model file: ")
        assert str(caught.value).endswith("so load an earlier checkpoint")


@settings(quick, max_examples=200)
@given(data=st.data())
def test_a_damaged_file_is_refused_by_name_or_as_good_as_before(saved, tmp_path, data):
    content = bytearray(saved.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "damaged.zip"
    path.write_bytes(content)
    try:
        read = read_archive(path)
    except FileError as error:
        assert str(error).startswith(str(path))
    else:
        original = read_archive(saved)
        assert read.data == original.data
        assert differing(read.tensors, original.tensors) == []


@settings(quick, max_examples=100)
@given(data=st.data())
def test_altered_json_is_loaded_or_refused(saved, tmp_path, data):
    content = json_of(saved)
    part, key = content, data.draw(st.sampled_from(sorted(content)))
    while isinstance(part[key], dict) and part[key] and data.draw(st.booleans()):
        part = part[key]
        key = data.draw(st.sampled_from(sorted(part)))
    if data.draw(st.booleans()):
        del part[key]
    else:
        part[key] = data.draw(json_values)
    path = rewritten(saved, tmp_path / "altered.zip", data=json.dumps(content).encode())
    with contextlib.suppress(FileError, UserError):
        BC.load(path)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(FileError, match=f"there is no model file '{tmp_path / 'nothing'}'"):
        BC.load(tmp_path / "nothing")
    PPO("MlpPolicy", make_echo()).save(tmp_path / "ppo.zip")
    with pytest.raises(FileError, match=r"agents that SB3 saved are read by load_expert\(\)"):
        load_model(tmp_path / "ppo.zip")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(FileError, match=r"is not a complete model file: BadZipFile: File is not"):
        BC.load(tmp_path / "text.zip")


def test_a_file_of_another_version(saved, tmp_path):
    content = json_of(saved)
    content["format_version"] = 99
    path = rewritten(saved, tmp_path / "new.zip", data=json.dumps(content).encode())
    with pytest.raises(FileError, match="has format 99; this version reads 1"):
        BC.load(path)


def test_a_file_of_another_algorithm(saved):
    with pytest.raises(FileError) as caught:
        GAIL.load(saved)
    assert str(caught.value) == (
        f"{saved} holds a model of 'sb3_il_plus.adapters.bc:BC', not of "
        "'sb3_il_plus.adapters.gail:GAIL'; load it with that class, or with "
        "sb3_il_plus.load_model()"
    )


def test_a_file_of_other_spaces(saved):
    with pytest.raises(
        FileError, match=r"was saved for the observation space Box\(.*Discrete\(4\)"
    ):
        BC.load(saved, env=make_echo("Discrete"))
    with pytest.raises(FileError, match=r"was saved for the action space Discrete\(4\), the env"):
        BC.load(saved, env=make_echo(action="Box"))


def test_what_a_file_is_of_is_checked_before_its_tensors_are_looked_at(saved, tmp_path):
    path = rewritten(saved, tmp_path / "bad.zip", policy=b"rubbish")
    with pytest.raises(FileError, match=r"holds a model of 'sb3_il_plus\.adapters\.bc:BC', not of"):
        GAIL.load(path)
    with pytest.raises(FileError, match=r"was saved for the observation space Box.* env=None"):
        BC.load(path, env=make_echo("Discrete"))
    with pytest.raises(FileError, match=r"entry policy.pth holds something other than tensors"):
        BC.load(path)


def test_tensors_of_another_architecture(saved, tmp_path):
    other = tmp_path / "other.zip"
    BC("MlpPolicy", None, echo_demonstrations(), policy_kwargs={"net_arch": [5]}).save(other)
    with zipfile.ZipFile(other) as archive:
        path = rewritten(saved, tmp_path / "mixed.zip", policy=archive.read("policy.pth"))
    with pytest.raises(FileError, match=r"does not fit .*:BC: RuntimeError: [\s\S]*size mismatch"):
        BC.load(path)


# -- writing ---------------------------------------------------------------------------------------


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(saved, tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(saved.read_bytes())

    class Unwritable:
        def __reduce__(self):
            raise RuntimeError("half way through")

    with pytest.raises(RuntimeError, match="half way through"):
        write_archive(path, {"a": 1}, {"fine": th.zeros(1000), "not": Unwritable()})
    assert [found.name for found in tmp_path.iterdir()] == ["model.zip"]
    assert path.read_bytes() == saved.read_bytes()


def test_an_unwritable_folder(saved, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="cannot make the folder"):
        BC.load(saved).save(tmp_path / "file" / "model.zip")


def test_streams_and_suffixes(saved, tmp_path):
    model = BC.load(saved)
    model.save(tmp_path / "plain")
    model.save(tmp_path / "other.model")
    stream = io.BytesIO()
    model.save(stream)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.model", "plain.zip"]
    stream.seek(0)
    for source in (tmp_path / "plain", tmp_path / "plain.zip", tmp_path / "other.model", stream):
        weights = BC.load(source).policy.state_dict()
        for name, value in model.policy.state_dict().items():
            assert th.equal(weights[name], value)
