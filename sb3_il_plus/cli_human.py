"""The commands `record` and `dagger-human`. As `cli`, this file imports nothing heavy itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sb3_il_plus.cli_options import Env, Seed
from sb3_il_plus.cli_support import command, parse_settings
from sb3_il_plus.errors import UserError

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
Turns = Annotated[
    bool | None,
    typer.Option("--turns/--no-turns", help="Wait for a key before each step, or do not."),
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    command(app, "record")(record)
    command(app, "dagger-human")(dagger_human)


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
    turns: Turns = None,
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


def dagger_human(
    env: Env,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="The session's folder; continued if it exists."),
    ],
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Watch the learner drive, and take over; by default it drives alone, and you "
            "label its states afterwards.",
        ),
    ] = False,
    demos: Annotated[
        str | None,
        typer.Option("--demos", metavar="PATH", help="To begin with, such as a recording."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, metavar="N", help="Rounds in all.")] = 5,
    steps: Annotated[
        int, typer.Option("--steps", min=1, metavar="N", help="Steps in each round.")
    ] = 100,
    keys: Keys = None,
    fps: Fps = None,
    turns: Turns = None,
    web: Web = False,
    terminal: Terminal = False,
    files: Annotated[
        bool,
        typer.Option(
            "--files", help="Wait for labels that somebody writes into the session's folder."
        ),
    ] = False,
    host: Host = None,
    port: Port = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter as YAML. Repeatable."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Train with a person as DAgger's demonstrator.

    In each round, the learner drives and you correct it, in a window, on a page
    (--web), in this terminal (--terminal), or by files. Everything is kept in
    the folder at once: stop at any time, and go on days later with the same
    command. The learner is DIR/model.zip.

    \b
    Examples:
      sb3-il-plus dagger-human --env CartPole-v1 --out session --demos mine.npz
      sb3-il-plus dagger-human --env CartPole-v1 --out session --web --take-over
      sb3-il-plus dagger-human --env Acrobot-v1 --out session --terminal --rounds 3
      sb3-il-plus dagger-human --env MountainCar-v0 --out session --files
    """
    from sb3_il_plus.human.dagger import human_dagger
    from sb3_il_plus.human.game import SessionStopped
    from sb3_il_plus.registry import get
    from sb3_il_plus.tables.tasks import check_hyperparameters

    if files and (web or terminal or take_over):
        raise UserError("--files stands alone: labels are written into files, not typed")
    options = _front_end(web, terminal, host, port)
    show = options.pop("show")
    hyperparameters = parse_settings(settings or [])
    check_hyperparameters(get("dagger"), hyperparameters)
    try:
        human_dagger(
            env,
            out,
            mode="take-over" if take_over else "label",
            n_rounds=rounds,
            round_steps=steps,
            show="files" if files else show,
            keys=keys,
            demonstrations=demos,
            fps=fps,
            turns=turns,
            seed=seed,
            front_end_options=options,
            **hyperparameters,
        )
    except SessionStopped as stopped:
        print(f"stopped: {stopped}. The same command goes on.")


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
