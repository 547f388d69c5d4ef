"""The command that makes tables from specifications, and what `compare` shares with it.

As `cli`, it imports nothing heavy at module level.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sb3_il_plus.cli_options import Jobs
from sb3_il_plus.cli_support import EXIT_INTERRUPTED, command, console, parse_settings, stop

if TYPE_CHECKING:
    from sb3_il_plus.tables.specification import Specification
    from sb3_il_plus.tables.summary import Table

EXIT_JOBS_FAILED = 1


def add_commands(app: typer.Typer) -> None:
    """Add `table`."""
    command(app, "table")(table)


def table(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A table that comes with the package (quickstart, classic, seals, gail-paper, "
            "conditional, claims, offline-classic, offline-mujoco), or a YAML file.",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A change to the specification, as YAML. Repeatable.",
        ),
    ] = None,
    jobs: Jobs = None,
    backend: Annotated[
        Literal["local", "ray"],
        typer.Option("--backend", help="Processes of this machine, or a Ray cluster."),
    ] = "local",
    address: Annotated[
        str,
        typer.Option(
            "--address", metavar="ADDRESS", help="Of the cluster, such as ray://HOST:10001."
        ),
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="By default runs/<name>.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the jobs and an estimate, and do nothing.")
    ] = False,
) -> None:
    """Make a table: environments x demonstrations x algorithms x seeds.

    What a specification holds is said in docs/tables.md. Interrupted or killed,
    the same command goes on, and nothing is done twice.

    \b
    Examples:
      sb3-il-plus table quickstart
      sb3-il-plus table classic --dry-run
      sb3-il-plus table my_table.yaml --jobs 8 --out runs/mine
      sb3-il-plus table classic --set n_seeds=3 --set algorithms=[bc,gail]
      sb3-il-plus table classic --set algorithms.gail.timesteps=2e5
      sb3-il-plus table classic --backend ray --address auto
    """
    from sb3_il_plus.tables.specification import load_specification

    specification = load_specification(source, parse_settings(settings or []))
    out = out or Path("runs") / (specification.name or "table")
    if not dry_run:
        run_and_show(specification, out, jobs, backend, address)
        return
    from sb3_il_plus.tables.forecast import forecast
    from sb3_il_plus.tables.local_pool import available_cores

    console().print(forecast(specification, out, jobs or available_cores()), highlight=False)


def run_and_show(
    specification: Specification,
    out: Path,
    n_workers: int | None,
    backend: Literal["local", "ray"] = "local",
    address: str = "auto",
) -> None:
    """Make a table and print it; failed runs make the exit code 1.

    :param out: its folder
    :param n_workers: jobs at a time, by default one per core
    :param backend: see `run_table`, as `address`
    """
    from sb3_il_plus.files import check_writable
    from sb3_il_plus.tables.compare import InterruptedTable, run_table

    check_writable(out)
    typed = shlex.join(["sb3-il-plus", *sys.argv[1:]])
    try:
        made = run_table(
            specification,
            out,
            n_workers=n_workers,
            backend=backend,
            address=address,
            command=typed,
            console=console(stderr=True),
        )
    except InterruptedTable as interruption:
        stop(
            f"interrupted: {interruption} and kept in {out}; go on with: {typed}", EXIT_INTERRUPTED
        )
    _show(made, out)


def _show(made: Table, out: Path) -> None:
    from sb3_il_plus.tables.report import notes, to_rich

    shown = console()
    shown.print(to_rich(made))
    for note in notes(made):
        shown.print(f"- {note}", markup=False, highlight=False, style="dim")
    shown.print(f"\nTable, plots and runs are in {out}", markup=False, highlight=False)
    if made.errors:
        raise typer.Exit(EXIT_JOBS_FAILED)
