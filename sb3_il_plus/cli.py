"""The command line: each command is a few lines over the library.

This file imports neither torch nor Stable-Baselines3 nor gymnasium, so that `--help` answers at
once; commands import what they need when they run. Errors that a user can mend become one line on
standard error and exit code 2, Ctrl-C becomes exit code 130; anything else is a defect and keeps
its traceback.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from sb3_il_plus import cli_data, cli_dataset, cli_human, cli_table
from sb3_il_plus.cli_options import (
    Budget,
    DataOut,
    Demos,
    Env,
    ExpertOption,
    Jobs,
    OptionalEnv,
    Seed,
)
from sb3_il_plus.cli_support import (
    algorithm_settings,
    check_sources,
    command,
    console,
    find_expert,
    new_app,
    parse_settings,
)
from sb3_il_plus.errors import UserError

app = new_app("Imitation learning as ordinary Stable-Baselines3 algorithms.")


def main() -> None:
    """Entry point of the console script."""
    app()


@command(app, "list")
def list_(
    family: Annotated[
        str | None, typer.Option(help="One family: imitation, online_rl, a plugin's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List the registered algorithms, plugins included.

    \b
    Examples:
      sb3-il-plus list
      sb3-il-plus list --family imitation
      sb3-il-plus list --json
    """
    import dataclasses

    from sb3_il_plus.registry import list_algorithms

    specs = list_algorithms(family, include_broken=True)
    if as_json:
        rows = [{**dataclasses.asdict(spec), "consumes": sorted(spec.consumes)} for spec in specs]
        print(json.dumps(rows, indent=1))
        return
    from rich.markup import escape
    from rich.table import Table as RichTable

    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("name", "family", "learns from", "one timestep", "summary"):
        table.add_column(header)
    for spec in specs:
        if spec.error is not None:
            table.add_row(spec.name, "broken", "", "", escape(spec.error), style="red")
            continue
        consumes = ", ".join(sorted(spec.consumes))
        table.add_row(spec.name, spec.family, consumes, spec.timestep, escape(spec.summary))
    console().print(table)


@command(app, "collect")
def collect(
    env: Env,
    expert: Annotated[
        str,
        typer.Option("--expert", metavar="PATH|ALGO", help="A saved agent, or an algorithm."),
    ],
    out: DataOut,
    episodes: Annotated[
        int | None,
        typer.Option("--episodes", min=1, metavar="N", help="Episodes to collect; by default 10."),
    ] = None,
    timesteps: Annotated[
        int | None,
        typer.Option(
            "--timesteps", min=1, metavar="N", help="Steps to collect, in whole episodes."
        ),
    ] = None,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="Sample the expert's actions.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Collect demonstrations of an expert.

    \b
    Examples:
      sb3-il-plus collect --env seals/CartPole-v0 --expert ppo --out demos.npz
      sb3-il-plus collect --env Pendulum-v1 --expert sac_pendulum.zip \\
          --episodes 20 --stochastic --out demos.npz
    """
    from sb3_il_plus.data.collect import collect as collect_demonstrations
    from sb3_il_plus.files import check_writable

    check_writable(out.absolute().parent)
    if episodes is None and timesteps is None:
        episodes = 10
    demonstrations = collect_demonstrations(
        find_expert(expert, env),
        env,
        n_episodes=episodes,
        n_timesteps=timesteps,
        deterministic=not stochastic,
        seed=seed,
        progress_bar=sys.stderr.isatty(),
    )
    print(f"{demonstrations!r} written to {demonstrations.save(out)}")


@command(app, "train")
def train(
    algorithm: Annotated[str, typer.Argument(metavar="ALGO", help="One that 'list' shows.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="MODEL.zip", help="Where to save the model.")
    ],
    env: OptionalEnv = None,
    demos: Demos = None,
    expert: ExpertOption = None,
    timesteps: Budget = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A hyperparameter as YAML, where generator_kwargs.n_steps=256 reaches inside one. "
            "Repeatable.",
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", metavar="DIR", help="Log for TensorBoard.")
    ] = None,
    progress: Annotated[bool, typer.Option("--progress", help="Show a progress bar.")] = False,
    seed: Seed = 0,
) -> None:
    """Train one algorithm and save the model.

    Budget and hyperparameters are those of the preset that 'compare' uses,
    unless given.

    \b
    Examples:
      sb3-il-plus train bc --demos cartpole.npz --out bc.zip
      sb3-il-plus train bc --demos cartpole.npz --set loss=mse --out bc.zip
      sb3-il-plus train gail --env seals/CartPole-v0 --demos cartpole.npz \\
          --progress --out gail.zip
      sb3-il-plus train dagger --env seals/CartPole-v0 --expert ppo \\
          --timesteps 5000 --out dagger.zip
    """
    from sb3_il_plus import registry
    from sb3_il_plus.files import check_writable

    check_writable(out.absolute().parent)
    spec = registry.get(algorithm)
    check_sources(spec, {"environment": env, "demonstrations": demos, "expert": expert})
    tuned = algorithm_settings(spec, env, timesteps, parse_settings(settings or []))
    given = dict(tuned.hyperparameters)
    if demos is not None:
        given["demonstrations"] = demos
    if env is not None:
        from sb3_il_plus.environments import make_vec

        given["env"] = make_vec(env, tuned.n_envs)
        if expert is not None:
            given["expert"] = find_expert(expert, env)
    log_folder = None if tensorboard is None else str(tensorboard)
    model = registry.make(algorithm, seed=seed, tensorboard_log=log_folder, **given)
    start = time.perf_counter()
    model.learn(tuned.timesteps, progress_bar=progress)
    model.save(out)
    print(
        f"{algorithm} trained for {model.num_timesteps:,} timesteps (1 = one {spec.timestep}) in "
        f"{time.perf_counter() - start:.1f} s, saved to {out}"
    )


@command(app, "evaluate")
def evaluate(
    env: Env,
    model: Annotated[
        Path | None, typer.Option("--model", metavar="PATH", help="What 'train' saved.")
    ] = None,
    expert: ExpertOption = None,
    episodes: Annotated[
        int, typer.Option("--episodes", min=1, metavar="N", help="Episodes to play.")
    ] = 20,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="Sample the agent's actions.")
    ] = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Let SB3 load an agent that cannot be read without executing its file.",
        ),
    ] = False,
    seed: Seed = 0,
) -> None:
    """Print the mean return of a trained model or an expert.

    Agents of Stable-Baselines3, sb3-contrib and RL Zoo are read without
    executing anything in their files, with the wrappers and the normalisation
    of their training.

    \b
    Examples:
      sb3-il-plus evaluate --model gail.zip --env seals/CartPole-v0
      sb3-il-plus evaluate --expert ppo --env CartPole-v1 --episodes 50
      sb3-il-plus evaluate --expert rl-trained-agents/tqc/Hopper-v3_1 \\
          --env Hopper-v4
      sb3-il-plus evaluate --expert hub://sb3/ppo-CartPole-v1 --env CartPole-v1
    """
    if (model is None) == (expert is None):
        raise UserError("name either a --model or an --expert")
    from sb3_il_plus.evaluation import evaluate as evaluate_agent

    agent = find_expert(
        str(model) if expert is None else expert, env, trained=expert is None, trust=trust
    )
    found = evaluate_agent(agent, env, episodes, seed=seed, deterministic=not stochastic)
    print(f"return {found}")


@command(app, "compare")
def compare(
    env: Env,
    expert: ExpertOption = None,
    demos: Demos = None,
    algorithms: Annotated[
        str | None,
        typer.Option(
            "--algorithms",
            metavar="A,B,...",
            help="By default every imitation algorithm that applies, plugins included.",
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            "--episodes",
            min=1,
            metavar="N",
            help="Episodes of demonstrations: by default 10 of the expert, or all of --demos.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="Runs of each algorithm.")
    ] = 3,
    timesteps: Budget = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="ALGO.KEY=VALUE", help="A hyperparameter as YAML. Repeatable."
        ),
    ] = None,
    jobs: Jobs = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="By default runs/compare-<environment>."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Compare algorithms on the same demonstrations, over seeds, in parallel.

    Trains the expert (or takes it from the cache), collects demonstrations,
    trains and evaluates every algorithm, and writes a folder with the table,
    its plots and all runs. Interrupted or killed, the same command goes on.

    \b
    Examples:
      sb3-il-plus compare --env seals/CartPole-v0
      sb3-il-plus compare --env seals/CartPole-v0 --algorithms bc,gail --jobs 4
      sb3-il-plus compare --env Pendulum-v1 --expert sac --episodes 5 --seeds 5
      sb3-il-plus compare --env CartPole-v1 --demos my.npz --set bc.loss=mse
    """
    from sb3_il_plus.files import check_writable
    from sb3_il_plus.tables.compare import comparison

    out = out or Path("runs") / f"compare-{env.replace('/', '-').replace(':', '-')}"
    check_writable(out)
    specification = comparison(
        env,
        expert=expert,
        demonstrations=demos,
        algorithms=None if algorithms is None else [a.strip() for a in algorithms.split(",")],
        n_episodes=episodes,
        timesteps=timesteps,
        hyperparameters=parse_settings(settings or []),
        n_seeds=seeds,
        seed=seed,
    )
    cli_table.run_and_show(specification, out, jobs)


cli_data.add_commands(app)
cli_dataset.add_commands(app)
cli_human.add_commands(app)
cli_table.add_commands(app)
