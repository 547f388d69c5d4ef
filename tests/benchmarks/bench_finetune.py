"""Fine-tuning a clone against learning from scratch, and what each part of the recipe is for.

BC on 10 episodes of an expert, then PPO with RL Zoo's hyperparameters; the same without each part
of the recipe, and as SB3 would do it; and from scratch. With `--algorithm sac`, SAC, whose recipe
has no random actions either. Writes every evaluation to `<out>/<env>-<algorithm>.csv`, goes on
there when it is run again, plots, and prints the table of docs/finetuning.md.

python tests/benchmarks/bench_finetune.py Pendulum-v1 --timesteps 40960
python tests/benchmarks/bench_finetune.py seals/CartPole-v0 --timesteps 40000
python tests/benchmarks/bench_finetune.py Pendulum-v1 --algorithm sac --timesteps 4000
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
from stable_baselines3.common.callbacks import BaseCallback

from sb3_il_plus import BC, collect, evaluate, finetune, get, train_expert
from sb3_il_plus.environments import make_vec
from sb3_il_plus.evaluation import evaluate_random
from sb3_il_plus.experts.zoo import LinearSchedule, tuned_hyperparameters

PARTS: Mapping[str, Any] = {
    "fine-tuned": {},
    "without warm-up": {"warmup_timesteps": 0, "critic_updates": 0},
    "without anchor": {"anchor_weight": 0.0},
}
SCRATCH = "from scratch"
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "ppo": {
        **PARTS,
        "critic without demonstrations": {"critic_updates": 0},
        "without deviation": {"initial_std": None},
        "plain PPO": {
            **{"warmup_timesteps": 0, "critic_updates": 0, "anchor_weight": 0.0},
            "initial_std": None,
        },
        SCRATCH: None,
    },
    "sac": {**PARTS, "random actions first": {"learning_starts": 1_000}, SCRATCH: None},
}
"""Algorithm -> variant -> what it changes of `SETTINGS`."""
TUNED_IN = {"seals/CartPole-v0": "CartPole-v1"}
"""Environments whose hyperparameters are those of another one, as the package's experts'."""

SETTINGS: Mapping[tuple[str, str], Any] = {
    ("Pendulum-v1", "ppo"): {
        "n_steps": 256,
        "warmup_timesteps": 2048,
        "anchor_weight": 0.1,
        "anchor_timesteps": 8192,
        "initial_std": 0.5,  # the clone's is 0.02, too little to find better actions
    },
}
"""Arguments of `finetune`, chosen with seed 10; elsewhere, they are its defaults."""
SHARE = {"ppo": 3 / 8, "sac": 1.0}
"""Part of the steps from scratch that the others have."""
EVERY = {"ppo": 2_000, "sac": 500}
"""Steps from one evaluation to the next, at least."""

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

Curve = list[tuple[int, float]]
"""Environment steps, and the return after them."""


def mean_return(model: Any, env_id: str) -> float:
    """Mean return of deterministic actions, in the same episodes every time."""
    return evaluate(model, env_id, N_EPISODES, seed=100, n_envs=N_EPISODES).mean_return


class Measure(BaseCallback):
    """Notes the return now and then."""

    def __init__(self, env_id: str, every: int) -> None:
        super().__init__()
        self.env_id, self.every = env_id, every
        self.curve: Curve = []

    def _measure(self) -> None:
        self.curve.append((self.num_timesteps, mean_return(self.model, self.env_id)))

    def _on_training_start(self) -> None:
        self._measure()

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps - self.curve[-1][0] >= self.every:
            self._measure()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._measure()


def clone_of(demonstrations: Any, algorithm: str, seed: int, path: Path) -> BC:
    """The clone that all variants of a seed begin with, kept in a file."""
    if path.is_file():
        return BC.load(path, device="cpu")
    clone = BC("MlpPolicy", None, demonstrations, policy_of=algorithm, seed=seed, **CLONING)
    clone.learn(N_UPDATES).save(path)
    return clone


def run(
    env_id: str,
    algorithm: str,
    name: str,
    demonstrations: Any,
    seed: int,
    timesteps: int,
    out: Path,
) -> Curve:
    """One training."""
    tuned = tuned_hyperparameters(algorithm, TUNED_IN.get(env_id, env_id))
    venv = make_vec(env_id, tuned.n_envs, seed=seed)
    arguments = tuned.algorithm_arguments(venv.action_space)
    measure = Measure(env_id, EVERY[algorithm])
    recipe = RECIPES[algorithm][name]
    if recipe is None:
        cls: Any = get(algorithm).load()
        model = cls("MlpPolicy", venv, seed=seed, device="cpu", **arguments)
        model.learn(timesteps, callback=measure)
        return measure.curve
    for own in ("use_sde", "sde_sample_freq"):  # the clone's noise does not depend on the state
        arguments.pop(own, None)
    path = out / f"{env_id.replace('/', '-')}-{algorithm}-{seed}.zip"
    clone = clone_of(demonstrations, algorithm, seed, path)
    arguments = {**arguments, **SETTINGS.get((env_id, algorithm), {}), **recipe}
    arguments["demonstrations"] = demonstrations
    finetune(clone, venv, timesteps, algorithm, callback=measure, **arguments)
    return measure.curve


def main(
    env_id: str,
    algorithm: str = "ppo",
    out: Path = Path("finetune"),
    seeds: int = 3,
    timesteps: int = 64_000,
    only: Annotated[list[str] | None, typer.Option(help="Names of RECIPES.")] = None,
    most: Annotated[int, typer.Option(help="Trainings in this call.")] = 1_000,
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
    path = out / f"{env_id.replace('/', '-')}-{algorithm}.csv"
    curves = read(path)
    todo = [(seed, name) for seed in range(seeds) for name in only or RECIPES[algorithm]]
    for seed, name in [each for each in todo if each[0] not in curves[each[1]]][:most]:
        budget = timesteps if name == SCRATCH else int(timesteps * SHARE[algorithm])
        curve = run(env_id, algorithm, name, demonstrations, seed, budget, out)
        with path.open("a", newline="") as file:
            csv.writer(file).writerows((name, seed, *row) for row in curve)
        curves[name][seed] = curve
        print(describe(name, [curve], best, worst), flush=True)
    found = {name: list(curves[name].values()) for name in RECIPES[algorithm] if curves[name]}
    plot(found, best, worst, path.with_suffix(".png"))
    print("\n| variant | at first | lowest | last | steps to the expert's return |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, runs in found.items():
        print(describe(name, runs, best, worst))


def read(path: Path) -> dict[str, dict[int, Curve]]:
    """Name of a variant -> seed -> curve, of an earlier call."""
    curves: dict[str, dict[int, Curve]] = defaultdict(lambda: defaultdict(list))
    if path.is_file():
        with path.open(newline="") as file:
            for name, seed, steps, value in csv.reader(file):
                curves[name][int(seed)].append((int(steps), float(value)))
    return curves


def describe(name: str, runs: list[Curve], best: float, worst: float) -> str:
    """A row of the table: one number for each seed."""
    goal = worst + REACHED * (best - worst)
    reached = []
    for curve in runs:
        steps = next((f"{step:,}" for step, value in curve if value >= goal), "never")
        reached.append(steps)
    figures = [
        ", ".join(f"{pick([value for _, value in curve]):.0f}" for curve in runs)
        for pick in (lambda values: values[0], min, lambda values: values[-1])
    ]
    return f"| {name} | {' | '.join(figures)} | {'; '.join(reached)} |"


def plot(curves: Mapping[str, list[Curve]], best: float, worst: float, path: Path) -> None:
    """Mean returns over the seeds, and their range: beside learning from scratch, and the parts."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    colors = dict(zip(curves, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False))
    panels = [
        [name for name in curves if name in ("fine-tuned", "plain PPO", SCRATCH)],
        [name for name in curves if name != SCRATCH],
    ]
    for axis, names in zip(axes, panels, strict=True):
        for name in names:
            runs = [curve[: min(map(len, curves[name]))] for curve in curves[name]]
            steps = np.array([[step for step, _ in curve] for curve in runs]).mean(axis=0)
            values = np.array([[value for _, value in curve] for curve in runs])
            axis.plot(steps, values.mean(axis=0), label=name, color=colors[name])
            low, high = values.min(axis=0), values.max(axis=0)
            axis.fill_between(steps, low, high, alpha=0.15, color=colors[name], linewidth=0)
        axis.axhline(best, color="black", linewidth=0.8, linestyle="--", label="expert")
        axis.axhline(worst, color="grey", linewidth=0.8, linestyle=":", label="random actions")
        axis.set_xlabel("environment steps")
        axis.legend(fontsize=8)
    axes[0].set_ylabel("return (mean and range of the seeds)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    typer.run(main)
