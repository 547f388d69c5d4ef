"""`sb3-il-plus dataset` and `corrupt`: what they write, say, and leave behind when stopped."""

import signal
import subprocess
import sys
import time

import gymnasium as gym
import pytest
from stable_baselines3 import PPO

from sb3_il_plus import Demonstrations
from sb3_il_plus.cli import app
from sb3_il_plus.data.formats import save
from sb3_il_plus.datasets import dataset_pieces

RANDOM = ("--env", "CartPole-v1", "--recipe", "random", "--reference", "hopper")


@pytest.fixture
def run(capsys):
    """Run a command in this process; returns what it printed, or its error."""

    def run_command(*arguments, code=0):
        with pytest.raises(SystemExit) as caught:
            app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert int(caught.value.code or 0) == code, captured.err
        return captured.err if code else captured.out

    return run_command


@pytest.mark.parametrize("name", ["a.npz", "a.mapped", "a.hdf5", "a-v0"])
def test_a_data_set_is_written(run, name, tmp_path):
    said = run("dataset", *RANDOM, "--transitions", 400, "--seed", 3, "--out", tmp_path / name)
    demos = Demonstrations.load(tmp_path / name)
    assert len(demos) == 400
    mean = demos.rewards.sum() / demos.n_episodes
    assert said == (
        f"{demos.n_episodes} episodes, 400 transitions, mean return {mean:.1f} (random -20.3, "
        f"expert 3234.3, normalised {100 * (mean + 20.272305) / 3254.572305:.1f}) written to "
        f"{tmp_path / name}\n"
    )


def test_saved_agents(run, tmp_path, expert_path):
    PPO("MlpPolicy", gym.make("CartPole-v1"), device="cpu", seed=0).save(tmp_path / "new.zip")
    agents = "--expert", expert_path, "--medium", tmp_path / "new.zip"
    arguments = "--env", "CartPole-v1", "--recipe", "medium-expert", *agents, "--episodes", 4
    run("dataset", *arguments, "--deterministic", "--out", tmp_path / "a.npz")
    demos = Demonstrations.load(tmp_path / "a.npz")
    assert [part["agent"] for part in demos.metadata["parts"]] == ["new", "balance"]
    assert demos.episode_returns[2:].tolist() == [500, 500] > demos.episode_returns[:2].tolist()
    assert demos.metadata["ref_max_score"] == 500


def test_flaws(run, tmp_path):
    flaws = "--flaw", "wrong_actions=0.25", "--flaw", "dropped_episodes=2"
    arguments = "dataset", *RANDOM, "--episodes", 8
    run(*arguments, "--out", tmp_path / "clean.npz")
    run(*arguments, *flaws, "--seed", 0, "--out", tmp_path / "flawed.npz")
    said = run("corrupt", tmp_path / "clean.npz", tmp_path / "again.npz", *flaws)
    assert said.startswith("6 episodes, ")
    flawed, again = (Demonstrations.load(tmp_path / f"{n}.npz") for n in ("flawed", "again"))
    assert flawed.fingerprint() == again.fingerprint()
    assert flawed.metadata["corruption"] == [
        {"wrong_actions": 0.25, "dropped_episodes": 2, "seed": 0}
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*RANDOM, "--out", "a.txt"), "cannot save demonstrations as '.txt'"),
        ((*RANDOM, "--recipe", "mediun", "--out", "a.npz"), "did you mean 'medium'"),
        ((*RANDOM, "--flaw", "noise=1", "--out", "a.npz"), "there is no flaw 'noise'"),
        ((*RANDOM, "--flaw", "random_actions", "--out", "a.npz"), "must look like KEY=VALUE"),
        ((*RANDOM, "--expert", "sca", "--recipe", "expert", "--out", "a.npz"), "did you mean"),
    ],
)
def test_errors_are_lines(run, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = run("dataset", *arguments, code=2)
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.npz", "a.mapped", "a.hdf5", "a-v0"])
def test_an_interruption_leaves_what_was_there(name, tmp_path, monkeypatch):
    monkeypatch.setattr("sb3_il_plus.datasets._PIECE_STEPS", 50)
    options = {"recipe": "random", "reference": "hopper", "n_timesteps": 200}
    save(dataset_pieces("CartPole-v1", **options), tmp_path / name)
    before = Demonstrations.load(tmp_path / name).fingerprint()

    def interrupted():
        pieces = dataset_pieces("CartPole-v1", **options, seed=1)
        yield next(pieces)
        yield next(pieces)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(interrupted(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert Demonstrations.load(tmp_path / name).fingerprint() == before


IN_SMALL_PIECES = """
import sb3_il_plus.datasets
from sb3_il_plus.cli import main
sb3_il_plus.datasets._PIECE_STEPS = 1000
main()
"""


@pytest.mark.parametrize("stopped_by", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_leaves_no_data_set(stopped_by, tmp_path):
    command = [sys.executable, "-c", IN_SMALL_PIECES, "dataset", *RANDOM]
    process = subprocess.Popen(
        [*command, "--transitions", "5000000", "--out", tmp_path / "a.mapped"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    try:
        while not list(tmp_path.glob(".a.mapped.*/*.npy")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(stopped_by)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    if stopped_by == signal.SIGINT:
        assert process.returncode == 130 and error == "interrupted\n"
        assert not list(tmp_path.iterdir())
    assert not (tmp_path / "a.mapped").exists()
