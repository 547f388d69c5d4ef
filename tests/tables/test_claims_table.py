"""A tiny table with claims, from its specification to its report."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from sb3_il_plus.cli import app
from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.collect import collect
from sb3_il_plus.experts.expert import as_expert
from sb3_il_plus.experts.loading import load_expert
from sb3_il_plus.tables.dynamics import REVERSED
from sb3_il_plus.tables.execution import execute
from sb3_il_plus.tables.measures import Subject, copied_mistakes, regret_growth, shift
from sb3_il_plus.tables.planning import plan
from sb3_il_plus.tables.records import build
from sb3_il_plus.tables.report import write_report
from sb3_il_plus.tables.runs import RunFolder
from sb3_il_plus.tables.specification import Specification

BRIEF = "BriefCart-v0"
gym.register(BRIEF, "gymnasium.envs.classic_control.cartpole:CartPoleEnv", max_episode_steps=40)

CONTENT = """
environments:
  pole: {environment: BriefCart-v0}
  the same pole: {environment: BriefCart-v0, algorithms: {bc: null, again: FOLLOWER}}
expert: {path: EXPERT}
demonstrations: {n_episodes: 2}
algorithms:
  bc: {timesteps: 1, hyperparameters: {policy_kwargs: {net_arch: [8]}, batch_size: 8}}
  bc, then ppo: FOLLOWER
n_seeds: 2
n_eval_episodes: 2
n_curve_points: 1
n_curve_episodes: 2
claims:
  - statement: Nobody beats the expert.
    source: common sense
    comparisons:
      - {quantity: return, task: pole, left: {row: bc}, expect: not above, right: {row: expert}}
      - {quantity: regret growth, task: pole, left: {row: bc}, expect: not below, right: {value: 0}}
  - statement: A second training is a shift.
    source: common sense
    comparisons:
      - quantity: covariate shift
        left: {row: "bc, then ppo", task: pole}
        expect: above
        right: {row: expert, task: pole}
"""
FOLLOWER = """{algorithm: ppo, timesteps: 32, hyperparameters: {n_steps: 16, batch_size: 16},
    follows: {row: bc, task: pole, by: finetune, arguments: {warmup_timesteps: 16}}}"""


@pytest.fixture
def path(tmp_path: Path, expert_path: Path) -> Path:
    content = CONTENT.replace("bc, then ppo: FOLLOWER", f"bc, then ppo: {FOLLOWER}")
    content = content.replace("again: FOLLOWER", f'again: {FOLLOWER}, "bc, then ppo": null')
    written = tmp_path / "claims.yaml"
    written.write_text(content.replace("EXPERT", str(expert_path)))
    return written


def test_a_dry_run_shows_what_is_measured(path: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(
        app, ["table", str(path), "--dry-run", "--out", str(tmp_path / "none")]
    )
    assert shown.exit_code == 0, shown.output
    for text in ("bc, then ppo", "bc: regret growth", "expert: covariate shift"):
        assert text in shown.output
    assert not (tmp_path / "none").exists()


def test_from_the_specification_to_a_verdict(path: Path, tmp_path: Path) -> None:
    specification = build(Specification, yaml.safe_load(path.read_text()), "test")
    jobs = plan(specification)
    kinds = Counter(job.kind for job in jobs)
    assert (kinds["training"], kinds["measurement"]) == (4, 6)
    assert {cell for job in jobs for cell in job.cells if cell[1] == "again"}, "shared, in 2 cells"
    folder = RunFolder(tmp_path / "table")
    folder.prepare()
    folder.write_text("specification.yaml", specification.to_yaml())
    folder.write_jobs(jobs)
    for job in jobs:
        record = execute(job, folder)
        assert record["status"] == "finished", record.get("error")
    table = write_report(folder)
    assert not table.errors
    assert [row.name for row in table.sections[0].rows] == [
        "expert",
        "random",
        "bc",
        "bc, then ppo",
    ]
    follower = table.sections[0].rows[-1]
    assert follower.environment_steps == 32 and follower.demonstrations == (2, 80)
    first, second = table.claims
    assert [finding.n_runs for finding in first.findings] == [4, 2]
    assert [finding.n_runs for finding in second.findings] == [4]
    difference = first.findings[0].difference
    assert difference is not None and difference.value < 0, "one update teaches nothing"
    assert first.findings[0].verdict == "supported"
    with (folder.path / "claims.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["claim"][0] for line in lines] == ["N", "N", "A"]
    page = (folder.path / "report.html").read_text()
    assert (
        "Nobody beats the expert." in page
        and "Nobody beats" in (folder.path / "table.md").read_text()
    )


def test_a_new_agent_is_trained_on_another_rows_reward(tmp_path: Path, expert_path: Path) -> None:
    content = {
        "environments": ["CartPole-v1"],
        "expert": {"path": str(expert_path)},
        "demonstrations": {"n_episodes": 1},
        "algorithms": {
            "gail": {
                "timesteps": 64,
                "n_envs": 1,
                "hyperparameters": {"generator_kwargs": {"n_steps": 32, "batch_size": 32}},
            },
            "ppo on its reward": {
                "algorithm": "ppo",
                "timesteps": 32,
                "hyperparameters": {"n_steps": 16, "batch_size": 16},
                "follows": {"row": "gail", "by": "reward"},
            },
        },
        "n_seeds": 1,
        "n_eval_episodes": 1,
        "n_curve_points": 0,
    }
    folder = RunFolder(tmp_path)
    folder.prepare()
    done = [execute(job, folder) for job in plan(build(Specification, content, "test"))]
    assert [record.get("error") for record in done] == [None] * len(done)
    assert done[-1]["label"] == "ppo on its reward run 0"
    assert done[-1]["result"]["timesteps"] == 32


def _subject(agent: object, expert_path: Path, data: Demonstrations | None = None) -> Subject:
    expert = load_expert(expert_path, BRIEF)
    if data is None:
        data = collect(expert, BRIEF, 1, seed=0)
    return Subject(agent, expert, data, BRIEF, 4, seed=0)


def test_measures_of_the_expert_and_of_its_opposite(expert_path: Path) -> None:
    expert = load_expert(expert_path, BRIEF)
    spaces = expert.observation_space, expert.action_space
    wrong = as_expert(lambda observation: 1 - expert.predict(observation)[0], *spaces)
    same, opposite = (_subject(agent, expert_path) for agent in (expert, wrong))
    assert regret_growth(same) == 0
    # It falls after a few steps, and from then on loses 1 in each: all of the second half, and in
    # the first half what is left after the fall.
    lengths = collect(wrong, BRIEF, 4, seed=1).episode_lengths
    assert lengths.max() < 20
    assert lengths.min() - 2 <= regret_growth(opposite) <= lengths.max() + 2
    assert shift(same) < shift(opposite)


def test_copied_mistakes(expert_path: Path) -> None:
    expert = load_expert(expert_path, BRIEF)
    data = collect(expert, BRIEF, 1, seed=0)
    flawed = data.corrupt(seed=0, wrong_actions=0.25)
    always = as_expert(
        lambda observation: np.int64(1), expert.observation_space, expert.action_space
    )
    assert copied_mistakes(_subject(expert, expert_path, flawed)) == 0
    wrong = flawed.actions != data.actions
    share = float((flawed.actions[wrong] == 1).mean())
    assert copied_mistakes(_subject(always, expert_path, flawed)) == pytest.approx(share)
    with pytest.raises(Exception, match="hold no mistakes that could be copied"):
        copied_mistakes(_subject(expert, expert_path, data))


def test_the_motor_is_reversed() -> None:
    pytest.importorskip("seals")
    here, there = (gym.make(name) for name in ("seals/CartPole-v0", REVERSED))
    pushed = []
    for env in (here, there):
        env.reset(seed=0)
        pushed.append(env.step(1)[0][1])
    assert pushed[0] > 0 > pushed[1]
