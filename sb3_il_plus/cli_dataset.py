"""The commands `dataset` and `corrupt`. As `cli`, this file imports nothing heavy itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sb3_il_plus.cli_options import DataFile, DataOut, Env, Seed
from sb3_il_plus.cli_support import command, parse_settings, readable_warnings
from sb3_il_plus.errors import UnknownNameError, suggest

if TYPE_CHECKING:
    from sb3_il_plus.data.demonstrations import Demonstrations

Flaws = Annotated[
    list[str] | None,
    typer.Option(
        "--flaw",
        metavar="KEY=VALUE",
        help="Noise: observation_noise, action_noise. Shares: random_actions, wrong_actions, "
        "dropped_episodes, dropped_steps. Repeatable.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add both commands to the command line."""
    command(app, "dataset")(dataset)
    command(app, "corrupt")(corrupt)


def dataset(
    env: Env,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="RECIPE",
            help="random, medium, expert, medium-replay, medium-expert, noisy(0.3), or a mixture: "
            "'0.9*random + 0.1*expert'.",
        ),
    ],
    out: DataOut,
    expert: Annotated[
        str,
        typer.Option(
            "--expert",
            metavar="PATH|ALGO",
            help="A saved agent, or an algorithm such as sac, which trains one unless it is "
            "cached.",
        ),
    ] = "ppo",
    medium: Annotated[
        str | None,
        typer.Option(
            "--medium",
            metavar="PATH|ALGO",
            help="A saved agent, or an algorithm that is trained up to a third of the expert's "
            "performance; by default the expert's.",
        ),
    ] = None,
    transitions: Annotated[
        int | None,
        typer.Option(
            "--transitions", min=1, metavar="N", help="Size; by default 100,000 transitions."
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option("--episodes", min=1, metavar="N", help="Size in whole episodes instead."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="NAME",
            help="Keep the scores that D4RL publishes, such as those of hopper.",
        ),
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Do not sample the agents' actions.")
    ] = False,
    envs: Annotated[
        int, typer.Option("--envs", min=1, metavar="N", help="Copies to run side by side.")
    ] = 1,
    flaws: Flaws = None,
    seed: Seed = 0,
) -> None:
    """Make a data set of graded quality, as D4RL does.

    The returns of random actions and of the expert are measured and kept in it,
    so that scores can be normalised. Without flaws it is written piece by
    piece, whatever its size.

    \b
    Examples:
      sb3-il-plus dataset --env Pendulum-v1 --recipe medium-expert --out pendulum.npz
      sb3-il-plus dataset --env CartPole-v1 --recipe 'noisy(0.3)' \\
          --transitions 20000 --out cartpole.hdf5
      sb3-il-plus dataset --env HalfCheetah-v4 --recipe medium --expert sac.zip \\
          --medium a2c.zip --transitions 1000000 --out halfcheetah.mapped
      sb3-il-plus dataset --env CartPole-v1 --recipe expert --episodes 20 \\
          --flaw random_actions=0.3 --flaw dropped_episodes=0.5 --out scarce.npz
    """
    from sb3_il_plus.data.formats import save
    from sb3_il_plus.datasets import dataset_pieces
    from sb3_il_plus.files import check_writable

    check_writable(out.absolute().parent)
    seen = _Seen()
    amounts = _amounts(flaws or [])
    with readable_warnings():
        pieces = dataset_pieces(
            env,
            recipe,
            n_episodes=episodes,
            n_timesteps=transitions,
            expert=expert,
            medium=medium,
            reference=reference,
            deterministic=deterministic,
            seed=seed,
            n_envs=envs,
            progress_bar=sys.stderr.isatty(),
        )
        written = save(seen.passing(_flawed(pieces, amounts, seed)), out)
    print(f"{seen} written to {written}")


def corrupt(
    source: DataFile,
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Where to write.")],
    flaws: Flaws = None,
    seed: Seed = 0,
) -> None:
    """Make demonstrations noisy, wrong or scarce, in known amounts.

    \b
    Examples:
      sb3-il-plus corrupt demos.npz noisy.npz --flaw observation_noise=0.1
      sb3-il-plus corrupt demos.npz scarce.npz --flaw dropped_episodes=0.8 --seed 1
    """
    from sb3_il_plus.data.formats import read, save

    seen = _Seen()
    amounts = _amounts(flaws or [])
    with readable_warnings():
        written = save(seen.passing(_flawed(read(source), amounts, seed)), target)
    print(f"{seen} written to {written}")


def _amounts(assignments: Sequence[str]) -> dict[str, Any]:
    """How much of each flaw.

    :raises UnknownNameError: there is no such flaw; the message names the nearest
    """
    from sb3_il_plus.data.corruption import FLAWS

    amounts = parse_settings(assignments, "--flaw")
    for name in amounts:
        if name not in FLAWS:
            raise UnknownNameError(f"there is no flaw {name!r}{suggest(name, list(FLAWS))}")
    return amounts


def _flawed(
    pieces: Iterator[Demonstrations], amounts: Mapping[str, Any], seed: int
) -> Iterator[Demonstrations]:
    """Pass pieces on, or the flawed whole: a share of the whole is none of each piece."""
    if not amounts:
        yield from pieces
        return
    from sb3_il_plus.data.stream import joined

    yield joined(pieces).corrupt(seed=seed, **amounts)


class _Seen:
    """What has passed by, in a line."""

    def __init__(self) -> None:
        self.n_episodes, self.n_transitions, self.total_return = 0, 0, 0.0
        self.metadata: Mapping[str, Any] = {}

    def passing(self, pieces: Iterator[Demonstrations]) -> Iterator[Demonstrations]:
        """Pass pieces on, and count them."""
        for piece in pieces:
            self.n_episodes += piece.n_episodes
            self.n_transitions += len(piece)
            self.total_return += 0.0 if piece.rewards is None else float(piece.rewards.sum())
            self.metadata = piece.metadata
            yield piece

    def __str__(self) -> str:
        from sb3_il_plus.data.reference_scores import ReferenceScores

        text = f"{self.n_episodes:,} episodes, {self.n_transitions:,} transitions"
        reference = ReferenceScores.of(self.metadata)
        if reference is None:
            return text
        mean = self.total_return / self.n_episodes
        return (
            f"{text}, mean return {mean:.1f} (random {reference.random:.1f}, expert "
            f"{reference.expert:.1f}, normalised {reference.normalize(mean):.1f})"
        )
