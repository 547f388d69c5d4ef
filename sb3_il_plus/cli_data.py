"""The commands `convert` and `inspect`. As `cli`, this file imports nothing heavy itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sb3_il_plus.cli_options import DataFile
from sb3_il_plus.cli_support import command, console, readable_warnings

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from sb3_il_plus.data.inspection import Coverage, Summary
    from sb3_il_plus.experts.inspection import ModelSummary

EXIT_PROBLEMS = 1

_BAR_WIDTH, _N_BARS, _MOST_COMPONENTS = 40, 10, 12

Env = Annotated[
    str | None,
    typer.Option(
        "--env", metavar="ID", help="Environment with the spaces, for files that do not hold them."
    ),
]
TimeLimit = Annotated[
    int | None,
    typer.Option(
        "--max-episode-steps",
        min=1,
        metavar="N",
        help="Time limit of the episodes, for files that do not mark it.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add both commands to the command line."""
    command(app, "convert")(convert)
    command(app, "inspect")(inspect)


def convert(
    source: DataFile,
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="Where to write: a path, or a new Minari id.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="npz, mapped, d4rl, minari, minari-arrow or imitation; by default by OUT's "
            "suffix: .npz, .mapped, .hdf5, or none for Minari.",
        ),
    ] = None,
    env: Env = None,
    max_episode_steps: TimeLimit = None,
    clip_actions: Annotated[
        bool, typer.Option("--clip-actions", help="Clip actions to the bounds of their space.")
    ] = False,
) -> None:
    """Convert demonstrations from any format to another, whatever their size.

    Every value is checked on the way; nothing in a file is executed.

    \b
    Examples:
      sb3-il-plus convert halfcheetah-medium-v2.hdf5 halfcheetah.mapped
      sb3-il-plus convert mujoco/hopper/expert-v0 hopper.npz
      sb3-il-plus convert hopper.npz hopper/mine-v0
      sb3-il-plus convert demos.npz demos --to imitation
      sb3-il-plus convert arrays.npz demos.npz --env HalfCheetah-v4
    """
    from sb3_il_plus.data.formats import convert as convert_files

    with readable_warnings():
        written = convert_files(
            source,
            target,
            to,
            env=env,
            max_episode_steps=max_episode_steps,
            clip_actions=clip_actions,
        )
    print(f"{source} converted to {written}")


def inspect(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Demonstrations, or a saved model or its folder.")
    ],
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="PNG", help="Write a histogram of the returns there."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    env: Env = None,
    max_episode_steps: TimeLimit = None,
) -> None:
    """Show what is in a data set or a saved model, without loading it.

    Of a data set: spaces, episodes, returns, what values the columns take, and
    all that is wrong with them (exit code 1). Of a model: policy, spaces,
    normalisation, settings, versions, the shapes of its tensors, and whatever
    is not read because it would have to be executed (exit code 1).

    \b
    Examples:
      sb3-il-plus inspect demos.npz --plot returns.png
      sb3-il-plus inspect halfcheetah-medium-v2.hdf5
      sb3-il-plus inspect ppo_cartpole.zip --json
      sb3-il-plus inspect rl-trained-agents/ppo/CartPole-v1_1
    """
    from sb3_il_plus.model_files import is_model_file, model_in, models_in

    if is_model_file(file) or (Path(file).is_dir() and models_in(Path(file))):
        from sb3_il_plus.experts.inspection import summarize_model

        model = summarize_model(file if is_model_file(file) else model_in(Path(file)))
        _print_json(vars(model)) if as_json else _show_model(model)
        if model.refused:
            raise typer.Exit(EXIT_PROBLEMS)
        return
    from sb3_il_plus.data.inspection import image_suffix, plot_returns, summarize

    if plot is not None:
        image_suffix(plot)  # fails before anything is read
    with readable_warnings():
        summary = summarize(file, env=env, max_episode_steps=max_episode_steps)
    _print_json(summary.to_json()) if as_json else _show(summary)
    if plot is not None:
        print(f"histogram written to {plot_returns(summary, plot)}", file=sys.stderr)
    if summary.problems:
        raise typer.Exit(EXIT_PROBLEMS)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=1, default=str))


def _grid(*headers: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=bool(headers))
    for header in headers or ("", ""):
        table.add_column(header)
    return table


def _show(summary: Summary) -> None:
    from rich.markup import escape

    shown = console()
    facts = _grid()
    for name, value in {
        "data set": summary.path,
        "format": f"{summary.format}, {_bytes(summary.size_bytes)}",
        "observations": summary.observation_space,
        "actions": summary.action_space,
        "episodes": f"{len(summary.lengths):,}  ("
        + ", ".join(f"{count:,} {name}" for name, count in summary.ends.items() if count)
        + ")",
        "transitions": f"{summary.n_transitions:,}",
        "length": _spread(summary.lengths),
        "return": "no rewards" if summary.returns is None else _spread(summary.returns),
        **{f"metadata: {key}": value for key, value in summary.metadata.items()},
    }.items():
        facts.add_row(escape(name), escape(str(value)))
    shown.print(facts)
    shown.print(_coverage(summary.coverage))
    if summary.returns is not None:
        shown.print(_histogram(summary.returns))
    for note in summary.notes:
        shown.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    for problem in summary.problems:
        shown.print(f"problem: {problem}", style="red", markup=False, highlight=False)


def _coverage(columns: dict[str, Coverage]) -> Table:
    """One row for each component of small columns, or one for all of a large one."""
    from rich.markup import escape

    table = _grid("column", "lowest", "highest", "mean", "share of the choices")
    for name, found in columns.items():
        low, high, mean = (_flat(part) for part in (found.low, found.high, found.mean))
        shares = found.shares()
        if len(low) > _MOST_COMPONENTS:
            label = f"{name} ({len(low):,} components)"
            table.add_row(
                escape(label), _number(low.min()), _number(high.max()), _number(mean.mean()), ""
            )
            continue
        for i in range(len(low)):
            label = name if len(low) == 1 else f"{name}[{i}]"
            text = _shares(shares[i]) if shares else ""
            table.add_row(escape(label), _number(low[i]), _number(high[i]), _number(mean[i]), text)
    return table


def _shares(shares: list[float]) -> str:
    shown = "  ".join(f"{i}: {share:.1%}" for i, share in enumerate(shares[:_MOST_COMPONENTS]))
    return shown + (" ..." if len(shares) > _MOST_COMPONENTS else "")


def _histogram(returns: np.ndarray) -> Table:
    """A small one for the terminal."""
    import numpy as np

    finite = returns[np.isfinite(returns)]
    table = _grid("return", "episodes", "")
    if len(finite) and (finite == finite[0]).all():
        table.add_row(_number(finite[0]), f"{len(finite):,}", "█" * _BAR_WIDTH)
        return table
    counts, edges = np.histogram(finite, bins=_N_BARS)
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        bar = "█" * round(_BAR_WIDTH * count / max(1, counts.max()))
        table.add_row(f"{_number(low)} to {_number(high)}", f"{count:,}", bar)
    return table


def _show_model(model: ModelSummary) -> None:
    from rich.markup import escape

    shown = console()
    facts = _grid()
    facts.add_row("file", escape(f"{model.path}, {_bytes(model.size_bytes)}"))
    facts.add_row("kind", escape(model.kind))
    for name, value in {**model.agent, **model.system, **model.settings, **model.agent}.items():
        text = str(value)
        facts.add_row(escape(name), escape(text if len(text) <= 200 else f"{text[:200]} ..."))
    shown.print(facts)
    for reason in model.refused:
        shown.print(f"refused: {reason}", style="red", markup=False, highlight=False)
    tensors = _grid("tensor", "shape")
    for name, shape in model.tensors.items():
        tensors.add_row(escape(name), escape(str(shape)))
    shown.print(tensors)


def _flat(values: Any) -> np.ndarray:
    import numpy as np

    return np.asarray(values).reshape(-1)


def _spread(values: np.ndarray) -> str:
    import numpy as np

    values = values[np.isfinite(values)]
    if len(values) == 0:
        return "none is finite"
    return (
        f"{_number(values.mean())} ± {_number(values.std())}, from {_number(values.min())} to "
        f"{_number(values.max())}"
    )


def _number(value: Any) -> str:
    return f"{float(value):.4g}"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} GB"
