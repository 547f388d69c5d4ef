"""What offline algorithms reach on MuJoCo data of graded quality, made by RL Zoo's agents.

    python tests/benchmarks/bench_offline_mujoco.py FOLDER

FOLDER holds `ALGO/ENV_1/ENV.zip` as in RL Zoo's repository of trained agents. Their returns in each
of the data sets, and those of what learned from them, stand in one row each: means over seeds with
95 % intervals (Student's t). The table is Markdown.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Annotated, Any

import torch as th
import typer

from sb3_il_plus import Demonstrations, evaluate, make, make_dataset
from sb3_il_plus.tables.statistics import Estimate, estimate

AGENTS = {"HalfCheetah-v4": ("sac", "a2c"), "Hopper-v4": ("trpo", "a2c")}
"""Whose data is called expert, and whose medium. They were trained in `-v3`, the same task."""

RECIPES = ("medium", "expert", "random + medium + expert")
LEARNING = {
    "learning_rate": 1e-3,
    "batch_size": 256,
    "normalize_observations": True,
    "policy_kwargs": {"net_arch": [64, 64]},
    "device": "cpu",
}
CLONING: dict[str, Any] = {"policy_of": "td3", "loss": "mse", "l2_weight": 0.0, "ent_weight": 0.0}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "bc": CLONING,
    "td3_bc": {},
}
"""With the papers' hyperparameters beside `LEARNING`."""

N_EVALUATIONS = 5


def made(folder: Path, env_id: str, recipe: str, n_episodes: int) -> Demonstrations:
    """A data set of two agents, and of random actions."""
    name = env_id.replace("-v4", "-v3_1")
    expert, medium = (folder / algorithm / name for algorithm in AGENTS[env_id])
    return make_dataset(
        env_id, recipe, n_episodes=n_episodes, expert=expert, medium=medium, reference=env_id
    )


def reached(name: str, data: Demonstrations, env_id: str, updates: int, seed: int) -> float:
    """Mean return after training."""
    model = make(name, None, demonstrations=data, seed=seed, **LEARNING, **ALGORITHMS[name])
    model.learn(updates)
    return evaluate(
        model, env_id, N_EVALUATIONS, seed=seed + 1000, n_envs=N_EVALUATIONS
    ).mean_return


def shown(value: Estimate) -> str:
    spread = "" if value.half_width is None else f" ± {value.half_width:.0f}"
    return f"{value.mean:.0f}{spread}"


def main(
    folder: Path,
    updates: int = 3000,
    seeds: int = 3,
    episodes: Annotated[int, typer.Option(help="in each data set")] = 12,
) -> None:
    """Print a row for each data set."""
    logging.disable()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    print(f"| data | its own | {' | '.join(ALGORITHMS)} |")
    print("|---" * (len(ALGORITHMS) + 2) + "|")
    for env_id in AGENTS:
        for recipe in RECIPES:
            data = made(folder, env_id, recipe, episodes)
            estimates = [
                estimate([reached(name, data, env_id, updates, seed) for seed in range(seeds)])
                for name in ALGORITHMS
            ]
            cells = [shown(each) for each in (estimate(data.episode_returns), *estimates)]
            print(f"| {env_id}, {recipe} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
