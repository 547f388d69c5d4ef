"""What the runner costs: planning, its own time beside the jobs', and what a second worker saves.

    python tests/benchmarks/bench_tables.py

Wants an idle machine with two cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.tables.compare import run_table
from sb3_il_plus.tables.planning import plan
from sb3_il_plus.tables.records import build
from sb3_il_plus.tables.specification import Specification


def _specification(
    demonstrations: Path, n_rows: int, n_seeds: int, timesteps: int
) -> Specification:
    content = {
        "environments": ["CartPole-v1"],
        "demonstrations": {"path": str(demonstrations)},
        "algorithms": {
            f"bc_{number}": {
                "algorithm": "bc",
                "timesteps": timesteps,
                "hyperparameters": {"batch_size": 32 + number},
            }
            for number in range(n_rows)
        },
        "n_seeds": n_seeds,
        "n_eval_episodes": 5,
        "n_curve_points": 0,
    }
    return build(Specification, content, "bench_tables")


def _save_demonstrations(path: Path) -> None:
    rng = np.random.default_rng(0)
    Demonstrations.from_arrays(
        [rng.normal(size=(201, 4)).astype(np.float32) for _ in range(5)],
        [rng.integers(2, size=200) for _ in range(5)],
        rewards=[np.ones(200)] * 5,
        observation_space=spaces.Box(-10, 10, (4,), np.float32),
        action_space=spaces.Discrete(2),
    ).save(path)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=5_000, help="of each of 18 trainings")
    timesteps = parser.parse_args().timesteps
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _save_demonstrations(folder / "demonstrations.npz")
        start = time.perf_counter()
        jobs = plan(_specification(folder / "demonstrations.npz", 100, 99, timesteps))
        print(f"{len(jobs):,} jobs planned in {time.perf_counter() - start:.1f} s")
        walls = {}
        for n_workers in (1, 2):
            specification = _specification(folder / "demonstrations.npz", 18, 1, timesteps)
            out = folder / f"{n_workers} workers"
            start, own = time.perf_counter(), time.process_time()
            table = run_table(specification, out, n_workers=n_workers)
            walls[n_workers] = time.perf_counter() - start
            own = time.process_time() - own
            seconds = sum(json.loads(p.read_text())["seconds"] for p in out.glob("runs/*.json"))
            print(f"{len(table.records)} jobs, {n_workers} workers: {walls[n_workers]:.1f} s")
            print(f"  jobs {seconds:.1f} s, runner and report {own:.1f} s of processor time")
        print(f"two workers take {walls[2] / walls[1]:.2f} of the time of one")


if __name__ == "__main__":
    main()
