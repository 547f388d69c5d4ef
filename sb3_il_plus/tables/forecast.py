"""`forecast`: what a table would do, without doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sb3_il_plus import registry
from sb3_il_plus.tables.estimates import Estimates, count_groups, duration, group_of
from sb3_il_plus.tables.jobs import Cell, Job
from sb3_il_plus.tables.planning import plan
from sb3_il_plus.tables.runs import FINISHED, RunFolder
from sb3_il_plus.tables.specification import Specification

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Forecast:
    """The jobs of a table and what they will take.

    :param jobs: all of them
    :param finished: ids of those that need not be done again
    :param seconds: what the others take on one core
    :param wall_seconds: what they take with that many processes
    """

    jobs: Sequence[Job]
    finished: frozenset[str]
    n_workers: int
    seconds: float
    wall_seconds: float
    estimates: Estimates

    def __rich__(self) -> RenderableType:
        from rich import box
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table as RichTable

        shown = RichTable(box=box.SIMPLE, pad_edge=False, padding=(0, 2, 0, 0))
        for header in ("task and row", "jobs", "finished", "each", "takes about"):
            shown.add_column(header, justify="left" if header == "task and row" else "right")
        for texts in self._rows():
            shown.add_row(*map(escape, texts))
        n_left = len(self.jobs) - len(self.finished)
        summary = (
            f"{len(self.jobs):,} jobs, {n_left:,} to do: about {duration(self.seconds)} on one "
            f"core, {duration(self.wall_seconds)} with {self.n_workers} processes. Rough where "
            "nothing like it has run in this folder yet."
        )
        return Group(shown, summary)

    def _rows(self) -> Iterator[tuple[str, ...]]:
        """One for each row of each task; jobs that several have in common stand in the first."""
        counts: Counter[Cell] = Counter()
        finished: Counter[Cell] = Counter()
        first: dict[Cell, Job] = {}
        for job in self.jobs:
            cell = job.cells[0] if job.cells else (job.settings["environment"], "expert (training)")
            first.setdefault(cell, job)
            counts[cell] += 1
            finished[cell] += job.id in self.finished
        tasks = list(dict.fromkeys(task for task, _ in first))
        for task in tasks:
            yield (task, "", "", "", "")
            for cell, job in first.items():
                if cell[0] == task:
                    yield (
                        f"  {cell[1]}",
                        f"{counts[cell]:,}",
                        f"{finished[cell]:,}",
                        _amount(job),
                        duration(self.estimates.seconds(group_of(job.kind, job.settings))),
                    )


def forecast(specification: Specification, out: str | Path, n_workers: int) -> Forecast:
    """Plan a table and estimate how long it takes; nothing is written.

    :param out: folder of the table, whose finished jobs need not be done again
    :param n_workers: processes
    :raises UserError: something could not work
    """
    jobs = plan(specification)
    folder = RunFolder(Path(out))
    estimates = Estimates()
    finished = set()
    for job in jobs:
        record = folder.read_record(job.id)
        if record is not None and record["status"] == FINISHED:
            finished.add(job.id)
            estimates.learn(record)
    left = [job for job in jobs if job.id not in finished]
    seconds = estimates.total(count_groups(left))
    wall = max(seconds / n_workers, estimates.longest_chain(left))
    return Forecast(jobs, frozenset(finished), n_workers, seconds, wall, estimates)


def _amount(job: Job) -> str:
    """What one job does, in a word or two."""
    if job.kind == "training":
        unit = registry.get(job.settings["algorithm"]).timestep
        return f"{job.settings['timesteps']:,} {unit.split()[-1]}s"
    if "n_eval_episodes" in job.settings:
        return f"{job.settings['n_eval_episodes']:,} episodes"
    return ""
