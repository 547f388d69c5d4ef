"""What offline algorithms reach, against d3rlpy on the same data with the same hyperparameters.

    export PYTHONPATH=tests OMP_NUM_THREADS=1
    python tests/benchmarks/bench_offline_quality.py run offline_quality
    python tests/benchmarks/bench_offline_quality.py report offline_quality

`run` trains every algorithm of ours and of d3rlpy on every data set with every seed. Each result is
a small file in the folder; what is there with the same settings is not run again, so it can be
interrupted at any time, and several can run at once. `report` prints the tables. Without d3rlpy,
ours is run alone; docs/offline.md says how to install it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import time
from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch as th
import typer
from offline_pairs import (
    DATA,
    N_EPISODES,
    N_TRANSITIONS,
    N_UPDATES,
    NET_ARCH,
    PAIRS,
    QUALITIES,
    SHARED,
    Pair,
    Peer,
)
from offline_report import report

from sb3_il_plus import Demonstrations, evaluate, make
from sb3_il_plus.files import atomic_write
from sb3_il_plus.registry import registry

app = typer.Typer()


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training and its evaluation.

    :param side: "ours" or "theirs"
    """

    pair: Pair
    quality: str
    seed: int
    side: str

    def path(self, folder: Path) -> Path:
        """Where its result is."""
        name = f"{self.pair.ours}-{self.side}-{self.seed}.json"
        return folder / self.pair.env_id / self.quality / name

    @property
    def settings(self) -> dict[str, Any]:
        """What must be the same for a result to count."""
        pair = self.pair
        common = {
            "updates": N_UPDATES,
            "transitions": N_TRANSITIONS,
            "episodes": N_EPISODES,
            "net_arch": NET_ARCH,
            **SHARED,
        }
        own = pair.our_settings() if self.side == "ours" else {pair.theirs: pair.their_settings}
        return common | own

    def is_done(self, folder: Path) -> bool:
        """Whether there is a result with these settings."""
        path = self.path(folder)
        return path.exists() and json.loads(path.read_text())["settings"] == self.settings

    def run(self, folder: Path) -> dict[str, Any]:
        """Train, evaluate, and write the result."""
        data = DATA[self.pair.env_id](QUALITIES[self.quality], N_TRANSITIONS)
        start = time.perf_counter()
        model: Any = self._ours(data) if self.side == "ours" else Peer(self.pair, data, self.seed)
        model.learn(N_UPDATES)
        seconds = time.perf_counter() - start
        reached = evaluate(
            model, self.pair.env_id, N_EPISODES, seed=self.seed, n_envs=N_EPISODES
        ).mean_return
        result = {
            "mean_return": reached,
            "seconds": seconds,
            "settings": self.settings,
        }
        with atomic_write(self.path(folder)) as file:
            file.write(json.dumps(result, indent=1).encode())
        return result

    def _ours(self, data: Demonstrations) -> Any:
        return make(
            self.pair.ours,
            None,
            demonstrations=data,
            seed=self.seed,
            device="cpu",
            **deepcopy(self.pair.our_settings()),
        )


def cells(algorithms: list[str], sides: list[str], n_seeds: int) -> Iterator[Cell]:
    """Everything that there is to run, of the algorithms that are installed."""
    if not find_spec("d3rlpy"):
        sides = ["ours"]
    for pair, seed, quality, side in itertools.product(PAIRS, range(n_seeds), QUALITIES, sides):
        wanted = not algorithms or pair.ours in algorithms
        if wanted and pair.ours in registry.names() and (side == "ours" or pair.theirs):
            yield Cell(pair, quality, seed, side)


@app.command("run")
def run(
    folder: Path,
    algorithm: Annotated[list[str] | None, typer.Option()] = None,
    side: Annotated[list[str] | None, typer.Option(help="ours, theirs")] = None,
    seeds: int = 3,
    minutes: Annotated[float, typer.Option(help="Begin nothing after that.")] = 1e9,
) -> None:
    """Train and evaluate what is not there yet."""
    logging.disable()
    th.set_num_threads(1)
    end = time.monotonic() + 60 * minutes
    for cell in cells(algorithm or [], side or ["ours", "theirs"], seeds):
        if time.monotonic() > end:
            break
        if not cell.is_done(folder):
            result = cell.run(folder)
            name = cell.path(folder).relative_to(folder).with_suffix("")
            print(f"{name}: {result['mean_return']:.1f} in {result['seconds']:.1f} s", flush=True)


app.command("report")(report)


if __name__ == "__main__":
    app()
