"""Fine-tuning a clone against PPO from scratch, and what each part of the recipe is for.

BC on 10 episodes of a PPO expert, then PPO with RL Zoo's hyperparameters; the same without the
critic's warm-up, without the anchor, without either, and as SB3 would do it, in 3/8 of the steps;
and from scratch.
Writes every evaluation to `<out>/<env>.csv`, goes on there when it is run again, plots, and prints
the table of docs/finetuning.md.

python tests/benchmarks/bench_finetune.py Pendulum-v1 --out finetune
python tests/benchmarks/bench_finetune.py seals/CartPole-v0 --out finetune
"""

from __future__ import annotations

import csv
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch as th
import typer
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from sb3_il_plus import BC, collect, evaluate, finetune, train_expert
from sb3_il_plus.environments import make_vec
from sb3_il_plus.evaluation import evaluate_random
from sb3_il_plus.experts.zoo import LinearSchedule, tuned_hyperparameters

RECIPES: Mapping[str, Any] = {
    "fine-tuned": {},
    "without warm-up": {"warmup_timesteps": 0},
    "without anchor": {"anchor_weight": 0.0},
    "without either": {"warmup_timesteps": 0, "anchor_weight": 0.0},
    "plain PPO": {"warmup_timesteps": 0, "anchor_weight": 0.0, "initial_std": None},
    "from scratch": None,
}
TUNED_IN = {"seals/CartPole-v0": "CartPole-v1"}
"""Environments whose hyperparameters are those of another one, as the package's experts'."""

SETTINGS: Mapping[str, Any] = {
    "Pendulum-v1": {
        "warmup_timesteps": 4096,
        "anchor_weight": 0.1,
        "anchor_timesteps": 8192,
        "initial_std": 0.5,  # the clone's is 0.02, too little to find better actions
    },
}
"""Arguments of `finetune` in an environment; elsewhere, they are its defaults."""

N_EPISODES = 20
CLONING: Mapping[str, Any] = {
    "normalize_observations": True,
    "batch_size": 64,
    "learning_rate": LinearSchedule(3e-3),
    "device": "cpu",
}
N_UPDATES = 5_000
"""Of behavioural cloning."""
REACHED = 0.99
"""Part of the way from random actions to the expert that counts as the expert's return."""


def mean_return(model: Any, env_id: str) -> float:
    """Mean return of deterministic actions, in the same episodes every time."""
    return evaluate(model, env_id, N_EPISODES, seed=100, n_envs=N_EPISODES).mean_return


class Measure(BaseCallback):
    """Notes the return now and then."""

    def __init__(self, env_id: str, every: int) -> None:
        super().__init__()
        self.env_id, self.every, self.rows = env_id, every, []

    def _measure(self) -> None:
        self.rows.append((self.num_timesteps, mean_return(self.model, self.env_id)))

    def _on_training_start(self) -> None:
        self._measure()

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps - self.rows[-1][0] >= self.every:
            self._measure()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._measure()


def run(name: str, env_id: str, demonstrations: Any, seed: int, timesteps: int) -> list[Any]:
    """One training; rows of environment steps and returns."""
    tuned = tuned_hyperparameters("ppo", TUNED_IN.get(env_id, env_id))
    venv = make_vec(env_id, tuned.n_envs, seed=seed)
    arguments = tuned.algorithm_arguments(venv.action_space)
    measure = Measure(env_id, 2_000)
    recipe = RECIPES[name]
    if recipe is None:
        model = PPO("MlpPolicy", venv, seed=seed, device="cpu", **arguments)
        model.learn(timesteps, callback=measure)
        return measure.rows
    for own in ("use_sde", "sde_sample_freq"):  # the clone's noise does not depend on the state
        arguments.pop(own, None)
    clone = BC("MlpPolicy", None, demonstrations, seed=seed, **CLONING)
    clone.learn(N_UPDATES)
    arguments = {**arguments, **SETTINGS.get(env_id, {}), **recipe}
    finetune(clone, venv, timesteps, PPO, callback=measure, **arguments)
    return measure.rows


def main(
    env_id: str,
    out: Path = Path("finetune"),
    seeds: int = 3,
    timesteps: int = 64_000,
    only: Annotated[list[str] | None, typer.Option(help="Names of RECIPES.")] = None,
) -> None:
    """Train every variant and seed that is not in the file yet, and show what they reached."""
    th.set_num_threads(1)
    warnings.simplefilter("ignore")
    expert = train_expert(env_id)
    demonstrations = collect(expert, env_id, n_episodes=10, seed=0)
    best = mean_return(expert, env_id)
    worst = evaluate_random(env_id, N_EPISODES, 100).mean_return
    print(f"expert {best:.1f}, random {worst:.1f}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{env_id.replace('/', '-')}.csv"
    curves = read(path)
    for seed in range(seeds):
        for name in only or RECIPES:
            if seed in curves[name]:
                continue
            budget = timesteps if RECIPES[name] is None else timesteps * 3 // 8
            curves[name][seed] = run(name, env_id, demonstrations, seed, budget)
            with path.open("a", newline="") as file:
                csv.writer(file).writerows((name, seed, *row) for row in curves[name][seed])
            print(describe(name, [curves[name][seed]], best, worst), flush=True)
    found = {name: list(curves[name].values()) for name in RECIPES if curves[name]}
    plot(found, best, worst, path.with_suffix(".png"))
    print("\n| variant | at first | lowest | last | steps to the expert's return |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, runs in found.items():
        print(describe(name, runs, best, worst))


def read(path: Path) -> dict[str, dict[int, list[Any]]]:
    """Name of a variant -> seed -> rows, of an earlier call."""
    curves: dict[str, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    if path.is_file():
        with path.open(newline="") as file:
            for name, seed, steps, value in csv.reader(file):
                curves[name][int(seed)].append((int(steps), float(value)))
    return curves


def describe(name: str, runs: list[list[Any]], best: float, worst: float) -> str:
    """A row of the table: one number for each seed."""
    goal = worst + REACHED * (best - worst)
    reached = []
    for rows in runs:
        steps = next((str(step) for step, value in rows if value >= goal), "never")
        reached.append(steps)
    figures = [
        ", ".join(f"{pick([value for _, value in rows]):.0f}" for rows in runs)
        for pick in (lambda values: values[0], min, lambda values: values[-1])
    ]
    return f"| {name} | {' | '.join(figures)} | {', '.join(reached)} |"


def plot(curves: Mapping[str, Any], best: float, worst: float, path: Path) -> None:
    """Mean returns over the seeds, and their range."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, every in curves.items():
        runs = [rows[: min(map(len, every))] for rows in every]
        steps = np.array([[step for step, _ in rows] for rows in runs]).mean(axis=0)
        values = np.array([[value for _, value in rows] for rows in runs])
        (line,) = axes.plot(steps, values.mean(axis=0), label=name)
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(steps, low, high, alpha=0.15, color=line.get_color())
    axes.axhline(best, color="black", linewidth=0.8, linestyle="--", label="expert")
    axes.axhline(worst, color="grey", linewidth=0.8, linestyle=":", label="random actions")
    axes.set(xlabel="environment steps", ylabel="return (mean and range of the seeds)")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    typer.run(main)
