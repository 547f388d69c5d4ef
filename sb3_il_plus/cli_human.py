"""The command `record`. As `cli`, this file imports nothing heavy itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sb3_il_plus.cli_support import command
from sb3_il_plus.errors import UserError

Env = Annotated[str, typer.Option("--env", metavar="ID", help="Environment id.")]
Keys = Annotated[
    str | None,
    typer.Option(
        "--keys",
        metavar="KEYS",
        help="What keys mean: 'a=0,d=1', JSON for continuous actions, or a .json file. 'none' is "
        "holding no key. Common environments have defaults.",
    ),
]
Web = Annotated[bool, typer.Option("--web", help="On a page in a browser, at a local address.")]
Terminal = Annotated[
    bool, typer.Option("--terminal", help="In this terminal, a key for each step.")
]
Host = Annotated[
    str | None,
    typer.Option("--host", metavar="ADDRESS", help="Let other machines reach the page."),
]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, metavar="N", help="By default a free one.")
]
Fps = Annotated[
    float | None,
    typer.Option("--fps", metavar="N", help="Steps in a second; by default the environment's."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of everything random.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    command(app, "record")(record)


def record(
    env: Env,
    keys: Keys = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="Where to write: .npz, .hdf5, .mapped or a Minari folder; continued where it "
            "exists. By default <ENV>-human.npz.",
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            "--episodes", min=1, metavar="N", help="Stop when the file has so many episodes."
        ),
    ] = None,
    fps: Fps = None,
    turns: Annotated[
        bool | None,
        typer.Option("--turns/--no-turns", help="Wait for a key before each step, or do not."),
    ] = None,
    web: Web = False,
    terminal: Terminal = False,
    host: Host = None,
    port: Port = None,
    seed: Seed = 0,
) -> None:
    """Record demonstrations of a person, in a window or a browser.

    Every episode is saved as soon as it ends; the same command goes on with the
    file. Keys beside those that act: p pauses, backspace takes the last episode
    back, escape stops.

    \b
    Examples:
      sb3-il-plus record --env CartPole-v1 --out mine.npz
      sb3-il-plus record --env CartPole-v1 --out mine.npz --episodes 10 --fps 15
      sb3-il-plus record --env Pendulum-v1 --web
      sb3-il-plus record --env CliffWalking-v0 --terminal --out cliff.npz
      sb3-il-plus record --env MyEnv-v0 --keys 'a=0,d=1,none=2' --out mine.npz
    """
    from sb3_il_plus.human.record import record as record_person

    out = out or Path(f"{env.replace('/', '-').replace(':', '-')}-human.npz")
    recorded = record_person(
        env,
        out,
        keys=keys,
        n_episodes=episodes,
        fps=fps,
        turns=turns,
        seed=seed,
        **_front_end(web, terminal, host, port),
    )
    print("nothing was recorded" if recorded is None else f"{recorded!r} written to {out}")


def _front_end(web: bool, terminal: bool, host: str | None, port: int | None) -> dict[str, Any]:
    """Which front end the options name, and its own ones.

    :raises UserError: they contradict each other
    """
    if web and terminal:
        raise UserError("choose either --web or --terminal")
    network = {k: v for k, v in {"host": host, "port": port}.items() if v is not None}
    if network and not web:
        raise UserError(f"--{next(iter(network))} is for the page in a browser: add --web")
    return {"show": "web" if web else "terminal" if terminal else "window", **network}
