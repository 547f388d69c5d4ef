"""Planning: which jobs a specification means, when two are the same, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.errors import (
    DataError,
    FileError,
    InapplicableError,
    UnknownNameError,
    UserError,
)
from sb3_il_plus.tables import jobs as jobs_module
from sb3_il_plus.tables.compare import comparison
from sb3_il_plus.tables.jobs import Job, package_digest
from sb3_il_plus.tables.planning import plan


def _demonstrations(path: Path, n_observations: int = 4, rewards: bool = True) -> str:
    space = spaces.Box(-1, 1, (n_observations,), np.float32)
    Demonstrations.from_arrays(
        [np.zeros((6, n_observations), np.float32)] * 3,
        [np.zeros(5, np.int64)] * 3,
        rewards=[np.ones(5)] * 3 if rewards else None,
        observation_space=space,
        action_space=spaces.Discrete(2),
    ).save(path)
    return str(path)


def _by_label(specification: Any) -> dict[str, Job]:
    return {job.label: job for job in plan(specification)}


def test_graph_of_a_comparison() -> None:
    jobs = _by_label(comparison("CartPole-v1", algorithms=["bc", "dagger"], n_seeds=2))
    runs = [f"{name} run {n}" for n in (0, 1) for name in ("random", "expert", "bc", "dagger")]
    assert list(jobs) == ["expert", "demonstrations", *runs]
    assert jobs["demonstrations"].needs == {"expert": jobs["expert"].id}
    assert jobs["bc run 0"].needs == {"demonstrations": jobs["demonstrations"].id}
    assert jobs["dagger run 1"].needs == {"expert": jobs["expert"].id}
    assert jobs["random run 0"].needs == {}
    assert len({job.id for job in jobs.values()}) == len(jobs)
    seeds = {job.settings["seed"] for job in jobs.values() if "run 0" in job.label}
    assert len(seeds) == 1, "all of one run share its seed"


def test_identity_follows_what_determines_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _by_label(comparison("CartPole-v1", algorithms=["bc"]))
    more = _by_label(comparison("CartPole-v1", algorithms=["bc", "gail"], n_seeds=5))
    assert all(more[label].id == job.id for label, job in before.items())

    changed = comparison("CartPole-v1", algorithms=["bc"], hyperparameters={"bc": {"loss": "mse"}})
    assert _different(before, _by_label(changed)) == {"bc run 0", "bc run 1", "bc run 2"}
    other_data = _by_label(comparison("CartPole-v1", algorithms=["bc"], n_episodes=3))
    assert "demonstrations" in _different(before, other_data)
    assert "bc run 0" in _different(before, other_data)
    assert "expert" not in _different(before, other_data)

    monkeypatch.setattr(jobs_module, "versions", lambda: {"sb3_il_plus": "99"})
    assert _different(before, _by_label(comparison("CartPole-v1", algorithms=["bc"]))) == set(
        before
    )


def _different(before: dict[str, Job], after: dict[str, Job]) -> set[str]:
    return {label for label, job in before.items() if after[label].id != job.id}


def test_an_edited_plugin_is_another_algorithm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "edited_plugin.py"
    module.write_text("GAMMA = 0.9\n")
    before = package_digest("edited_plugin")
    module.write_text("GAMMA = 0.8\n")
    package_digest.cache_clear()
    assert before not in ("", package_digest("edited_plugin"))


def test_a_moved_file_is_the_same_data(tmp_path: Path) -> None:
    first = _demonstrations(tmp_path / "a.npz")
    (tmp_path / "elsewhere").mkdir()
    second = _demonstrations(tmp_path / "elsewhere" / "b.npz")
    jobs = [
        _by_label(comparison("CartPole-v1", demonstrations=path, algorithms=["bc"]))
        for path in (first, second)
    ]
    assert jobs[0]["bc run 0"].id == jobs[1]["bc run 0"].id
    assert jobs[0]["demonstrations"].inputs["path"] == first


def test_what_applies_by_default(tmp_path: Path) -> None:
    names = set(comparison("CartPole-v1").algorithms)
    assert names >= {"bc", "dagger", "gail", "airl"}
    assert "ppo" not in names
    without_expert = comparison("CartPole-v1", demonstrations=_demonstrations(tmp_path / "d.npz"))
    assert "dagger" not in without_expert.algorithms
    assert without_expert.expert is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"environment": "CartPole-v7"}, UnknownNameError, "did you mean 'CartPole-v"),
        ({"algorithms": ["bcc"]}, UnknownNameError, "no algorithm is called 'bcc'; did you mean"),
        ({"algorithms": ["sac"]}, InapplicableError, "sac handles Box actions, not Discrete"),
        ({"expert": "pppo"}, UnknownNameError, "did you mean 'ppo'"),
        ({"expert": "gail"}, InapplicableError, "expert='gail' is of the family 'imitation'"),
        ({"expert": "sac"}, InapplicableError, "the expert cannot be trained: sac handles Box"),
        ({"expert": "no/expert.zip"}, FileError, "no/expert.zip"),
        ({"demonstrations": "missing.npz"}, FileError, "no demonstrations at 'missing.npz'"),
        ({"demonstrations": "DEMOS", "n_episodes": 9}, DataError, "9 episodes .* holds 3"),
        ({"demonstrations": "OTHER"}, DataError, r"\(3,\).*\(4,\)|\(4,\).*\(3,\)"),
        (
            {"demonstrations": "DEMOS", "algorithms": ["dagger"]},
            InapplicableError,
            "dagger needs expert, which the task does not give",
        ),
        (
            {"hyperparameters": {"bc": {"batchsize": 3}}},
            UserError,
            "bc has no hyperparameter 'batchsize'; did you mean 'batch_size'",
        ),
        ({"hyperparameters": {"bd": {}}}, UserError, "'bd' and must be for an algorithm"),
        ({"n_seeds": -1}, UserError, "n_seeds=-1"),
    ],
)
def test_refused_before_anything_trains(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    files = {
        "DEMOS": _demonstrations(tmp_path / "d.npz"),
        "OTHER": _demonstrations(tmp_path / "o.npz", n_observations=3),
    }
    arguments = {key: files.get(str(value), value) for key, value in arguments.items()}
    environment = arguments.pop("environment", "CartPole-v1")
    with pytest.raises(error, match=message):
        plan(comparison(environment, **arguments))


def test_states_alone_are_for_what_reads_no_actions(tmp_path: Path) -> None:
    path = str(tmp_path / "states.npz")
    Demonstrations.load(_demonstrations(tmp_path / "d.npz")).without_actions().save(path)
    names = set(comparison("CartPole-v1", demonstrations=path).algorithms)
    assert names >= {"bco", "gaifo"} and not names & {"bc", "gail", "airl", "sqil"}
    with pytest.raises(InapplicableError, match="bc reads the demonstrations' actions, and those"):
        plan(comparison("CartPole-v1", demonstrations=path, algorithms=["bc", "bco"]))


def test_algorithms_that_need_rewards(tmp_path: Path) -> None:
    plan(comparison("CartPole-v1", algorithms=["ppo"]))
    silent = _demonstrations(tmp_path / "silent.npz", rewards=False)
    jobs = _by_label(comparison("CartPole-v1", demonstrations=silent, algorithms=["ppo", "bc"]))
    assert jobs["ppo run 0"].needs == {}
