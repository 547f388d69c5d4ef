"""The command line: what it prints, what it writes, and one line for whatever is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus.cli import app
from sb3_il_plus.cli_support import parse_settings
from sb3_il_plus.data import Demonstrations
from sb3_il_plus.errors import UserError

COMMANDS = ("list", "collect", "train", "evaluate", "compare")


class Outcome:
    """What a command did, in this process."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run_command(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as caught:
            app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)

    return run_command


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations that fit CartPole."""
    path = tmp_path_factory.mktemp("demos") / "demos.npz"
    return _save(path, 4)


def _save(path: Path, n_observations: int) -> Path:
    Demonstrations.from_arrays(
        [np.zeros((41, n_observations), np.float32)] * 2,
        [np.arange(40) % 2] * 2,
        observation_space=spaces.Box(-5, 5, (n_observations,), np.float32),
        action_space=spaces.Discrete(2),
    ).save(path)
    return path


# -- help ------------------------------------------------------------------------------------------


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom sb3_il_plus.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'stable_baselines3', 'gymnasium', 'numpy', 'imitation', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in COMMANDS)
    assert seconds < 3, "well under 1 s on a machine that does nothing else"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_it_understands(run, name: str) -> None:
    shown = run(name, "--help")
    assert shown.code == 0
    text = re.sub(r"\\\s*\n", " ", shown.out)
    examples = re.findall(rf"^ +sb3-il-plus {name}(.*)$", text, re.MULTILINE)
    assert len(examples) >= 2
    options = set(re.findall(r"--[a-z]+", shown.out.split("Options")[-1]))
    for example in examples:
        assert set(re.findall(r"--[a-z]+", example)) <= options


def test_module_and_debug() -> None:
    command = [sys.executable, "-m", "sb3_il_plus", "train", "bcc", "--out", "x.zip"]
    plain = subprocess.run(command, capture_output=True, text=True)
    assert plain.returncode == 2
    assert plain.stderr.startswith("error: no algorithm is called 'bcc'; did you mean 'bc'")
    assert plain.stderr.count("\n") == 1
    debugged = subprocess.run([*command, "--debug"], capture_output=True, text=True)
    assert debugged.returncode == 1
    assert "Traceback" in debugged.stderr and "UnknownNameError" in debugged.stderr


# -- what commands do ------------------------------------------------------------------------------


def test_list(run) -> None:
    table = run("list", "--family", "imitation").out
    assert re.search(r"^bc +imitation +demonstrations +gradient update", table, re.MULTILINE)
    assert "ppo" not in table
    rows = {row["name"]: row for row in json.loads(run("list", "--json").out)}
    assert rows["dagger"]["consumes"] == ["environment", "expert"]
    assert rows["ppo"]["error"] is None


def test_list_shows_broken_plugins() -> None:
    plugin = Path(__file__).parent / "tables" / "quick_plugin"
    result = subprocess.run(
        [sys.executable, "-m", "sb3_il_plus", "list"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(plugin), "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"^quick +imitation +demonstrations, environment", result.stdout, re.MULTILINE)
    line = next(line for line in result.stdout.splitlines() if line.startswith("unimportable"))
    assert "broken" in line and "failed to import" in line


def test_collect_train_evaluate(run, tmp_path: Path, expert_path: Path) -> None:
    collected = run(
        "collect",
        "--env",
        "CartPole-v1",
        "--expert",
        expert_path,
        "--episodes",
        2,
        "--out",
        "d.npz",
    )
    assert collected.code == 0, collected.err
    assert "2 episodes" in collected.out
    data = Demonstrations.load(tmp_path / "d.npz")
    assert data.episode_returns.tolist() == [500, 500]

    trained = run(
        *("train", "bc", "--demos", "d.npz", "--timesteps", 300, "--out", "bc.zip"),
        *("--set", "batch_size=16", "--set", "learning_rate=0.01", "--seed", 3),
    )
    assert trained.code == 0, trained.err
    assert "bc trained for 300 timesteps (1 = one gradient update)" in trained.out

    arguments = ("evaluate", "--model", "bc.zip", "--env", "CartPole-v1", "--episodes", 3)
    evaluated = run(*arguments)
    assert evaluated.code == 0, evaluated.err
    match = re.fullmatch(r"return ([\d.]+) \+/- ([\d.]+) over 3 episodes\n", evaluated.out)
    assert match is not None and float(match[1]) > 200
    assert run(*arguments).out == evaluated.out, "the same seed gives the same result"
    assert run("evaluate", "--expert", expert_path, "--env", "CartPole-v1").out.startswith(
        "return 500"
    )


def test_dagger_asks_the_expert(run, expert_path: Path) -> None:
    trained = run(
        *("train", "dagger", "--env", "CartPole-v1", "--expert", expert_path, "--timesteps", 600),
        *("--out", "dagger.zip", "--tensorboard", "tb"),
    )
    assert trained.code == 0, trained.err
    assert list(Path("tb").rglob("events.out.*"))


def test_settings_are_yaml() -> None:
    assert parse_settings(["a=1", "b.c=[1, 2]", "b.d=x", "e={f: 1e-3}", "g=null", "h==="]) == {
        "a": 1,
        "b": {"c": [1, 2], "d": "x"},
        "e": {"f": "1e-3"},
        "g": None,
        "h": "==",
    }
    for wrong in (["a"], ["=3"], ["a.=3"], ["a=[1"], ["a=1", "a.b=2"]):
        with pytest.raises(UserError, match="--set"):
            parse_settings(wrong)


# -- bad input -------------------------------------------------------------------------------------

TRAIN = ("train", "bc", "--out", "m.zip")
COMPARE = ("compare", "--env", "CartPole-v1", "--expert", "EXPERT", "--seeds", "1")
BAD_INPUT = [
    (("train", "gial", "--out", "m.zip"), "no algorithm is called 'gial'; did you mean 'gail'"),
    ((*TRAIN, "--demos", "none.npz"), "there are no demonstrations at 'none.npz'"),
    ((*TRAIN, "--demos", "DEMOS", "--env", "CartPole-v7"), "did you mean 'CartPole-v1'"),
    ((*TRAIN, "--demos", "DEMOS", "--env", "Pendulum-v1"), "does not fit the environment's"),
    ((*TRAIN, "--demos", "DEMOS", "--set", "batchsize=3"), "did you mean 'batch_size'"),
    ((*TRAIN, "--demos", "DEMOS", "--set", "loss"), "--set 'loss' must look like KEY=VALUE"),
    ((*TRAIN, "--demos", "DEMOS", "--set", "loss=mae"), "loss='mae' must be"),
    ((*TRAIN, "--demos", "DEMOS", "--set", "batch_size=100"), "batch_size=100 does not fit 80"),
    (TRAIN, "bc learns from --demos, which you did not give"),
    (("train", "gail", "--out", "m.zip"), "gail learns from --env and --demos, which"),
    (
        (*TRAIN, "--demos", "DEMOS", "--expert", "ppo"),
        "bc cannot ask an expert: leave out --expert",
    ),
    (("train", "bc", "--demos", "DEMOS", "--out", "EXPERT/m.zip"), "cannot write in the folder"),
    (("evaluate", "--env", "CartPole-v1"), "name either a --model or an --expert"),
    (("evaluate", "--env", "CartPole-v1", "--model", "none.zip"), "no file 'none.zip'"),
    (("evaluate", "--env", "CartPole-v1", "--model", "DEMOS"), "no complete file of a saved agent"),
    (("evaluate", "--env", "Pendulum-v1", "--expert", "EXPERT"), "expert of another environment"),
    (("evaluate", "--env", "CartPole-v1", "--expert", "poo"), "did you mean 'ppo'"),
    (
        ("collect", "--env", "CartPole-v1", "--expert", "EXPERT", "--out", "EXPERT/d.npz"),
        "cannot write in the folder",
    ),
    ((*COMPARE, "--out", "EXPERT/out"), "cannot write in the folder"),
    ((*COMPARE, "--algorithms", "bc,sac"), "sac handles Box actions, not Discrete"),
    ((*COMPARE, "--algorithms", "bc,gial"), "did you mean 'gail'"),
    ((*COMPARE, "--demos", "none.npz"), "there are no demonstrations at 'none.npz'"),
    ((*COMPARE, "--demos", "OTHER"), "does not fit the environment's"),
    ((*COMPARE, "--set", "bc.batchsize=3"), "did you mean 'batch_size'"),
    ((*COMPARE, "--set", "batch_size=3"), "as in --set airl.KEY=VALUE"),
    ((*COMPARE, "--set", "bc=3"), "'bc' and must be for an algorithm .* as in --set"),
    (("compare", "--env", "CartPole-v7"), "did you mean 'CartPole-v1'"),
    (("compare", "--env", "Pendulum-v1", "--expert", "EXPERT"), "expert of another environment"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=lambda v: str(v)[:60])
def test_bad_input_is_one_line_and_leaves_nothing(
    run, tmp_path: Path, expert_path: Path, demos: Path, arguments: tuple[str, ...], message: str
) -> None:
    other = _save(tmp_path.parent / f"{tmp_path.name}-other.npz", 3)
    files = {"EXPERT": str(expert_path), "DEMOS": str(demos), "OTHER": str(other)}
    for name, path in files.items():
        arguments = tuple(argument.replace(name, path) for argument in arguments)
    result = run(*arguments)
    assert result.code == 2
    assert result.err.startswith("error: ") and result.err.count("\n") == 1
    assert re.search(message, result.err), result.err
    assert list(tmp_path.iterdir()) == []


def test_usage_errors_have_the_same_exit_code(run) -> None:
    assert run("train").code == 2
    assert run("compare", "--env", "CartPole-v1", "--seeds", "0").code == 2
