"""Does a learned reward teach a fresh agent, and in an environment that moves otherwise?

The claim of the AIRL paper (Fu, Luo and Levine 2018, section 7.2): a reward of the state alone that
is told from its shaping transfers to other dynamics, and GAIL's does not. AIRL and GAIL learn in
seals/CartPole-v0 with the package's presets, AIRL without actions. A fresh PPO is then trained on
either reward alone, in the same environment and in one whose motor pushes the other way. There, the
imitators themselves fail; PPO on the true reward shows what is possible. Rows go to
`<out>/transfer.csv`, learned rewards beside it; it goes on there when it is run again, and prints
the table of docs/finetuning.md.

python tests/benchmarks/bench_reward_transfer.py --out transfer
"""

from __future__ import annotations

import csv
import itertools
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch as th
import typer
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_il_plus import collect, evaluate, make, preset, train_expert, train_on_reward
from sb3_il_plus.environments import make_env, make_vec
from sb3_il_plus.evaluation import evaluate_random

ENV = "seals/CartPole-v0"
FORCES = {"same": 10.0, "reversed": -10.0}
REWARD_NETS = {"airl": {"use_action": False}, "gail": {}}
AGENT: dict[str, Any] = {
    "n_steps": 500,
    "batch_size": 50,
    "gamma": 0.98,
    "ent_coef": 0.05,
    "learning_rate": 1e-3,
    "device": "cpu",
}
"""As the generators of the presets."""

Rows = list[tuple[str, str, int, float]]
"""Who acts, in which dynamics, the seed, and the mean true return."""


def make_changed(dynamics: str, n_envs: int, seed: int) -> VecEnv:
    """Copies of CartPole with the force of `FORCES`."""

    def build() -> gym.Env:
        env: Any = make_env(ENV)
        env.unwrapped.force_mag = FORCES[dynamics]
        return Monitor(env)

    venv = DummyVecEnv([build] * n_envs)
    venv.seed(seed)
    return venv


def measured(who: str, agent: Any, seed: int, dynamics: tuple[str, ...] = tuple(FORCES)) -> Rows:
    """Mean true returns over 20 episodes."""
    return [
        (who, each, seed, evaluate(agent, make_changed(each, 20, 1_000), 20).mean_return)
        for each in dynamics
    ]


def references() -> Rows:
    """The demonstrator, and random actions."""
    rows = measured("expert", train_expert(ENV), 0)
    for each in FORCES:
        random = evaluate_random(make_changed(each, 20, 1_000), 20, 1_000)
        rows.append(("random actions", each, 0, random.mean_return))
    return rows


def imitate(name: str, seed: int, budget: float, path: Path) -> Rows:
    """Learn from 10 episodes, and keep the reward."""
    demonstrations = collect(train_expert(ENV), ENV, n_episodes=10, seed=0)
    tuned = preset(name, ENV)
    settings = {**tuned.hyperparameters, "reward_net_kwargs": REWARD_NETS[name]}
    venv = make_vec(ENV, tuned.n_envs)
    model: Any = make(name, venv, demonstrations, seed=seed, device="cpu", **settings)
    model.learn(int(budget * tuned.timesteps))
    model.save_reward(path)
    return measured(name, model, seed)


def retrain(name: str, dynamics: str, seed: int, timesteps: int, path: Path) -> Rows:
    """A fresh agent on a reward, `"true"` or a learned one."""
    venv = make_changed(dynamics, 4, seed)
    if name == "true":
        agent = PPO("MlpPolicy", venv, seed=seed, **AGENT).learn(timesteps)
    else:
        agent = train_on_reward(path, venv, timesteps, PPO, seed=seed, **AGENT)
    return measured(f"PPO on the {name} reward", agent, seed, (dynamics,))


def cells(
    seeds: int, budget: float, timesteps: int, out: Path
) -> dict[tuple[str, ...], Callable[[], Rows]]:
    """All that is to be done, in this order."""
    todo: dict[tuple[str, ...], Callable[[], Rows]] = {("references",): references}
    learned = itertools.product(range(seeds), REWARD_NETS)
    for seed, name in [*learned, *((seed, "true") for seed in range(seeds))]:
        path = out / f"{name}-{seed}.zip"
        if name != "true":
            todo["imitate", name, str(seed)] = partial(imitate, name, seed, budget, path)
        for dynamics in FORCES:
            todo["retrain", name, dynamics, str(seed)] = partial(
                retrain, name, dynamics, seed, timesteps, path
            )
    return todo


def show(rows: list[list[str]]) -> None:
    """A line for each who acts: the returns of all seeds."""
    print("\n| who acts | " + " | ".join(FORCES) + " |")
    print("|---|" + "---:|" * len(FORCES))
    for who in dict.fromkeys(row[1] for row in rows):
        of = {each: [float(r[4]) for r in rows if r[1:3] == [who, each]] for each in FORCES}
        figures = (", ".join(f"{value:.0f}" for value in values) for values in of.values())
        print(f"| {who} | {' | '.join(figures)} |")


def main(
    out: Path = Path("transfer"),
    seeds: int = 3,
    budget: float = 1.0,
    timesteps: int = 60_000,
    most: int = 1_000,
) -> None:
    """Do what is not in the file yet, but no more than `most` trainings."""
    th.set_num_threads(1)
    warnings.simplefilter("ignore")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "transfer.csv"
    found = list(csv.reader(path.open(newline=""))) if path.is_file() else []
    todo = cells(seeds, budget, timesteps, out)
    missing = [cell for cell in todo if " ".join(cell) not in {row[0] for row in found}]
    for cell in missing[:most]:
        rows = [[" ".join(cell), *map(str, row)] for row in todo[cell]()]
        with path.open("a", newline="") as file:
            csv.writer(file).writerows(rows)
        print(rows, flush=True)
        found += rows
    show(found)


if __name__ == "__main__":
    typer.run(main)
