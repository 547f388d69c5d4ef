"""`summarise`: from the records in a folder to the rows of its table.

Reads nothing but the records, so a report can be made again at any time, of a half-finished table
too. What a row shows rests on runs that finished; the others are counted, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sb3_il_plus.tables.runs import FINISHED, RunFolder
from sb3_il_plus.tables.statistics import Estimate, estimate, share_above_random

EXPERT, RANDOM, DEMONSTRATIONS = "expert", "random", "demonstrations"

_ROW_OF_KIND = {"expert evaluation": EXPERT, "random evaluation": RANDOM}

Record = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """Returns during the training of one algorithm.

    :param timestep: what a timestep of it is
    :param timesteps: shape (points,)
    :param returns: shape (runs, points), means over the evaluation's episodes
    """

    timestep: str
    timesteps: np.ndarray
    returns: np.ndarray


@dataclass(frozen=True)
class Row:
    """One line of a table. Figures are means over the runs, None where they mean nothing.

    :param name: an algorithm, or what it is compared with
    :param returns: mean return of each run that finished
    :param n_planned: how many runs there should be
    :param errors: of those that failed or could not begin
    :param environment_steps: taken in learning
    :param demonstrations: episodes and transitions that were learned from
    :param expert_queries: labels asked of the expert while learning
    :param seconds: of training, evaluations not counted
    """

    name: str
    returns: Sequence[float]
    n_planned: int
    errors: Sequence[str] = ()
    environment_steps: float | None = None
    demonstrations: tuple[int, int] | None = None
    expert_queries: float | None = None
    seconds: float | None = None
    curve: Curve | None = None

    @property
    def estimate(self) -> Estimate | None:
        """Mean over the runs, or None where none finished."""
        return estimate(self.returns) if self.returns else None

    @property
    def is_algorithm(self) -> bool:
        """Whether it is not just what algorithms are compared with."""
        return self.name not in (EXPERT, RANDOM, DEMONSTRATIONS)


@dataclass(frozen=True)
class Table:
    """What a folder's records say.

    :param rows: expert, random policy, then the algorithms in the order of the specification
    :param records: of all jobs that ended, in the order of the jobs
    """

    environment: str
    rows: Sequence[Row]
    records: Sequence[Record] = field(repr=False, default=())

    def mean_of(self, name: str) -> float | None:
        """Mean return of a row, where it exists and has runs."""
        row = next((row for row in self.rows if row.name == name), None)
        return row.estimate.mean if row is not None and row.estimate is not None else None

    @property
    def expert_mean(self) -> float | None:
        """The return that counts as 100 %: the expert's, or else the demonstrations' own."""
        expert = self.mean_of(EXPERT)
        return self.mean_of(DEMONSTRATIONS) if expert is None else expert

    def share(self, row: Row) -> float | None:
        """A row's share of the expert's return above random, as a fraction."""
        random, expert = self.mean_of(RANDOM), self.expert_mean
        if row.estimate is None or random is None or expert is None:
            return None
        return share_above_random(row.estimate.mean, random, expert)

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Row and error of every run that failed or could not begin."""
        return [(row.name, error) for row in self.rows for error in row.errors]


def summarise(folder: RunFolder) -> Table:
    """Read a folder's records.

    :raises FileError: there is no table in the folder
    """
    jobs = {job["id"]: job for job in folder.read_jobs()}
    records = {id_: record for id_ in jobs if (record := folder.read_record(id_)) is not None}
    by_row: dict[str, list[str]] = {}
    for job in jobs.values():
        name = _ROW_OF_KIND.get(job["kind"]) or job["settings"].get("algorithm")
        if name is not None and job["kind"] != "expert":
            by_row.setdefault(name, []).append(job["id"])
    rows = [_row(name, ids, jobs, records) for name, ids in by_row.items()]
    if EXPERT not in by_row:
        rows += _demonstrations_row(records.values())
    order = (EXPERT, DEMONSTRATIONS, RANDOM)
    rows.sort(key=lambda row: order.index(row.name) if row.name in order else len(order))
    environment = next(iter(jobs.values()))["settings"]["environment"]
    return Table(environment, rows, list(records.values()))


def _row(
    name: str, ids: Sequence[str], jobs: Mapping[str, Record], records: Mapping[str, Record]
) -> Row:
    ended = [records[id_] for id_ in ids if id_ in records]
    results = [record["result"] for record in ended if record["status"] == FINISHED]
    errors = dict.fromkeys(error for id_ in ids if (error := _error(id_, jobs, records)))
    figures: dict[str, Any] = {}
    needed = {role: records.get(id_) for id_ in ids for role, id_ in jobs[id_]["needs"].items()}
    if results and "training_seconds" in results[0]:
        figures = _training_figures(results, needed.get("demonstrations"))
    elif results and name == EXPERT:
        figures = _expert_figures(needed["expert"])
    return Row(
        name,
        [result["mean_return"] for result in results],
        n_planned=len(ids),
        errors=list(errors),
        **figures,
    )


def _training_figures(results: Sequence[Record], demonstrations: Record | None) -> Record:
    data = {} if demonstrations is None else demonstrations["result"]
    return {
        "environment_steps": _mean(results, "environment_steps"),
        "demonstrations": (data.get("n_episodes", 0), data.get("n_transitions", 0)),
        "expert_queries": _mean(results, "expert_queries"),
        "seconds": _mean(results, "training_seconds"),
        "curve": _curve(results),
    }


def _expert_figures(expert: Record | None) -> Record:
    metadata = {} if expert is None else expert["result"]["metadata"]
    return {
        "environment_steps": metadata.get("total_timesteps"),
        "seconds": metadata.get("training_seconds"),
    }


def _demonstrations_row(records: Iterable[Record]) -> list[Row]:
    """The demonstrations' own return, which stands in for an expert that is not there."""
    for record in records:
        if record["kind"] == DEMONSTRATIONS and record["status"] == FINISHED:
            returns = record["result"]["returns"]
            if returns is not None:
                return [Row(DEMONSTRATIONS, [float(np.mean(returns))], n_planned=1)]
    return []


def _curve(results: Sequence[Record]) -> Curve | None:
    """The runs' curves at their common points; runs of one algorithm are evaluated alike."""
    curves = [result["curve"] for result in results if result["curve"]]
    if not curves:
        return None
    n_points = min(map(len, curves))
    return Curve(
        results[0]["timestep"],
        np.mean([[point["timesteps"] for point in curve[:n_points]] for curve in curves], axis=0),
        np.array([[np.mean(point["returns"]) for point in curve[:n_points]] for curve in curves]),
    )


def _error(id_: str, jobs: Mapping[str, Record], records: Mapping[str, Record]) -> str | None:
    """Why a job has no result: its own error, or that of a job it needs; None for neither."""
    if id_ in records:
        return records[id_].get("error")
    for needed in jobs[id_]["needs"].values():
        if error := _error(needed, jobs, records):
            return f"the {jobs[needed]['kind']} failed: {error}" if needed in records else error
    return None


def _mean(results: Sequence[Record], name: str) -> float:
    return float(np.mean([result[name] for result in results]))
