"""`Estimates`: how long jobs will take, judged by others like them that have ended.

Where nothing like a job has ended yet, a rough rate stands in: that of small networks and classic
control on one core. Pixels, large networks and slow simulators take many times as long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sb3_il_plus.tables.jobs import Job

_ROUGH_SECONDS = {
    "expert": 60.0,
    "demonstrations": 2.0,
    "random evaluation": 0.02,
    "expert evaluation": 0.04,
    "training": 0.0015,
    "measurement": 5.0,
}
"""For each unit of a job: an episode of an evaluation, a timestep of a training, else the job."""


class Group(NamedTuple):
    """Jobs that take equally long, as far as one can tell."""

    kind: str
    environment: str
    algorithm: str
    units: int


def group_of(kind: str, settings: Mapping[str, Any]) -> Group:
    """The group of a job, or of the record of one."""
    units = {"training": "timesteps", "random evaluation": "n_eval_episodes"}
    units["expert evaluation"] = "n_eval_episodes"
    amount = settings[units[kind]] if kind in units else 1
    return Group(kind, settings["environment"], settings.get("algorithm", ""), amount)


class Estimates:
    """Learns from records what jobs cost."""

    def __init__(self) -> None:
        self._seconds: Counter[tuple[str, ...]] = Counter()
        self._units: Counter[tuple[str, ...]] = Counter()

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take in the record of a job that finished."""
        group = group_of(record["kind"], record["settings"])
        for key in _keys(group):
            self._seconds[key] += record["seconds"]
            self._units[key] += group.units

    def seconds(self, group: Group) -> float:
        """What one job of a group takes on one core."""
        for key in _keys(group):
            if self._units[key]:
                return group.units * self._seconds[key] / self._units[key]
        return group.units * _ROUGH_SECONDS[group.kind]

    def total(self, groups: Mapping[Group, int]) -> float:
        """What so many jobs of each group take on one core."""
        return sum(count * self.seconds(group) for group, count in groups.items())

    def longest_chain(self, jobs: Sequence[Job]) -> float:
        """What the longest chain of jobs takes that must wait for each other.

        :param jobs: each after those that it needs; others count as done
        """
        ends: dict[str, float] = {}
        for job in jobs:
            start = max((ends.get(needed, 0.0) for needed in job.needs.values()), default=0.0)
            ends[job.id] = start + self.seconds(group_of(job.kind, job.settings))
        return max(ends.values(), default=0.0)


def count_groups(jobs: Iterable[Job]) -> Counter[Group]:
    """How many jobs each group has."""
    return Counter(group_of(job.kind, job.settings) for job in jobs)


def duration(seconds: float) -> str:
    """`1.2 s`, `12 s`, `3:07` or `1:02:03`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def _keys(group: Group) -> tuple[tuple[str, ...], ...]:
    """From what is most like a group to what is least like it."""
    whole = (group.kind, group.environment, group.algorithm)
    return whole, (group.kind, "", group.algorithm)
