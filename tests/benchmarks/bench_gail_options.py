"""What GAIL's options change: returns and health figures on Pendulum-v1, one option at a time.

The table of docs/gail_is_not_learning.md. Changes are JSON; without any, the page's own ones.

python tests/benchmarks/bench_gail_options.py
python tests/benchmarks/bench_gail_options.py --change '{"gradient_penalty": 10}' --seeds 1
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch as th
import typer

from sb3_il_plus import GAIL, collect, evaluate
from sb3_il_plus.adapters.health import AdversarialHealthWarning
from sb3_il_plus.environments import make_vec

sys.path.append(str(Path(__file__).parents[1]))
from scripted_experts import PENDULUM, swing_up

BASE: dict[str, Any] = {
    "generator": "sac",
    "learning_rate": 1e-3,
    "policy_kwargs": {"net_arch": [64, 64]},
    "generator_kwargs": {"batch_size": 128, "learning_starts": 200, "gamma": 0.98},
    "gen_train_timesteps": 200,
    "normalize_reward_inputs": "demonstrations",
    "gradient_penalty": 1.0,
    "reward_form": "airl",
}

CHANGES: list[dict[str, Any]] = [
    {},
    {"gradient_penalty": 10.0},
    {"gradient_penalty": 0.0},
    {"gradient_penalty": 0.0, "spectral_norm": True},
    {"gradient_penalty": 0.0, "n_disc_updates_per_round": 64},
    {"normalize_reward_inputs": None},
    {"reward_form": "gail"},
    {"reward_form": "log_d"},
    {"reward_form": "fairl"},
]

FIGURES = ("disc_accuracy_expert", "disc_accuracy_generator", "disc_entropy", "reward_std")


def main(
    change: Annotated[list[str] | None, typer.Option(help="JSON; may be repeated.")] = None,
    seeds: int = 2,
    timesteps: int = 8_000,
) -> None:
    """Train GAIL with each change and seed; print rows of a table."""
    th.set_num_threads(1)
    demonstrations = collect(swing_up, make_vec(PENDULUM, 5), n_episodes=10, seed=0)
    print(f"| change | return | {' | '.join(FIGURES)} | warned |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for changes in map(json.loads, change) if change else CHANGES:
        returns, figures, n_warned = [], [], 0
        for seed in range(seeds):
            arguments = {**BASE, **changes, "seed": seed, "device": "cpu"}
            model = GAIL("MlpPolicy", make_vec(PENDULUM, seed=seed), demonstrations, **arguments)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.learn(timesteps)
            n_warned += any(each.category is AdversarialHealthWarning for each in caught)
            returns.append(evaluate(model, PENDULUM, 20, seed=1).mean_return)
            last = model.history[-10:]
            figures.append([np.mean([row[f"train/{name}"] for row in last]) for name in FIGURES])
        shown = " | ".join(f"{value:.2f}" for value in np.mean(figures, axis=0))
        reached = " and ".join(f"{value:.0f}" for value in returns)
        print(f"| `{json.dumps(changes)}` | {reached} | {shown} | {n_warned} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
