"""Options that several commands have, each said once. As `cli`, this imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Env = Annotated[str, typer.Option("--env", metavar="ID", help="Environment id.")]
OptionalEnv = Annotated[str | None, typer.Option("--env", metavar="ID", help="Environment id.")]
ExpertOption = Annotated[
    str | None,
    typer.Option(
        "--expert",
        metavar="PATH|ALGO",
        help="A saved agent, its folder or hub://ORG/REPO, or an algorithm such as ppo, which "
        "trains one unless it is cached.",
    ),
]
Demos = Annotated[
    str | None,
    typer.Option("--demos", metavar="PATH", help="Demonstrations in any format, or a Minari id."),
]
DataFile = Annotated[str, typer.Argument(metavar="IN", help="A file, folder or Minari id.")]
DataOut = Annotated[
    Path,
    typer.Option(
        "--out", metavar="PATH", help="Where to write: .npz, .hdf5, .mapped or a Minari folder."
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--timesteps",
        min=1,
        metavar="N",
        help="Budget, in the unit that 'list' shows for the algorithm. By default the preset's.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", min=1, metavar="N", help="Processes; by default one per core."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of everything random.")]
