"""Make one table of adapters and direct calls; see the package's docstring."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sb3_il_plus.tables.compare import comparison, run_table
from sb3_il_plus.tables.report import to_rich

PAIRS = ("bc", "dagger", "gail", "airl", "sqil", "density")


def main(
    env: Annotated[str, typer.Option(help="Environment id.")],
    episodes: Annotated[int, typer.Option(help="Episodes of demonstrations.")],
    out: Annotated[Path, typer.Option(help="Folder of the table.")],
    expert: Annotated[str, typer.Option(help="Path or algorithm.")] = "ppo",
    algorithms: Annotated[str, typer.Option(help="Adapters, separated by commas.")] = "",
    seeds: Annotated[int, typer.Option(help="Runs of each algorithm.")] = 3,
    budget: Annotated[
        float, typer.Option(help="Share of the presets' timesteps, where rewards are learned.")
    ] = 1.0,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Compare every adapter with the direct call that it stands for."""
    names = [name for name in algorithms.split(",") if name] or list(PAIRS)
    specification = comparison(
        env, expert=expert, algorithms=names, n_episodes=episodes, n_seeds=seeds, n_curve_points=0
    )
    pairs = {}
    for name, preset in specification.algorithms.items():
        share = 1.0 if name in ("bc", "dagger") else budget
        timesteps = max(1, round(preset.timesteps * share))
        settings = pairs[name] = preset.model_copy(update={"timesteps": timesteps})
        if name in PAIRS:
            pairs[f"direct_{name}"] = settings
    command = shlex.join(["python", "-m", "direct_imitation", *sys.argv[1:]])
    table = run_table(
        specification.model_copy(update={"algorithms": pairs}),
        out,
        n_workers=jobs,
        command=command,
        console=Console(stderr=True),
    )
    Console().print(to_rich(table))


if __name__ == "__main__":
    typer.run(main)
