"""An agent with a payload in every place in turn: it never runs, and `inspect` names it.

The payload would touch a file. That it is one is shown first, with the loaders that others use.
"""

import base64
import io
import json
import os
import pickle
import tracemalloc
import zipfile

import pytest
import torch as th
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize
from typer.testing import CliRunner

from sb3_il_plus import evaluate, load_expert
from sb3_il_plus.cli import app
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import FileError
from sb3_il_plus.experts.inspection import summarize_model


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def pickled(target):
    return pickle.dumps(Payload(target))


def torched(target):
    buffer = io.BytesIO()
    th.save({"weight": th.zeros(2), "payload": Payload(target)}, buffer)
    return buffer.getvalue()


def tagged(target):
    return f"!!python/object/apply:os.system ['touch {target}']"


def rewrite(path, **changes):
    """Write a zip anew, with other or additional entries."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**entries, **changes}.items():
            archive.writestr(name, content)


def in_json(key):
    def hide(folder, target):
        path = folder / "agent.zip"
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
        text = base64.b64encode(pickled(target)).decode()
        data[key] = {":type:": "<class 'dict'>", ":serialized:": text}
        rewrite(path, data=json.dumps(data))

    return hide


def in_entry(name, make):
    return lambda folder, target: rewrite(folder / "agent.zip", **{name: make(target)})


def in_file(name, make):
    def hide(folder, target):
        content = make(target)
        (folder / "agent" / name).write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )

    return hide


NEEDED = ("observation_space", "action_space", "policy_class", "policy_kwargs")
NOT_NEEDED = ("lr_schedule", "clip_range", "ep_info_buffer", "_last_obs", "replay_buffer_kwargs")
TENSORS = ("policy.pth", "pytorch_variables.pth", "policy.optimizer.pth", "more.pth")
TEXTS = ("system_info.txt", "_stable_baselines3_version", "replay_buffer.pkl", "more.pkl")

PLACES = {
    **{f"data: {key}": in_json(key) for key in (*NEEDED, *NOT_NEEDED)},
    **{f"{name}, pickle": in_entry(name, pickled) for name in TENSORS},
    **{f"{name}, torch": in_entry(name, torched) for name in TENSORS},
    **{name: in_entry(name, pickled) for name in (*TEXTS, "data")},
    "vecnormalize.pkl": in_file("vecnormalize.pkl", pickled),
    "config.yml": in_file("config.yml", tagged),
    "config.yml, frame_stack": in_file("config.yml", lambda t: f"frame_stack: {tagged(t)}"),
    "config.yml, expression": in_file(
        "config.yml", lambda t: f"normalize: \"dict(a=__import__('os').system('touch {t}'))\""
    ),
    "args.yml": in_file("args.yml", tagged),
    "args.yml, env_kwargs": in_file("args.yml", lambda t: f"env_kwargs: {tagged(t)}"),
    "env_kwargs.yml": in_file("env_kwargs.yml", tagged),
}

LOADS = {
    *(f"data: {key}" for key in NOT_NEEDED),
    *(f"{name}, {form}" for name in TENSORS[1:] for form in ("pickle", "torch")),
    *TEXTS,
}
"""Places that are not read at all, so that the agent loads."""

SPACES = {"data: observation_space", "data: action_space"}
"""Places that are not read where the environment says what spaces are."""

SEEN_BY_INSPECT = set(PLACES) - set(TEXTS)
"""Everything but texts, which are never read as pickles by anybody."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    venv = VecNormalize(make_vec("CartPole-v1"))
    model = PPO("MlpPolicy", venv, n_steps=8, batch_size=8, device="cpu").learn(8)
    model.save(folder / "agent.zip")
    venv.save(str(folder / "vecnormalize.pkl"))
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    """A copy of a sound agent."""
    (tmp_path / "agent").mkdir()
    for source, target in (
        ("agent.zip", "agent.zip"),
        ("vecnormalize.pkl", "agent/vecnormalize.pkl"),
    ):
        (tmp_path / target).write_bytes((sound / source).read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    "execute",
    [
        lambda target: pickle.loads(pickled(target)),
        lambda target: th.load(io.BytesIO(torched(target)), weights_only=False),
        lambda target: yaml.unsafe_load(tagged(target)),
    ],
)
def test_the_payload_is_one(execute, tmp_path):
    target = tmp_path / "owned"
    execute(target)
    assert target.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("place", PLACES)
def test_it_never_runs(folder, place):
    target = folder / "owned"
    PLACES[place](folder, target)
    for env in (None, "CartPole-v1"):
        if place in LOADS or (env is not None and place in SPACES):
            expert = load_expert(folder, env)
            evaluate(expert, "CartPole-v1", 1, seed=0)
        else:
            with pytest.raises(FileError, match=str(folder)) as caught:
                load_expert(folder / "agent.zip", env)
            assert "weights_only" not in str(caught.value)  # torch would tell how to execute it
    if place == "data":
        with pytest.raises(FileError):
            summarize_model(folder / "agent.zip")
    else:
        refused = summarize_model(folder / "agent.zip").refused
        assert bool(refused) == (place in SEEN_BY_INSPECT), refused
    assert not target.exists()


def test_inspect_on_the_command_line(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # no line breaks within what is looked for
    run = CliRunner().invoke
    found = run(app, ["inspect", str(folder)])
    assert found.exit_code == 0
    shown = " ".join(found.stdout.split())
    for part in (
        "policy_class ActorCriticPolicy",
        "action_space Discrete(2)",
        "vecnormalize.pkl observations are normalised and clipped to ±10",
        "num_timesteps 8",
        "Stable-Baselines3",
        "policy.action_net.weight (2, 64)",
    ):
        assert part in shown

    PLACES["data: lr_schedule"](folder, folder / "owned")
    PLACES["config.yml"](folder, folder / "owned")
    found = run(app, ["inspect", str(folder / "agent.zip")])
    assert found.exit_code == 1
    shown = " ".join(found.stdout.split())
    assert "refused: entry 'lr_schedule', which is never read, refers to" in shown
    assert "config.yml holds a Python object (python/object/apply:os.system)" in shown
    content = json.loads(run(app, ["inspect", str(folder), "--json"]).stdout)
    assert len(content["refused"]) == 2 and content["agent"]["action_space"] == "Discrete(2)"
    assert not (folder / "owned").exists()


def test_evaluate_on_the_command_line(folder):
    arguments = ["evaluate", "--expert", str(folder), "--env", "CartPole-v1", "--episodes", "3"]
    found = CliRunner().invoke(app, [*arguments, "--stochastic"])
    assert found.exit_code == 0 and "over 3 episodes" in found.stdout
    PLACES["data: policy_class"](folder, folder / "owned")
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2 and "was probably made to do harm" in refused.output
    assert not (folder / "owned").exists()


def test_what_unpacks_to_more_than_memory_is_refused(folder):
    path = folder / "agent.zip"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    for name, content in (
        ("data", entries["data"] + b" " * 10**8),
        ("policy.pth", inner.getvalue()),
    ):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for other, sound in entries.items():
                archive.writestr(other, sound if other != name else content)
        tracemalloc.start()
        complaint = "would unpack to" if name == "data" else "holds something other than tensors"
        with pytest.raises(FileError, match=f"{path}.*{complaint}"):
            load_expert(path)
        assert tracemalloc.get_traced_memory()[1] < 10**7
        tracemalloc.stop()
