"""`run_table`: a specification in, a folder with its table out; and the specification of `compare`.

The whole pipeline in one place: specification -> jobs (`planning`) -> runs (`runner`) -> report.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from sb3_il_plus import registry
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.tables.display import Display
from sb3_il_plus.tables.local_pool import LocalPool
from sb3_il_plus.tables.planning import plan
from sb3_il_plus.tables.presets import tuned_settings
from sb3_il_plus.tables.records import build
from sb3_il_plus.tables.report import write_report
from sb3_il_plus.tables.runner import Pool, run_jobs
from sb3_il_plus.tables.runs import RunFolder
from sb3_il_plus.tables.specification import (
    DemonstrationSettings,
    ExpertSettings,
    Specification,
)
from sb3_il_plus.tables.summary import Table
from sb3_il_plus.tables.tasks import Task, World
from sb3_il_plus.tables.worker import Setting

Backend = Literal["local", "ray"]

DEFAULT_EXPERT = "ppo"
DEFAULT_EPISODES = 10


class InterruptedTable(KeyboardInterrupt):
    """Ctrl-C while a table was made; what had finished is kept.

    :param n_finished: jobs whose results are on disk
    :param n_jobs: jobs of the table
    """

    def __init__(self, n_finished: int, n_jobs: int) -> None:
        super().__init__(f"{n_finished} of {n_jobs} jobs are finished")
        self.n_finished = n_finished
        self.n_jobs = n_jobs


def run_table(
    specification: Specification,
    out: str | Path,
    *,
    n_workers: int | None = None,
    backend: Backend = "local",
    address: str = "auto",
    command: str = "",
    console: Console | None = None,
) -> Table:
    """Do all that is left to do of a table and write its report.

    :param specification: what to compare
    :param out: folder of the table (see `RunFolder`); what an earlier call finished there is kept
    :param n_workers: jobs at a time, by default one per core
    :param backend: where they are done: in processes of this machine, or on a Ray cluster
    :param address: of the Ray cluster
    :param command: what the user typed, kept in the records
    :param console: where to show progress; None for nowhere
    :raises UserError: something could not work; nothing was trained
    :raises InterruptedTable: Ctrl-C; the same call goes on from there
    """
    folder = RunFolder(Path(out))
    jobs = plan(specification)
    names = {job.settings["algorithm"] for job in jobs if "algorithm" in job.settings}
    specs = [registry.get(name) for name in sorted(names)]
    setting = Setting(folder, tuple(specs), command)
    with folder.locked():
        folder.prepare()
        folder.write_text("specification.yaml", specification.to_yaml())
        folder.write_jobs(jobs)
        pool = _open_pool(backend, setting, n_workers, address)
        display = Display(console or Console(quiet=True), jobs, pool.size)
        events = run_jobs(jobs, folder, pool, command)
        try:
            with display.shown(), contextlib.closing(events):
                for event in events:
                    display.update(event)
        except KeyboardInterrupt:
            folder.tidy()
            n_finished = sum(folder.is_finished(job.id) for job in jobs)
            raise InterruptedTable(n_finished, len(jobs)) from None
        return write_report(folder)


def _open_pool(backend: Backend, setting: Setting, size: int | None, address: str) -> Pool:
    if backend == "local":
        return LocalPool(setting, size)
    from sb3_il_plus.tables.ray_pool import RayPool

    return RayPool(setting, size, address)


def comparison(
    environment: str,
    *,
    expert: str | None = None,
    demonstrations: str | None = None,
    algorithms: Sequence[str] | None = None,
    n_episodes: int | None = None,
    timesteps: int | None = None,
    hyperparameters: Mapping[str, Mapping[str, Any]] | None = None,
    **others: Any,
) -> Specification:
    """The specification of comparing algorithms in one environment, tuned by the presets.

    :param expert: path or algorithm; by default PPO where no demonstrations are given,
        and none where they are
    :param demonstrations: path; None to collect from the expert
    :param algorithms: names; None for every one of the family `imitation` that applies
    :param n_episodes: of demonstrations
    :param timesteps: budget of each algorithm in its own unit, in place of the presets'
    :param hyperparameters: algorithm -> changes to the presets'
    :param others: see `Specification`
    :raises UserError: an argument is wrong, or no algorithm applies
    """
    if demonstrations is None and n_episodes is None:
        n_episodes = DEFAULT_EPISODES
    if expert is None and demonstrations is None:
        expert = DEFAULT_EXPERT
    task = Task(
        World(environment, None if expert is None else expert_settings(expert)),
        build(
            DemonstrationSettings,
            {"path": demonstrations, "n_episodes": n_episodes},
            "demonstrations",
        ),
    )
    names = list(algorithms or [spec.name for spec in task.applicable()])
    if not names:
        raise InapplicableError(f"no algorithm of the family 'imitation' applies to {environment}")
    changes = dict(hyperparameters or {})
    for name, change in changes.items():
        if name not in names or not isinstance(change, Mapping):
            raise UserError(
                f"hyperparameters are given for {name!r} and must be for an algorithm "
                f"({', '.join(names)}), as in --set {names[0]}.KEY=VALUE"
            )
    content = {
        "environments": [environment],
        "expert": task.world.expert,
        "demonstrations": [task.demonstrations],
        "algorithms": {
            name: tuned_settings(
                registry.get(name), environment, timesteps, changes.get(name)
            ).model_dump()
            for name in names
        },
        **others,
    }
    return build(Specification, content, "compare")


def expert_settings(expert: str) -> ExpertSettings:
    """Understand what users type for an expert: an algorithm's name, or a path.

    :raises UnknownNameError: it is neither; the message names the nearest algorithm
    """
    path = Path(expert)
    is_path = path.exists() or path.suffix != "" or len(path.parts) > 1
    if is_path and expert not in registry.registry.names():
        return ExpertSettings(path=expert)
    return ExpertSettings(algorithm=registry.get(expert).name)
