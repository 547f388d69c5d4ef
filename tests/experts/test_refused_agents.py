"""Damaged, hostile and unfitting files of agents: refused by name, and never executed."""

import base64
import json
import os
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch as th
from damage import rewrite_zip
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import FileError, InapplicableError
from sb3_il_plus.experts.loading import load_expert


@pytest.fixture
def agent(tmp_path):
    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "agent.zip")
    return tmp_path / "agent.zip"


def change_data(path, **changes):
    def change(entries):
        entries["data"] = json.dumps({**json.loads(entries["data"]), **changes}).encode()

    rewrite_zip(path, change)


def payload(target):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {target}",)

    return pickle.dumps(Payload())


ENTRIES = ["observation_space", "action_space", "policy_class", "policy_kwargs"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_payload_in_the_json_is_refused_by_name(agent, entry, tmp_path):
    target = tmp_path / "owned"
    hidden = base64.b64encode(payload(target)).decode()
    change_data(agent, **{entry: {":type:": "dict", ":serialized:": hidden}})
    with pytest.raises(FileError, match=rf"entry '{entry}': it refers to (posix|nt)\.system"):
        load_expert(agent)
    assert not target.exists()


def test_payloads_in_all_other_entries_are_never_read(agent, tmp_path):
    target = tmp_path / "owned"
    hidden = {":type:": "x", ":serialized:": base64.b64encode(payload(target)).decode()}
    with zipfile.ZipFile(agent) as archive:
        names = set(json.loads(archive.read("data"))) - set(ENTRIES)
    assert len(names) > 15
    change_data(agent, **dict.fromkeys(names, hidden))
    load_expert(agent)
    assert not target.exists()


def test_a_payload_in_the_statistics_is_refused_by_name(agent, tmp_path):
    target = tmp_path / "owned"
    (tmp_path / "vecnormalize.pkl").write_bytes(payload(target))
    with pytest.raises(FileError, match=r"vecnormalize\.pkl: it refers to (posix|nt)\.system"):
        load_expert(agent)

    venv = VecNormalize(make_vec("CartPole-v1"))
    venv.secret = pickle.loads  # hidden deeper, in an attribute of a genuine object
    venv.save(str(tmp_path / "vecnormalize.pkl"))
    with pytest.raises(FileError, match=r"it refers to _pickle\.loads"):
        load_expert(agent)
    assert not target.exists()


def test_loading_never_unpickles(agent, monkeypatch):
    for module, name in ((pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it unpickled"))
    load_expert(agent, "CartPole-v1")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"policy_class": "MlpPolicy"}, "a class is expected, not str"),
        ({"policy_class": {":serialized:": "AAAA"}}, "entry 'policy_class' is damaged"),
        ({"policy_class": {":serialized:": 7}}, "entry 'policy_class' is damaged"),
        ({"observation_space": None}, "a space is expected, not NoneType"),
        ({"policy_kwargs": [1]}, "entry 'policy_kwargs' is damaged"),
        ({"policy_kwargs": {"net_arch": [3]}}, "weights do not fit a ActorCriticPolicy"),
        ({"policy_kwargs": {"net_arch": "deep"}}, "weights do not fit a ActorCriticPolicy"),
        (
            {"policy_kwargs": {"net_arch": [8, {"pi": [4]}]}},
            "layers shared between actor and critic",
        ),
    ],
)
def test_damaged_settings_are_named(agent, changes, complaint):
    change_data(agent, **changes)
    with pytest.raises(FileError, match=complaint):
        load_expert(agent)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda entries: entries.pop("data"), "There is no item named 'data'"),
        (lambda entries: entries.pop("policy.pth"), r"There is no item named 'policy\.pth'"),
        (lambda entries: entries.update(data=b"{"), "is not JSON"),
        (lambda entries: entries.update(data=b"[" * 100_000), "is not JSON"),
        (lambda entries: entries.update(data=b"[1]"), "holds no settings"),
        (lambda entries: entries.update(data=b"{}"), "entry 'observation_space' is missing"),
        (lambda entries: entries.update({"policy.pth": b"x" * 99}), "other than tensors"),
    ],
)
def test_damaged_zips_are_named(agent, change, complaint):
    rewrite_zip(agent, change)
    with pytest.raises(FileError, match=complaint):
        load_expert(agent)


def test_truncated_files_are_damaged(agent):
    content = agent.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 5):
        agent.write_bytes(content[:length])
        with pytest.raises(FileError, match=r"agent\.zip is no complete file of a saved agent"):
            load_expert(agent)


def test_a_missing_file_is_named_and_an_algorithm_is_no_file(tmp_path):
    with pytest.raises(FileError, match=r"there is no file .*missing\.zip"):
        load_expert(tmp_path / "missing.zip")
    with pytest.raises(FileError, match=r"'ppo' is the name of an algorithm.*algorithm='ppo'"):
        load_expert("ppo")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="holds 0 zip files"):
        load_expert(tmp_path / "folder")


def test_a_folder_with_one_zip_is_enough(agent):
    assert load_expert(agent.parent).name == "agent"


def test_an_expert_of_another_environment_is_refused(agent, tmp_path):
    with pytest.raises(FileError, match="is it an expert of another environment"):
        load_expert(agent, "Acrobot-v1")
    load_expert(agent).save(tmp_path / "own.zip")
    with pytest.raises(InapplicableError, match="is it an expert of another environment"):
        load_expert(tmp_path / "own.zip", "Acrobot-v1")


def test_damaged_files_of_our_own_are_named(agent, tmp_path):
    own = tmp_path / "own.zip"
    load_expert(agent).save(own)
    content = own.read_bytes()
    for changes, complaint in (
        ({"policy_class": {"!class": "os:system"}}, "os:system"),
        ({"policy_class": {"!class": "torch.nn:ReLU"}}, "which is no policy"),
        ({"statistics": {"mean": 1}}, "damaged"),
        ({"action_space": 3}, "weights do not fit"),
    ):
        own.write_bytes(content)
        change_data(own, **changes)
        with pytest.raises(FileError, match=complaint):
            load_expert(own)


def test_the_global_generators_are_left_alone(agent):
    th.manual_seed(1)
    expected = th.rand(1)
    th.manual_seed(1)
    load_expert(agent)
    assert th.rand(1) == expected


def test_loading_imports_no_gym(agent):
    code = (
        "import sys\n"
        "from sb3_il_plus import load_expert\n"
        f"load_expert({str(agent)!r})\n"
        "assert 'gym' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
