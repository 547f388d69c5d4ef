"""What is to be measured for the claims of a table, planned after all its other jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sb3_il_plus.errors import UserError, suggest
from sb3_il_plus.tables.claims import Comparison
from sb3_il_plus.tables.jobs import Job
from sb3_il_plus.tables.measures import MEASURES
from sb3_il_plus.tables.specification import Specification

Rows = dict[str, dict[str, list[Job]]]
"""Task -> row -> jobs, one per run."""


def measurements(specification: Specification, jobs: Sequence[Job]) -> Iterator[Job]:
    """The measurements that the claims of a specification ask for.

    :param jobs: all others, each shown in one cell
    :raises UserError: a claim is about a task or row that there is not
    """
    by_task: Rows = {}
    for job in jobs:
        for task, row in job.cells:
            by_task.setdefault(task, {}).setdefault(row, []).append(job)
    for number, claim in enumerate(specification.claims):
        for comparison in claim.comparisons:
            try:
                yield from _of_comparison(comparison, by_task)
            except UserError as error:
                raise UserError(f"claims.{number}: {error}") from error


def _of_comparison(comparison: Comparison, by_task: Rows) -> Iterator[Job]:
    for term in comparison.terms():
        for task in tasks_of_term(term.tasks, list(by_task)):
            rows = by_task[task]
            known = sorted(set(rows) - {"demonstrations"})
            if term.row not in known:
                raise UserError(
                    f"there is no row {term.row!r} in {task}{suggest(term.row, known)} Rows are: "
                    f"{', '.join(known)}"
                )
            if comparison.quantity in MEASURES:
                yield from _of_row(comparison.quantity, task, term.row, rows)


def tasks_of_term(named: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """The tasks that a side of a comparison looks at: by default, the only one that there is.

    :raises UserError: there is no such task, or there are several to choose from
    """
    if not named and len(known) == 1:
        return known
    listed = f" Tasks are: {'; '.join(known)}"
    if not named:
        raise UserError(f"say in which task a row is compared.{listed}")
    for task in named:
        if task not in known:
            raise UserError(f"there is no task {task!r}{suggest(task, list(known))}{listed}")
    return named


def _of_row(measure: str, task: str, row: str, rows: dict[str, list[Job]]) -> Iterator[Job]:
    if "expert" not in rows:
        raise UserError(f"{measure} is measured by an expert, and {task} has none")
    if row == "random":
        raise UserError(f"{measure} is measured of agents, not of random actions (in {task})")
    expert = rows["expert"][0]
    own = {name: True for name in ("own_expert",) if name in expert.settings}
    for job in rows[row]:
        settings = own | {
            name: job.settings[name] for name in ("environment", "run", "seed", "n_eval_episodes")
        }
        needs = {**expert.needs, "demonstrations": rows["demonstrations"][0].id}
        if job.kind == "training":
            needs["training"] = job.id
        yield Job(
            "measurement",
            f"{measure} of {row} run {settings['run']} in {task}",
            {**settings, "measure": measure},
            needs,
            cells=((task, measured_row(measure, row)),),
            time_limit=job.time_limit,
        )


def measured_row(measure: str, row: str) -> str:
    """What stands in a cell in place of a row's name, where it is not the row that is shown."""
    return f"{row}: {measure}"
