"""What a person sees while jobs run: a live panel on a terminal, one line per job elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

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
    :param n_jobs: how many jobs there are
    """

    def __init__(self, console: Console, n_jobs: int) -> None:
        self.console = console
        self.n_jobs = n_jobs
        self.counts = dict.fromkeys(("kept", "finished", "failed", "skipped"), 0)
        self._running: dict[str, tuple[Job, float]] = {}
        self._start = time.monotonic()

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
        self.console.print(self._line(event), highlight=False, soft_wrap=True)

    @property
    def n_done(self) -> int:
        """Jobs that need no more attention."""
        return sum(self.counts.values())

    def __rich__(self) -> RenderableType:
        now = time.monotonic()
        summary = Text.assemble(
            f"{self.counts['finished'] + self.counts['kept']} finished, ",
            f"{len(self._running)} running, ",
            (f"{self.counts['failed']} failed", "red" if self.counts["failed"] else ""),
            f" of {self.n_jobs} jobs, {_duration(now - self._start)} elapsed",
        )
        overview = Table.grid()
        overview.add_row(ProgressBar(self.n_jobs, self.n_done, width=60))
        overview.add_row(summary)
        running = Table.grid(padding=(0, 2))
        for job, since in self._running.values():
            running.add_row(f"  {job.label}", Text(_duration(now - since), style="dim"))
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
        parts.append(_duration(record["seconds"]))
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    """`1.2 s`, `12 s`, `3:07` or `1:02:03`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
