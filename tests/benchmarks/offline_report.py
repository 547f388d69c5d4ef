"""The tables that `bench_offline_quality.py` prints from its results.

A mean over seeds stands with its 95 % interval (Student's t). Two of them differ where the
intervals do not meet; where there are fewer than two seeds, nothing is concluded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from offline_pairs import CONTINUOUS, DATA, DISCRETE, N_TRANSITIONS, PAIRS, QUALITIES

from sb3_il_plus.tables.statistics import Estimate, estimate

OFFLINE_RL = {
    CONTINUOUS: ("iql", "cql", "td3_bc"),
    DISCRETE: ("discrete_iql", "discrete_cql"),
}
"""Which algorithms the texts speak of."""


def report(folder: Path) -> None:
    """Print all tables of a folder."""
    for env_id in DATA:
        print(f"### {env_id}\n")
        print("| algorithm | of | random | medium | expert | mixed | ours is |")
        print("|---|---|---|---|---|---|---|")
        for row in _rows(folder, env_id):
            print(f"| {' | '.join(row)} |")
        print()
    for env_id in DATA:
        print(f"### What the texts claim, in {env_id}\n")
        print("| claim | data | left | right | seen? |")
        print("|---|---|---|---|---|")
        for row in _claims(folder, env_id):
            print(f"| {' | '.join(row)} |")
        print()


def _rows(folder: Path, env_id: str) -> Iterator[list[str]]:
    """Our results and d3rlpy's, two rows for each algorithm; and the data's own returns."""
    data = [estimate(DATA[env_id](q, N_TRANSITIONS).episode_returns) for q in QUALITIES.values()]
    yield ["(the data)", "", *map(_shown, data), ""]
    for name in [pair.ours for pair in PAIRS if pair.env_id == env_id]:
        ours, theirs = (
            [_of(folder, env_id, quality, name, side) for quality in QUALITIES]
            for side in ("ours", "theirs")
        )
        if not any(ours):
            continue
        compared = [
            (quality, _highest(mine) < _lowest(other))
            for quality, mine, other in zip(QUALITIES, ours, theirs, strict=True)
            if mine and other and mine.half_width is not None and other.half_width is not None
        ]
        below = [quality for quality, is_below in compared if is_below]
        verdict = f"below in {', '.join(below)}" if below else "not below"
        yield [name, "ours", *map(_shown, ours), verdict if compared else "-"]
        if any(theirs):
            yield ["", "d3rlpy", *map(_shown, theirs), ""]


def _claims(folder: Path, env_id: str) -> Iterator[list[str]]:
    """Offline RL against cloning on expert and mixed data, and against the data on random data."""
    bc = {quality: _of(folder, env_id, quality, "bc", "ours") for quality in QUALITIES}
    random = estimate(DATA[env_id]("random", N_TRANSITIONS).episode_returns)
    for name in OFFLINE_RL[env_id]:
        reached = {quality: _of(folder, env_id, quality, name, "ours") for quality in QUALITIES}
        for quality, left, right, claim, strict in (
            ("expert", bc["expert"], reached["expert"], f"bc is not worse than {name}", False),
            ("mixed", reached["mixed"], bc["mixed"], f"{name} beats bc", True),
            ("random", reached["random"], random, f"{name} beats what made the data", True),
        ):
            if left is not None and right is not None:
                seen = _seen(left, right, strict)
                yield [claim, quality, _shown(left), _shown(right), seen]


def _of(folder: Path, env_id: str, quality: str, name: str, side: str) -> Estimate | None:
    """Mean return over the seeds; None where there is no result."""
    found = sorted((folder / env_id / quality).glob(f"{name}-{side}-*.json"))
    returns = [json.loads(path.read_text())["mean_return"] for path in found]
    return estimate(returns) if returns else None


def _seen(left: Estimate, right: Estimate, strict: bool) -> str:
    """Whether the left one is better, or (`strict` is False) not worse."""
    if left.half_width is None or right.half_width is None:
        return "one seed"
    if _highest(left) < _lowest(right):
        return "no, the contrary"
    if not strict or _lowest(left) > _highest(right):
        return "yes"
    return "in the mean" if left.mean > right.mean else "no"


def _lowest(value: Estimate) -> float:
    return value.mean - (value.half_width or 0.0)


def _highest(value: Estimate) -> float:
    return value.mean + (value.half_width or 0.0)


def _shown(value: Estimate | None) -> str:
    if value is None:
        return "-"
    spread = "" if value.half_width is None else f" ± {value.half_width:.0f}"
    return f"{value.mean:.0f}{spread}"
