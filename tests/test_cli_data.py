"""`sb3-il-plus convert` and `inspect`: what they write, say and return."""

import json
import subprocess
import sys
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO

from sb3_il_plus import Demonstrations, make
from sb3_il_plus.cli import app
from sb3_il_plus.errors import FileError
from sb3_il_plus.experts.inspection import summarize_model
from sb3_il_plus.model_files import is_model_file


class Outcome(NamedTuple):
    """What a command did, in this process."""

    stdout: str
    stderr: str


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command, which has to end with the exit code `code`."""
    monkeypatch.setenv("COLUMNS", "200")

    def run_command(*arguments, code=0):
        with pytest.raises(SystemExit) as caught:
            app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert int(caught.value.code or 0) == code, captured.err
        return Outcome(captured.out, captured.err)

    return run_command


@pytest.fixture(scope="module")
def demos():
    rng = np.random.default_rng(0)
    return Demonstrations.from_arrays(
        [rng.normal(size=(length + 1, 4)) for length in (3, 5)],
        [np.arange(length) % 2 for length in (3, 5)],
        [np.ones(length) for length in (3, 5)],
        terminations=[True, False],
        env="CartPole-v1",
        metadata={"env_id": "CartPole-v1"},
    )


def test_converting_there_and_back(run, demos, tmp_path):
    demos.save(tmp_path / "a.npz")
    for source, target, *to in (
        ("a.npz", "b.hdf5"),
        ("b.hdf5", "c", "--to", "imitation"),
        ("c", "d.mapped"),
    ):
        result = run("convert", tmp_path / source, tmp_path / target, *to)
        assert result.stdout == f"{tmp_path / source} converted to {tmp_path / target}\n"
        assert result.stderr == ""
    assert Demonstrations.load(tmp_path / "d.mapped").fingerprint() == demos.fingerprint()


def test_what_a_file_leaves_unsaid(run, tmp_path):
    np.savez(tmp_path / "arrays.npz", obs=np.zeros((4, 4)), acts=[0, 1, 0, 1], dones=[0, 1, 0, 1])
    failed = run("convert", tmp_path / "arrays.npz", tmp_path / "out.npz", code=2)
    assert "the action space is unknown: pass env='YourEnv-v0'" in failed.stderr
    done = run(*("convert", tmp_path / "arrays.npz", tmp_path / "out.npz"), "--env", "CartPole-v1")
    assert done.stderr == ""  # as the environment's time limit tells what the ends are
    assert Demonstrations.load(tmp_path / "out.npz").terminations.tolist() == [0, 1, 0, 1]


def test_warnings_and_errors_are_lines(run, demos, tmp_path):
    np.savez(tmp_path / "a.npz", obs=np.zeros((2, 3)), acts=[[3.0], [0.5]], dones=[0, 1])
    arguments = "convert", tmp_path / "a.npz", tmp_path / "b.npz", "--env", "Pendulum-v1"
    failed = run(*arguments, code=2)
    assert "actions: episode 0, step 0, component (0,) is 3.0, which lies outside" in failed.stderr
    done = run(*arguments, "--clip-actions", "--max-episode-steps", 2)
    assert done.stderr.startswith("warning: 1 episodes that are said to terminate have the 2 steps")
    assert Demonstrations.load(tmp_path / "b.npz").actions.ravel().tolist() == [2.0, 0.5]
    for bad, message in (
        (["no.npz", "x.npz"], "error: there are no demonstrations at 'no.npz'"),
        ([tmp_path / "a.npz", "x.foo"], "error: cannot save demonstrations as '.foo'"),
        ([tmp_path / "a.npz", "x", "--to", "d4r"], "no format 'd4r'; did you mean 'd4rl'?"),
        ([tmp_path / "a.npz", "x", "--to", "plain-npz"], "can be read but not written"),
    ):
        assert message in run("convert", *bad, code=2).stderr


def test_inspecting_a_data_set(run, demos, tmp_path):
    path = demos.save(tmp_path / "data.hdf5")
    result = run("inspect", path, "--plot", tmp_path / "returns.png")
    shown = " ".join(result.stdout.split())
    for part in (
        "format a D4RL file (.hdf5)",
        "episodes 2 (1 terminated, 1 truncated)",
        "transitions 8",
        "length 4 ± 1, from 3 to 5",
        "return 4 ± 1, from 3 to 5",
        "metadata: env_id CartPole-v1",
        "actions 0 1 0.375 0: 62.5% 1: 37.5%",
        "rewards 1 1 1",
        "4.8 to 5 1 ████",
    ):
        assert part in shown
    assert (tmp_path / "returns.png").stat().st_size > 1000
    assert result.stderr == f"histogram written to {tmp_path / 'returns.png'}\n"
    failed = run("inspect", path, "--plot", "returns.foo", code=2)
    assert "cannot write the image 'returns.foo': its suffix is none of" in failed.stderr
    assert failed.stdout == ""  # it fails before anything is read
    content = json.loads(run("inspect", path, "--json").stdout)
    assert content["n_episodes"] == 2 and content["returns"]["mean"] == 4


def test_problems_make_the_exit_code(run, tmp_path):
    np.savez(tmp_path / "a.npz", obs=np.zeros((2, 4)), acts=[0, 7], terminals=[0, 1])
    result = run("inspect", tmp_path / "a.npz", "--env", "CartPole-v1", code=1)
    assert (
        "problem: actions: episode 0, step 1 is 7, which lies outside Discrete(2)" in result.stdout
    )


def test_histograms_of_returns_that_are_equal_or_not_finite(run, tmp_path):
    columns = {"obs": np.zeros((2, 4)), "acts": [0, 1], "terminals": [1, 1]}
    for rewards, code, shown in (
        ([3.0, 3.0], 0, "3 2 ████"),
        ([np.nan, 3.0], 1, "3 1 ████"),
        ([np.nan, np.nan], 1, "return none is finite"),
    ):
        np.savez(tmp_path / "a.npz", **columns, rewards=rewards)
        result = run("inspect", tmp_path / "a.npz", "--env", "CartPole-v1", code=code)
        assert shown in " ".join(result.stdout.split())


def test_as_programs(demos, tmp_path):
    """What it does not import, it does not wait for."""
    command = [sys.executable, "-m", "sb3_il_plus", "convert"]
    target = tmp_path / "b.mapped"
    subprocess.run([*command, demos.save(tmp_path / "a.npz"), target], check=True)
    assert len(Demonstrations.load(target)) == 8
    for code, unwanted in (
        ("import sb3_il_plus.cli_data", {"torch", "numpy", "rich"}),
        (f"from sb3_il_plus import convert; convert({str(target)!r}, 'c.hdf5')", {"torch"}),
    ):
        code += f"\nimport sys\nprint({unwanted} & set(sys.modules))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        assert done.stdout == "set()\n"


class TestModels:
    def test_of_sb3(self, run, tmp_path):
        path = tmp_path / "ppo.zip"
        PPO("MlpPolicy", gym.make("CartPole-v1"), policy_kwargs={"net_arch": [8]}).save(path)
        found = summarize_model(path)
        assert found.kind == "model of Stable-Baselines3"
        assert found.settings["n_steps"] == 2048
        assert "Discrete" in found.settings["action_space"]  # its type; the pickle stays closed
        assert found.tensors["policy.action_net.weight"] == (2, 8)
        assert "Stable-Baselines3" in found.system
        shown = run("inspect", path).stdout
        assert "n_steps" in shown and "policy.action_net.weight" in shown

    def test_of_ours(self, run, demos, tmp_path):
        model = make("bc", demonstrations=demos, seed=0, device="cpu", batch_size=4)
        model.save(tmp_path / "bc.zip")
        content = json.loads(run("inspect", tmp_path / "bc.zip", "--json").stdout)
        assert content["kind"] == "model of sb3_il_plus"
        assert content["settings"]["format_version"] == 1
        assert content["tensors"]["policy.action_net.bias"] == [2]

    def test_data_sets_are_no_models(self, demos, tmp_path):
        assert not is_model_file(demos.save(tmp_path / "data.npz"))
        assert not is_model_file(tmp_path / "missing.zip")

    def test_damaged_models(self, tmp_path):
        path = tmp_path / "ppo.zip"
        PPO("MlpPolicy", gym.make("CartPole-v1")).save(path)
        whole = path.read_bytes()
        place = whole.index(b"pytorch_model") if b"pytorch_model" in whole else len(whole) // 2
        path.write_bytes(whole[: place + 50] + b"damage" + whole[place + 56 :])
        with pytest.raises(FileError, match="is not a complete model file"):
            summarize_model(path)
