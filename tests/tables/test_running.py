"""Parts of running a table that a whole comparison does not show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from table_command import command

from sb3_il_plus import make
from sb3_il_plus.data import Demonstrations
from sb3_il_plus.errors import FileError
from sb3_il_plus.files import check_writable
from sb3_il_plus.tables.curve import CurveCallback
from sb3_il_plus.tables.execution import execute
from sb3_il_plus.tables.jobs import Job
from sb3_il_plus.tables.planning import plan
from sb3_il_plus.tables.records import build
from sb3_il_plus.tables.runs import RunFolder
from sb3_il_plus.tables.specification import Specification


@pytest.fixture
def demonstrations() -> Demonstrations:
    rng = np.random.default_rng(0)
    return Demonstrations.from_arrays(
        [rng.normal(size=(61, 4)).astype(np.float32)],
        [rng.integers(2, size=60)],
        observation_space=spaces.Box(-10, 10, (4,), np.float32),
        action_space=spaces.Discrete(2),
    )


def test_demonstrations_of_a_recipe_with_flaws(tmp_path: Path, expert_path: Path) -> None:
    content = {
        "environments": ["CartPole-v1"],
        "expert": {"path": str(expert_path)},
        "demonstrations": {
            "n_timesteps": 120,
            "recipe": "0.5*random + 0.5*expert",
            "subsample": 2,
            "corruption": {"random_actions": 0.5},
        },
        "algorithms": ["bc"],
    }
    expert, wanted, *_ = plan(build(Specification, content, "test"))
    folder = RunFolder(tmp_path)
    folder.prepare()
    for job in (expert, wanted):
        assert execute(job, folder)["status"] == "finished"
    data = Demonstrations.load(folder.artifact_path("demonstrations", wanted.id))
    assert [part["recipe"] for part in data.metadata["parts"]] == ["random", "expert"]
    assert [part["n_timesteps"] for part in data.metadata["parts"]] == [60, 60]
    assert 60 <= len(data) < 75, "every second step, the first of each episode among them"
    assert data.metadata["corruption"][0]["random_actions"] == 0.5


def test_the_environments_own_expert_is_recorded_measured_and_asked(tmp_path: Path) -> None:
    content = {
        "environments": ["sb3_il_plus/Driving-v0"],
        "expert": {"own": True},
        "demonstrations": {"n_episodes": 2},
        "algorithms": {
            "branched": {"algorithm": "conditional_bc", "timesteps": 3},
            "unconditional": {
                "algorithm": "conditional_bc",
                "timesteps": 3,
                "hyperparameters": {"policy": "UnconditionalPolicy"},
            },
            "dagger": {"timesteps": 60, "hyperparameters": {"rollout_round_min_timesteps": 60}},
        },
        "n_seeds": 1,
        "n_eval_episodes": 3,
        "n_curve_points": 0,
    }
    folder = RunFolder(tmp_path)
    folder.prepare()
    results = {}
    for job in plan(build(Specification, content, "test")):
        record = execute(job, folder)
        assert record["status"] == "finished", record["error"]
        results[job.label] = record["result"]
    assert results["expert run 0"]["returns"] == [1.0, 1.0, 1.0]
    assert results["demonstrations"]["returns"] == [1.0, 1.0]
    assert results["dagger run 0"]["expert_queries"] >= 60
    assert results["unconditional run 0"]["timesteps"] == 3


def test_curve_is_evenly_spread_and_leaves_no_trace(demonstrations: Demonstrations) -> None:
    parameters = []
    for callback in (None, CurveCallback("CartPole-v1", 100, 4, 2, seed=0)):
        model = make("bc", demonstrations=demonstrations, seed=1, policy_kwargs={"net_arch": [8]})
        model.learn(100, callback=callback)
        parameters.append(th.nn.utils.parameters_to_vector(model.policy.parameters()))
    assert callback is not None
    assert [point["timesteps"] for point in callback.points] == [0, 25, 50, 75]
    assert all(len(point["returns"]) == 2 for point in callback.points)
    assert callback.seconds > 0
    assert th.equal(*parameters)


def test_curve_restores_the_training_mode(demonstrations: Demonstrations) -> None:
    modes = []

    class Spy(CurveCallback):
        def _on_step(self) -> bool:
            super()._on_step()
            modes.append(self.model.policy.training)
            return True

    make("bc", demonstrations=demonstrations).learn(5, callback=Spy("CartPole-v1", 5, 5, 1, 0))
    assert modes == [True] * 5


def test_a_curve_without_points(demonstrations: Demonstrations) -> None:
    callback = CurveCallback("CartPole-v1", 10, 0, 1, seed=0)
    make("bc", demonstrations=demonstrations).learn(10, callback=callback)
    assert callback.points == []


def test_two_processes_in_one_folder(tmp_path: Path, expert_path: Path) -> None:
    with RunFolder(tmp_path / "out").locked():
        arguments = command(
            *("compare", "--env", "CartPole-v1", "--expert", expert_path),
            *("--algorithms", "bc", "--out", tmp_path / "out"),
        )
        result = subprocess.run(**arguments, check=False)
    assert result.returncode == 2
    assert "another process is already working in" in result.stderr
    assert not (tmp_path / "out" / "runs").exists()


def test_tidying_spares_what_is_not_ours(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.prepare()
    (tmp_path / "runs" / ".abc.json.0123abcd").write_text("{half")
    for name in (".bashrc", "runs/.gitkeep", "notes.txt"):
        (tmp_path / name).write_text("mine")
    folder.tidy()
    kept = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert kept == {".bashrc", "runs/.gitkeep", "notes.txt"}


def test_records_appear_complete_or_not_at_all(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.prepare()
    job = Job("training", "bc run 0", {"seed": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        folder.write_record({"id": job.id, "status": "finished", "result": float("nan")})
    assert folder.read_record(job.id) is None
    folder.write_record({"id": job.id, "status": "failed"})
    assert not folder.is_finished(job.id)
    assert list((tmp_path / "runs").iterdir()) == [folder.record_path(job.id)]


def test_check_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"cannot write in the folder .*file' is no folder"):
        check_writable(tmp_path / "file" / "folder")
    with pytest.raises(FileError, match="cannot write in the folder '/proc"):
        check_writable(Path("/proc/none"))


SCRIPT = """
import gymnasium as gym
from stable_baselines3 import PPO
from sb3_il_plus import register
from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.tables.compare import comparison, run_table

class Mine(PPO):
    def __init__(self, policy, env, seed=None):
        super().__init__(policy, env, n_steps=16, batch_size=16, seed=seed)

gym.register("Mine-v0", "gymnasium.envs.classic_control.cartpole:CartPoleEnv", max_episode_steps=9)
register(AlgorithmSpec("mine", "__main__:Mine", consumes={"environment"}))

if __name__ == "__main__":
    table = run_table(
        comparison("Mine-v0", expert=%r, algorithms=["mine"], timesteps=16, n_seeds=1),
        "out", n_workers=1,
    )
    print(table.errors, [row.name for row in table.rows])
"""


def test_what_a_script_registers_reaches_the_workers(tmp_path: Path, expert_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT % str(expert_path))
    result = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.stdout == "[] ['expert', 'random', 'mine']\n", result.stderr
    records = [json.loads(p.read_text()) for p in (tmp_path / "out" / "runs").glob("*.json")]
    mine = next(r for r in records if r["kind"] == "training")
    assert mine["result"]["environment_steps"] == 16
    assert mine["needs"] == {}
