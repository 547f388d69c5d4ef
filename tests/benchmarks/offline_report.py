"""The tables that `bench_offline_quality.py` prints from its results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from offline_pairs import CONTINUOUS, DISCRETE, PAIRS

from sb3_il_plus.tables.statistics import Estimate, estimate

QUALITIES = ("random", "medium", "expert", "mixed")
OFFLINE_RL = {
    CONTINUOUS: ("iql", "cql", "td3_bc"),
    DISCRETE: ("discrete_iql", "discrete_cql"),
}
"""Which algorithms the texts speak of."""


def report(folder: Path) -> None:
    """Print all tables of a folder."""
    for env_id in (CONTINUOUS, DISCRETE):
        print("\n".join(_against_the_peer(folder, env_id)), end="\n\n")
    for env_id in (CONTINUOUS, DISCRETE):
        print("\n".join(_claims(folder, env_id)), end="\n\n")


def _against_the_peer(folder: Path, env_id: str) -> list[str]:
    lines = [
        f"### {env_id}",
        "",
        "| algorithm | data | ours | d3rlpy | verdict |",
        "|---|---|---|---|---|",
    ]
    for name in [pair.ours for pair in PAIRS if pair.env_id == env_id]:
        for quality in QUALITIES:
            ours = _of(folder, env_id, quality, name, "ours")
            theirs = _of(folder, env_id, quality, name, "theirs")
            if ours is not None:
                cells = [name, quality, _shown(ours), _shown(theirs), _verdict(ours, theirs)]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def _claims(folder: Path, env_id: str) -> list[str]:
    """Offline RL against cloning on expert and mixed data, and against the data on random data."""
    lines = [
        f"### What the texts claim, in {env_id}",
        "",
        "| claim | data | left | right | verdict |",
        "|---|---|---|---|---|",
    ]
    bc = {quality: _of(folder, env_id, quality, "bc", "ours") for quality in QUALITIES}
    for name in OFFLINE_RL[env_id]:
        reached = {q: _of(folder, env_id, q, name, "ours") for q in QUALITIES}
        for quality, left, right, claim, strict in (
            ("expert", bc["expert"], reached["expert"], f"bc is not worse than {name}", False),
            ("mixed", reached["mixed"], bc["mixed"], f"{name} beats bc", True),
            ("random", reached["random"], _data(folder, env_id), f"{name} beats the data", True),
        ):
            if left is not None and right is not None:
                verdict = _claimed(left, right, strict)
                cells = [claim, quality, _shown(left), _shown(right), verdict]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def _of(folder: Path, env_id: str, quality: str, name: str, side: str) -> Estimate | None:
    """Mean return over the seeds; None where there is no result."""
    found = sorted((folder / env_id / quality).glob(f"{name}-{side}-*.json"))
    return estimate(_read(found, "mean_return")) if found else None


def _data(folder: Path, env_id: str) -> Estimate | None:
    """Mean return of the random data itself."""
    found = sorted((folder / env_id / "random").glob("*-ours-*.json"))
    return estimate(_read(found[:1], "data_return")) if found else None


def _read(paths: Sequence[Path], key: str) -> list[float]:
    return [json.loads(path.read_text())[key] for path in paths]


def _verdict(ours: Estimate, theirs: Estimate | None) -> str:
    if theirs is None:
        return "no peer"
    if _highest(ours) < _lowest(theirs):
        return "**below**"
    return "above" if _lowest(ours) > _highest(theirs) else "equal"


def _claimed(left: Estimate, right: Estimate, strict: bool) -> str:
    """Whether the left one is better, or (`strict` is False) not worse."""
    if _highest(left) < _lowest(right):
        return "no: the contrary"
    if not strict:
        return "yes"
    if _lowest(left) > _highest(right):
        return "yes"
    return "in the mean only" if left.mean > right.mean else "not seen"


def _lowest(value: Estimate) -> float:
    return value.mean - (value.half_width or 0.0)


def _highest(value: Estimate) -> float:
    return value.mean + (value.half_width or 0.0)


def _shown(value: Estimate | None) -> str:
    if value is None:
        return "-"
    spread = "" if value.half_width is None else f" ± {value.half_width:.0f}"
    return f"{value.mean:.0f}{spread}"
