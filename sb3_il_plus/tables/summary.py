"""`summarise`: from the records in a folder to the tasks and rows of its table.

Reads nothing but the records, so a report can be made again at any time, of a half-finished table
too. What a row shows rests on runs that finished; the others are counted, with the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_il_plus.data.reference_scores import ReferenceScores
from sb3_il_plus.errors import UnknownNameError
from sb3_il_plus.tables.published import Published, PublishedReturn
from sb3_il_plus.tables.records import build
from sb3_il_plus.tables.runs import FINISHED, RunFolder
from sb3_il_plus.tables.scores import Improvement, Score, improvements, score
from sb3_il_plus.tables.statistics import Estimate, estimate, share_above_random

if TYPE_CHECKING:
    from sb3_il_plus.tables.verdicts import Judgement

EXPERT, RANDOM, DEMONSTRATIONS = "expert", "random", "demonstrations"
MEASUREMENT = "measurement"
"""Kind of the jobs that no row shows: claims rest on them."""

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
class Section:
    """One task of a table: an environment with what there is to learn from.

    :param name: of the task; the environment's id where that says it all
    :param rows: expert, random policy, then the algorithms in the order of the specification
    :param published: scores to measure by in place of the measured expert and random policy
    :param source: settings that made its demonstrations
    :param theirs: what others report of it
    """

    name: str
    environment: str
    rows: Sequence[Row]
    published: ReferenceScores | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    theirs: Published | None = None

    def published_return(self, row: Row) -> PublishedReturn | None:
        """What others report of a row, learned from as many demonstrations."""
        if self.theirs is None:
            return None
        return self.theirs.of(row.name, self.source.get("n_episodes"))

    def mean_of(self, name: str) -> float | None:
        """Mean return of a row, where it exists and has runs."""
        row = next((row for row in self.rows if row.name == name), None)
        return row.estimate.mean if row is not None and row.estimate is not None else None

    @property
    def expert_mean(self) -> float | None:
        """The measured return of the expert, or else the demonstrations' own."""
        expert = self.mean_of(EXPERT)
        return self.mean_of(DEMONSTRATIONS) if expert is None else expert

    @property
    def reference(self) -> tuple[float, float] | None:
        """Returns that have the scores 0 and 1; None where there is nothing to measure by."""
        if self.published is not None:
            return self.published.random, self.published.expert
        random, expert = self.mean_of(RANDOM), self.expert_mean
        if random is None or expert is None or expert <= random:
            return None
        return random, expert

    def scores(self, row: Row) -> np.ndarray | None:
        """The score of each run of a row, shape (runs,); None where there is none."""
        if self.reference is None or not row.returns:
            return None
        return np.array([share_above_random(value, *self.reference) for value in row.returns])

    def share(self, row: Row) -> float | None:
        """A row's share of the expert's return above random, as a fraction."""
        if self.reference is None or row.estimate is None:
            return None
        return share_above_random(row.estimate.mean, *self.reference)


@dataclass(frozen=True)
class Table:
    """What a folder's records say.

    :param name: what to call it
    :param sections: its tasks
    :param records: of all jobs that ended, in the order of the jobs
    :param claims: what the runs say of the statements that the table is asked about
    """

    name: str
    sections: Sequence[Section]
    records: Sequence[Record] = field(repr=False, default=())
    claims: Sequence[Judgement] = ()

    @property
    def rows(self) -> list[Row]:
        """The rows of all tasks."""
        return [row for section in self.sections for row in section.rows]

    @property
    def algorithms(self) -> list[str]:
        """Names of the algorithms, each once."""
        return list(dict.fromkeys(row.name for row in self.rows if row.is_algorithm))

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Row and error of every run that failed or could not begin, and of measurements."""
        found = [
            (row.name if len(self.sections) == 1 else f"{row.name} in {section.name}", error)
            for section in self.sections
            for row in section.rows
            for error in row.errors
        ]
        return found + [
            (record["label"], record["error"])
            for record in self.records
            if record["kind"] == MEASUREMENT and record["status"] != FINISHED
        ]

    @cached_property
    def scores(self) -> list[Score]:
        """Each algorithm's score over all tasks, where it has runs that can be measured."""
        by_name: dict[str, dict[str, np.ndarray]] = {name: {} for name in self.algorithms}
        for section in self.sections:
            for row in section.rows:
                values = section.scores(row)
                if row.is_algorithm and values is not None:
                    by_name[row.name][section.name] = values
        return [score(name, tasks) for name, tasks in by_name.items() if tasks]

    @cached_property
    def improvements(self) -> list[Improvement]:
        """Each algorithm compared with each other one."""
        returns: dict[str, dict[str, np.ndarray]] = {name: {} for name in self.algorithms}
        for section in self.sections:
            for row in section.rows:
                if row.is_algorithm and row.returns:
                    returns[row.name][section.name] = np.array(row.returns)
        return improvements(returns)


def summarise(folder: RunFolder) -> Table:
    """Read a folder's records.

    :raises FileError: there is no table in the folder
    """
    jobs = {job["id"]: job for job in folder.read_jobs()}
    records = {id_: record for id_ in jobs if (record := folder.read_record(id_)) is not None}
    asked = folder.read_specification()
    by_section: dict[str, dict[str, list[str]]] = {}
    for id_, job in jobs.items():
        for section, row in job["cells"] if job["kind"] != MEASUREMENT else ():
            by_section.setdefault(section, {}).setdefault(row, []).append(id_)
    # A job that tasks share comes with the first of them; the order of rows is that of all tasks.
    order = [EXPERT, DEMONSTRATIONS, RANDOM, *(row for rows in by_section.values() for row in rows)]
    sections = [
        _section(
            name,
            {row: by_row[row] for row in sorted(by_row, key=order.index)},
            jobs,
            records,
            asked,
        )
        for name, by_row in by_section.items()
    ]
    name = asked.get("name") or (sections[0].name if len(sections) == 1 else folder.path.name)
    ended = [{**jobs[id_], **record} for id_, record in records.items()]
    return Table(name, sections, ended)


def _section(
    name: str,
    by_row: Mapping[str, Sequence[str]],
    jobs: Mapping[str, Record],
    records: Mapping[str, Record],
    asked: Mapping[str, Any],
) -> Section:
    rows = []
    for row, ids in by_row.items():
        if row != DEMONSTRATIONS:
            rows.append(_row(row, ids, jobs, records))
        elif EXPERT not in by_row:
            rows += _demonstrations_row(records[id_] for id_ in ids if id_ in records)
    environment = jobs[next(iter(by_row.values()))[0]]["settings"]["environment"]
    published = None
    if asked.get("references") == "d4rl":
        with contextlib.suppress(UnknownNameError):
            published = ReferenceScores.d4rl(environment)
    source = jobs[by_row[DEMONSTRATIONS][0]]["settings"] if DEMONSTRATIONS in by_row else {}
    return Section(name, environment, rows, published, source, _theirs(asked, name))


def _theirs(asked: Mapping[str, Any], task: str) -> Published | None:
    """What the table's specification says that others report of a task's environment."""
    for name, special in (asked.get("environments") or {}).items():
        if f"{task},".startswith(f"{name},") and (found := special.get("published")):
            return build(Published, found, f"published of {name}")
    return None


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
        figures = _expert_figures(needed.get("expert"))
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
        if record["status"] == FINISHED:
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
