"""Agents that RL Zoo published, loaded safely and measured against their published returns.

    python tests/benchmarks/bench_zoo_agents.py FOLDER [--only ppo/Hopper] [--old-capsules]

FOLDER holds `ALGO/ENV_1/ENV.zip` as in RL Zoo's repository of trained agents, and
`published_returns.csv` (algo, env_id, mean_return, std_return). Agents of MuJoCo's `-v3`
environments run in `-v4`, the same task on today's MuJoCo. A return counts as reproduced if it lies
within two published standard deviations, or 10 %, whichever is larger. The table is Markdown.

The agents were measured in MuJoCo 2.0 or 2.1. Version 2.1.2 made the inertia of capsules exact, of
which a hopper consists. `--old-capsules` gives Hopper its old masses and inertias back, which shows
whether a difference comes from there.
"""

import argparse
import csv
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import stable_baselines3
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_il_plus import evaluate, load_expert
from sb3_il_plus.environments import make_vec


def todays(env_id: str) -> str:
    """The id of the same task in today's gymnasium."""
    return env_id.removesuffix("-v3") + "-v4" if env_id.endswith("-v3") else env_id


def with_old_capsules(env: gymnasium.Env) -> gymnasium.Env:
    """Give bodies of one capsule each the mass and inertia that MuJoCo computed before 2.1.2.

    It took a cylinder for the capsule, half its radius longer at both ends.
    """
    import mujoco

    model = env.unwrapped.model
    for body in range(1, model.nbody):
        (geom,) = np.flatnonzero(model.geom_bodyid == body)
        radius, half = model.geom_size[geom][:2]
        capsule = np.pi * radius**2 * (2 * half + 4 / 3 * radius)
        height = 2 * half + radius
        mass = model.body_mass[body] * np.pi * radius**2 * height / capsule
        across, along = mass * (3 * radius**2 + height**2) / 12, mass * radius**2 / 2
        model.body_mass[body], model.body_inertia[body] = mass, (across, across, along)
    mujoco.mj_setConst(model, env.unwrapped.data)
    return env


def built(env_id: str, n_envs: int, old_capsules: bool) -> VecEnv:
    if not (old_capsules and env_id.startswith("Hopper")):
        return make_vec(env_id, n_envs)
    return DummyVecEnv([lambda: with_old_capsules(gymnasium.make(env_id))] * n_envs)


def published_returns(folder: Path) -> dict[tuple[str, str], tuple[float, float]]:
    with (folder / "published_returns.csv").open() as file:
        return {
            (row["algo"], row["env_id"]): (float(row["mean_return"]), float(row["std_return"]))
            for row in csv.DictReader(file)
        }


def tolerance(mean: float, std: float) -> float:
    return max(2 * std, 0.1 * abs(mean))


def measure(
    zips: list[Path], published: dict, n_episodes: int, seed: int, old_capsules: bool
) -> list[str]:
    """Print one row of the table for each agent, and return the names of those outside."""
    outside = []
    for path in zips:
        algorithm, env_id = path.parents[1].name, path.stem
        mean, std = published[algorithm, env_id]
        expert = load_expert(path.parent, todays(env_id))
        venv = built(todays(env_id), n_episodes, old_capsules)
        found = evaluate(expert, venv, n_episodes, seed=seed)
        venv.close()
        within = abs(found.mean_return - mean) <= tolerance(mean, std)
        if not within:
            outside.append(f"{algorithm}/{env_id}")
        print(
            f"| {algorithm} | {env_id} | {found.mean_return:.1f} ± {found.std_return:.1f} | "
            f"{mean:.1f} ± {std:.1f} | {'yes' if within else '**no**'} |",
            flush=True,
        )
    return outside


def versions() -> str:
    texts = [
        f"{module.__name__} {module.__version__}"
        for module in (stable_baselines3, gymnasium, th, sys.modules.get("mujoco"))
        if module is not None
    ]
    return ", ".join(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="part of ALGO/ENV")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--old-capsules", action="store_true")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    warnings.simplefilter("ignore", DeprecationWarning)
    zips = [
        path
        for path in sorted(arguments.folder.glob("*/*/*.zip"))
        if arguments.only in f"{path.parents[1].name}/{path.stem}"
    ]
    print("| algorithm | environment | here | published | within |\n|---|---|---|---|---|")
    published = published_returns(arguments.folder)
    outside = measure(zips, published, arguments.episodes, arguments.seed, arguments.old_capsules)
    print(f"\n{len(zips) - len(outside)} of {len(zips)} within, with {versions()}")
    if outside:
        print(f"outside: {', '.join(outside)}")


if __name__ == "__main__":
    main()
