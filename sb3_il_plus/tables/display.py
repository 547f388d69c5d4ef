"""What a person sees while jobs run: a live panel on a terminal, one line per job elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sb3_il_plus.tables.estimates import Estimates, count_groups, duration, group_of
from sb3_il_plus.tables.jobs import Job
from sb3_il_plus.tables.runner import Event

_MARKS = {
    "started": ("started", "dim"),
    "kept": ("kept", "dim"),
    "finished": ("finished", "green"),
    "failed": ("failed", "red"),
    "skipped": ("skipped", "yellow"),
}


class Display:
    """Shows events of the runner.

    :param console: where to
    :param jobs: all that there are
    :param n_workers: processes that work on them
    """

    def __init__(self, console: Console, jobs: Sequence[Job], n_workers: int) -> None:
        self.console = console
        self.n_jobs = len(jobs)
        self.n_workers = n_workers
        self.counts = dict.fromkeys(("kept", "finished", "failed", "skipped"), 0)
        self._running: dict[str, tuple[Job, float]] = {}
        self._start = time.monotonic()
        self._left = count_groups(jobs)
        self._estimates = Estimates()

    @contextmanager
    def shown(self) -> Iterator[Display]:
        """Keep the live panel up meanwhile, on a terminal."""
        if not self.console.is_terminal:
            yield self
            return
        with Live(self, console=self.console, transient=True, refresh_per_second=4):
            yield self

    def update(self, event: Event) -> None:
        """Take in what happened."""
        if event.state == "started":
            self._running[event.job.id] = (event.job, time.monotonic())
            if self.console.is_terminal:
                return
        else:
            self._running.pop(event.job.id, None)
            self.counts[event.state] += 1
            self._left[group_of(event.job.kind, event.job.settings)] -= 1
            if event.state in ("kept", "finished"):
                self._estimates.learn(event.record)
        self.console.print(self._line(event), highlight=False, soft_wrap=True)

    @property
    def n_done(self) -> int:
        """Jobs that need no more attention."""
        return sum(self.counts.values())

    def seconds_left(self) -> float:
        """About how long the rest will take."""
        now = time.monotonic()
        seconds = self._estimates.total(self._left)
        for job, since in self._running.values():
            whole = self._estimates.seconds(group_of(job.kind, job.settings))
            seconds -= min(now - since, whole)
        n_left = self.n_jobs - self.n_done
        return seconds / max(1, min(self.n_workers, n_left))

    def __rich__(self) -> RenderableType:
        now = time.monotonic()
        summary = Text.assemble(
            f"{self.counts['finished'] + self.counts['kept']} finished, ",
            f"{len(self._running)} running, ",
            (f"{self.counts['failed']} failed", "red" if self.counts["failed"] else ""),
            f" of {self.n_jobs} jobs, {duration(now - self._start)} elapsed, ",
            f"about {duration(self.seconds_left())} left",
        )
        overview = Table.grid()
        overview.add_row(ProgressBar(self.n_jobs, self.n_done, width=60))
        overview.add_row(summary)
        running = Table.grid(padding=(0, 2))
        for job, since in self._running.values():
            running.add_row(f"  {job.label}", Text(duration(now - since), style="dim"))
        return Group(overview, running)

    def _line(self, event: Event) -> Text:
        word, style = _MARKS[event.state]
        width = len(str(self.n_jobs))
        line = Text.assemble(
            (f"[{self.n_done:>{width}}/{self.n_jobs}] ", "dim"),
            (f"{word:<8} ", style),
            event.job.label,
        )
        if detail := _detail(event):
            line.append(f": {detail}")
        return line


def _detail(event: Event) -> str:
    record: dict[str, Any] = event.record
    if event.state == "failed":
        return str(record["error"])
    if event.state == "started":
        return ""
    if event.state == "skipped":
        return "a job that it needs failed"
    result = record["result"]
    parts = []
    if "mean_return" in result:
        parts.append(f"return {result['mean_return']:,.1f}")
    if "n_episodes" in result:
        parts.append(f"{result['n_episodes']:,} episodes, {result['n_transitions']:,} transitions")
    if event.state == "finished":
        parts.append(duration(record["seconds"]))
    return ", ".join(parts)
