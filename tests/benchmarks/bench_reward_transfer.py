"""Does a learned reward teach a fresh agent, and in an environment that moves otherwise?

The claim of the AIRL paper (Fu, Luo and Levine 2018, section 7.2): a reward of the state alone that
is told from its shaping transfers to other dynamics, and GAIL's does not. AIRL and GAIL learn in
seals/CartPole-v0 with the package's presets, AIRL without actions. A fresh PPO is then trained on
either reward alone, in the same environment and in one whose motor pushes the other way. There, the
imitators themselves fail; PPO on the true reward shows what is possible. Rows go to
`<out>/transfer.csv`, and it goes on there when it is run again.

python tests/benchmarks/bench_reward_transfer.py --out transfer
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
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

ENV = "seals/CartPole-v0"
FORCES = {"same": 10.0, "reversed": -10.0}
REWARD_NETS = {"airl": {"use_action": False}, "gail": {}}
AGENT: dict[str, Any] = {
    "n_steps": 500,
    "batch_size": 50,
    "gamma": 0.98,
    "learning_rate": 1e-3,
    "device": "cpu",
}


def make_changed(dynamics: str, n_envs: int, seed: int) -> VecEnv:
    """Copies of CartPole with the force of `FORCES`."""

    def build() -> gym.Env:
        env: Any = make_env(ENV)
        env.unwrapped.force_mag = FORCES[dynamics]
        return Monitor(env)

    venv = DummyVecEnv([build] * n_envs)
    venv.seed(seed)
    return venv


def returns(agent: Any, dynamics: str) -> float:
    """Mean true return over 20 episodes."""
    return evaluate(agent, make_changed(dynamics, 20, 1_000), 20).mean_return


def rows(seed: int, budget: float, timesteps: int, done: set[tuple[str, ...]]) -> Iterator[Any]:
    """What was trained, on which reward, in which dynamics, and its mean true return."""
    expert = train_expert(ENV)
    demonstrations = collect(expert, ENV, n_episodes=10, seed=0)
    for name, arguments in REWARD_NETS.items():
        if ("agent", name, "reversed", str(seed)) in done:
            continue
        tuned = preset(name, ENV)
        settings = {**tuned.hyperparameters, "reward_net_kwargs": arguments}
        model = make(
            name, make_vec(ENV, tuned.n_envs), demonstrations, seed=seed, device="cpu", **settings
        )
        model.learn(int(budget * tuned.timesteps))
        for dynamics in FORCES:
            yield "imitator", name, dynamics, seed, returns(model, dynamics)
            venv = make_changed(dynamics, 4, seed)
            agent = train_on_reward(model, venv, timesteps, PPO, seed=seed, **AGENT)
            yield "agent", name, dynamics, seed, returns(agent, dynamics)
    if ("agent", "true", "reversed", str(seed)) not in done:
        agent = PPO("MlpPolicy", make_changed("reversed", 4, seed), seed=seed, **AGENT)
        yield "agent", "true", "reversed", seed, returns(agent.learn(timesteps), "reversed")


def main(
    out: Path = Path("transfer"), seeds: int = 3, budget: float = 1.0, timesteps: int = 60_000
) -> None:
    """Train all, one seed after the other."""
    th.set_num_threads(1)
    warnings.simplefilter("ignore")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "transfer.csv"
    found = list(csv.reader(path.open(newline=""))) if path.is_file() else []
    done = {tuple(row[:4]) for row in found}
    for seed in range(seeds):
        for row in rows(seed, budget, timesteps, done):
            print(*row, flush=True)
            with path.open("a", newline="") as file:
                csv.writer(file).writerow(row)


if __name__ == "__main__":
    typer.run(main)
