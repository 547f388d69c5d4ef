"""Several environments and demonstrations: which tasks and jobs a specification means."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import (
    FileError,
    InapplicableError,
    MissingExtraError,
    UnknownNameError,
    UserError,
)
from sb3_il_plus.experts import hub
from sb3_il_plus.tables.jobs import Job
from sb3_il_plus.tables.planning import plan
from sb3_il_plus.tables.presets import preset
from sb3_il_plus.tables.records import build
from sb3_il_plus.tables.specification import Specification, load_specification, shipped
from sb3_il_plus.tables.tasks import tasks_of


def _specification(**changes: Any) -> Specification:
    content = {
        "environments": ["CartPole-v1", "MountainCar-v0"],
        "expert": {"algorithm": "ppo"},
        "demonstrations": {"n_episodes": [1, 10]},
        "algorithms": ["bc", "ppo"],
        "n_seeds": 2,
    }
    return build(Specification, {**content, **changes}, "test")


def _cells(specification: Specification) -> dict[tuple[str, str], list[Job]]:
    found: dict[tuple[str, str], list[Job]] = {}
    for job in plan(specification):
        for cell in job.cells:
            found.setdefault(cell, []).append(job)
    return found


def test_tasks_are_environments_times_demonstrations() -> None:
    cells = _cells(_specification())
    names = list(dict.fromkeys(task for task, _ in cells))
    assert names == [
        "CartPole-v1, 1 episode",
        "CartPole-v1, 10 episodes",
        "MountainCar-v0, 1 episode",
        "MountainCar-v0, 10 episodes",
    ]
    for name in names:
        rows = {row for task, row in cells if task == name}
        assert rows == {"demonstrations", "random", "expert", "bc", "ppo"}
        assert len(cells[name, "bc"]) == len(cells[name, "expert"]) == 2
    few, many = (cells[name, "bc"][0] for name in names[:2])
    assert few.settings == many.settings and few.needs != many.needs
    assert few.label == "bc run 0 in CartPole-v1, 1 episode"


def test_what_tasks_have_in_common_is_done_once() -> None:
    jobs = plan(_specification())
    assert len({job.id for job in jobs}) == len(jobs)
    by_kind: dict[str, int] = {}
    for job in jobs:
        by_kind[job.kind] = by_kind.get(job.kind, 0) + 1
    assert by_kind == {
        "expert": 2,
        "demonstrations": 4,
        "random evaluation": 4,
        "expert evaluation": 4,
        "training": 8 + 4,  # bc in four tasks; ppo, which reads no demonstrations, in two
    }
    order = {job.id: number for number, job in enumerate(jobs)}
    assert all(order[need] < order[job.id] for job in jobs for need in job.needs.values())


def test_one_task_is_what_compare_means() -> None:
    from sb3_il_plus.tables.compare import comparison

    compared = comparison("CartPole-v1", algorithms=["bc", "gail"], n_seeds=2)
    own = _specification(
        environments=["CartPole-v1"], demonstrations={"n_episodes": 10}, algorithms=["bc", "gail"]
    )
    assert [(job.id, job.label, job.cells) for job in plan(compared)] == [
        (job.id, job.label, job.cells) for job in plan(own)
    ]


def test_an_environment_changes_what_holds_for_all() -> None:
    specification = _specification(
        environments={
            "CartPole-v1": None,
            "Pendulum-v1": {
                "expert": {"algorithm": "sac"},
                "demonstrations": {"n_episodes": 3},
                "algorithms": {
                    "dqn_like": None,
                    "bc": {"hyperparameters": {"batch_size": 9}},
                    "sac": {"timesteps": "2e3", "time_limit": 5},
                },
            },
        },
        demonstrations={"n_episodes": 1},
        algorithms={
            "bc": {"timesteps": 70, "hyperparameters": {"batch_size": 8, "loss": "mse"}},
            "dqn_like": {"algorithm": "dqn", "n_envs": 2},
        },
        time_limit=60,
    )
    cells = _cells(specification)
    assert set(cells) == {
        *(("CartPole-v1", row) for row in ("demonstrations", "random", "expert", "bc", "dqn_like")),
        *(("Pendulum-v1", row) for row in ("demonstrations", "random", "expert", "bc", "sac")),
    }
    bc = cells["Pendulum-v1", "bc"][0]
    assert bc.settings["timesteps"] == 70
    assert bc.settings["hyperparameters"] == {"batch_size": 9, "loss": "mse"}
    assert bc.time_limit == 60
    dqn = cells["CartPole-v1", "dqn_like"][0]
    assert (dqn.settings["algorithm"], dqn.settings["n_envs"]) == ("dqn", 2)
    sac = cells["Pendulum-v1", "sac"][0]
    assert (sac.settings["timesteps"], sac.time_limit) == (2000, 5)
    assert cells["Pendulum-v1", "demonstrations"][0].settings["n_episodes"] == 3


def test_presets_fill_in_what_is_left_out() -> None:
    cells = _cells(_specification(environments=["Pendulum-v1"], algorithms=["gail"], n_seeds=1))
    tuned = preset("gail", "Pendulum-v1")
    settings = cells["Pendulum-v1, 1 episode", "gail"][0].settings
    for key in ("timesteps", "n_envs", "hyperparameters"):
        assert settings[key] == getattr(tuned, key)


def test_a_time_limit_is_no_part_of_a_jobs_identity() -> None:
    before, after = plan(_specification()), plan(_specification(time_limit=7))
    assert [job.id for job in before] == [job.id for job in after]


def test_quality_and_noise() -> None:
    specification = _specification(
        environments=["CartPole-v1"],
        demonstrations={
            "n_episodes": 5,
            "recipe": ["expert", "medium-expert"],
            "corruption": {"observation_noise": [0, 0.1]},
        },
        algorithms=["bc"],
    )
    jobs = {job.cells[0][0]: job for job in plan(specification) if job.kind == "demonstrations"}
    assert list(jobs) == [
        "CartPole-v1, expert",
        "CartPole-v1, expert, 0.1 observation noise",
        "CartPole-v1, medium-expert",
        "CartPole-v1, medium-expert, 0.1 observation noise",
    ]
    clean, *_, noisy = jobs.values()
    assert "corruption" not in clean.settings
    assert noisy.settings["corruption"] == {"observation_noise": 0.1}
    assert noisy.settings["medium"]["algorithm"] == "ppo"
    assert noisy.settings["recipe"] == "medium-expert"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"environments": ["CartPole-v1", "Pendulum-v1"], "algorithms": ["bc", "dqn"]},
            InapplicableError,
            "^Pendulum-v1, 1 episode: dqn handles Discrete actions, not Box",
        ),
        ({"environments": ["CartPole-v1", "CartPole-v7"]}, UnknownNameError, "did you mean 'CartP"),
        ({"algorithms": ["bcc"]}, UnknownNameError, "no algorithm is called 'bcc'; did you mean"),
        ({"algorithms": {"expert": {}}}, UserError, "'expert' is a row of every table"),
        (
            {"demonstrations": {"n_episodes": [2, 2]}},
            UserError,
            "two of the demonstrations are the",
        ),
        (
            {
                "environments": {
                    "CartPole-v1": {"published": {"source": "a", "returns": {"bcx": {"value": 1}}}}
                }
            },
            UnknownNameError,
            "CartPole-v1: there is no row 'bcx' for a published return to stand in; did you mean",
        ),
        (
            {"environments": ["CartPole-v1"], "expert": {"own": True}},
            InapplicableError,
            "CartPole-v1 brings no expert of its own; name an algorithm that trains one",
        ),
        (
            {
                "environments": ["sb3_il_plus/Driving-v0"],
                "expert": {"own": True},
                "demonstrations": {"n_timesteps": 9, "recipe": "expert"},
            },
            UserError,
            "the recipe 'expert' is followed by trained agents, and this expert is the environm",
        ),
        (
            {"demonstrations": {"n_episodes": 2, "recipe": "medum"}},
            UserError,
            "there is no recipe 'medum'; did you mean 'medium'",
        ),
        (
            {
                "environments": ["CartPole-v1"],
                "expert": {"path": "EXPERT"},
                "demonstrations": {"n_episodes": 2, "recipe": "medium"},
            },
            UserError,
            "'medium' needs an agent of medium quality: name the algorithm",
        ),
    ],
)
def test_refusals(
    expert_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    if "path" in changes.get("expert", {}):
        changes = {**changes, "expert": {"path": str(expert_path)}}
    with pytest.raises(error, match=message):
        plan(_specification(**changes))


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(address: str) -> Path:
        raise FileError(f"cannot download {address}")

    monkeypatch.setattr(hub, "download", unreachable)


def _without_missing_extras(name: str) -> Specification:
    """A shipped table without the environments whose package is not installed here."""
    changes: dict[str, Any] = {}
    for key, special in load_specification(name).environments.items():
        try:
            make_env(special.environment or key).close()
        except MissingExtraError as error:
            assert key != "sb3_il_plus/Driving-v0" and "pip install" in str(error)
            changes[key] = None
    return load_specification(name, {"environments": changes})


@pytest.mark.filterwarnings("ignore:.*has another expert:UserWarning")
@pytest.mark.parametrize("name", shipped())
def test_shipped_tables_can_be_planned(name: str, no_hub: None) -> None:
    specification = _without_missing_extras(name)
    assert specification.name == name
    jobs = plan(specification)
    tasks = [task.name for task in tasks_of(specification)]
    assert {task for job in jobs for task, _ in job.cells} == set(tasks)
    assert build(Specification, yaml.safe_load(specification.to_yaml()), name) == specification


def test_changes_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "environments: CartPole-v1\nexpert: {algorithm: ppo}\nalgorithms: [bc, gail]\n"
        "demonstrations: [{n_episodes: 1}, {n_episodes: 2}]\n"
    )
    changes = {
        "n_seeds": 7,
        "algorithms": {"bc": {"timesteps": 5}},
        "demonstrations": {"deterministic": False},
        "environments": {"MountainCar-v0": {"expert": {"algorithm": "dqn"}}},
    }
    found = load_specification(path, changes)
    assert (found.name, found.n_seeds) == ("mine", 7)
    assert list(found.algorithms) == ["bc", "gail"]
    assert found.algorithms["bc"].timesteps == 5
    assert list(found.environments) == ["CartPole-v1", "MountainCar-v0"]
    assert [(d.n_episodes, d.deterministic) for d in found.demonstrations] == [
        (1, False),
        (2, False),
    ]
    assert list(load_specification(path, {"algorithms": ["sqil"]}).algorithms) == ["sqil"]


def test_what_is_changed_to_null_is_left_out() -> None:
    changes = {
        "environments": {"Pendulum-v1": None},
        "algorithms": {"gail": None, "bc": {"timesteps": 7}},
    }
    found = load_specification("classic", changes)
    assert list(found.environments) == ["seals/CartPole-v0", "seals/MountainCar-v0", "Acrobot-v1"]
    assert list(found.algorithms) == ["bc", "dagger", "airl", "sqil", "density"]
    assert found.algorithms["bc"].timesteps == 7
    with pytest.raises(UnknownNameError, match=r"no 'gali' to leave out .*did you mean 'gail'"):
        load_specification("classic", {"algorithms": {"gali": None}})


def test_another_expert_where_the_hub_cannot_be_reached(no_hub: None) -> None:
    expert = {"path": "hub://lab/ppo", "otherwise": {"algorithm": "ppo", "timesteps": 5}}
    specification = _specification(environments=["CartPole-v1"], expert=expert)
    with pytest.warns(UserWarning, match=r"CartPole-v1 has another expert: cannot download hub:"):
        first, *_ = plan(specification)
    assert first.kind == "expert"
    assert (first.settings["algorithm"], first.settings["timesteps"]) == ("ppo", 5)
    assert not {"path", "own", "otherwise"} & set(first.settings)


def test_an_expert_of_the_environment_needs_no_job() -> None:
    specification = _specification(
        environments=["sb3_il_plus/Driving-v0"],
        expert={"own": True},
        demonstrations={"n_episodes": 2},
        algorithms=["bc", "dagger"],
        n_seeds=1,
    )
    jobs = {job.label: job for job in plan(specification)}
    rows = ("random", "expert", "bc", "dagger")
    assert list(jobs) == ["demonstrations", *(f"{row} run 0" for row in rows)]
    asking = {label for label, job in jobs.items() if job.settings.get("own_expert")}
    assert asking == {"demonstrations", "expert run 0", "dagger run 0"}
    assert jobs["bc run 0"].needs == {"demonstrations": jobs["demonstrations"].id}


def test_names_that_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no table is called 'clasic'.*'classic'"):
        load_specification("clasic")
    with pytest.raises(FileError, match=r"cannot read .*missing\.yaml"):
        load_specification(tmp_path / "missing.yaml")


def test_ten_thousand_jobs_are_planned_quickly() -> None:
    specification = _specification(
        environments=["CartPole-v1"],
        demonstrations={"n_episodes": list(range(1, 21))},
        algorithms=["bc", "gail", "airl", "sqil", "density"],
        n_seeds=100,
    )
    start = time.process_time()
    jobs = plan(specification)
    assert len(jobs) == 1 + 20 + 200 + 20 * 5 * 100
    assert time.process_time() - start < 10
