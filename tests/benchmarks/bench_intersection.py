"""Success at highway-env's junction: the planner, cloning without and with the command, and DAgger.

python tests/benchmarks/bench_intersection.py --data intersection.npz --seeds 3
python tests/benchmarks/bench_intersection.py --data intersection.npz --methods dagger --seeds 1

FILE is written by the first call, and read by later ones: recording 500 episodes takes minutes.
Evaluation is on unseen seeds.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_il_plus import ConditionalBC, DAgger, Demonstrations, collect
from sb3_il_plus.conditional import evaluate_commands
from sb3_il_plus.conditional.environments import EnvironmentExpert
from sb3_il_plus.environments import make_env
from sb3_il_plus.tables.presets import preset

ENV_ID = "sb3_il_plus/Intersection-v1"
METHODS = ("UnconditionalPolicy", "CommandInputPolicy", "BranchedPolicy")
"""And "dagger"."""


def recorded(path: Path, n_episodes: int) -> Demonstrations:
    """The planner's episodes; those that failed are in it, too."""
    if not path.exists():
        env = make_env(ENV_ID)
        collect(EnvironmentExpert(env), env, n_episodes, seed=0, progress_bar=True).save(path)
    data = Demonstrations.load(path)
    return data[: min(n_episodes, data.n_episodes)]


def cloned(policy: str, data: Demonstrations, seed: int, timesteps: int) -> ConditionalBC:
    chosen = preset("conditional_bc", ENV_ID)
    model = ConditionalBC(policy, None, data, seed=seed, device="cpu", **chosen.hyperparameters)
    return model.learn(timesteps or chosen.timesteps)


def corrected(data: Demonstrations, seed: int, timesteps: int) -> DAgger:
    """The planner labels what the learner meets: `timesteps` more labels."""
    chosen = preset("dagger", ENV_ID)
    venv = DummyVecEnv([lambda: make_env(ENV_ID)] * 4)
    expert = EnvironmentExpert(venv)
    model = DAgger(
        "BranchedPolicy",
        venv,
        data,
        expert=expert,
        seed=seed,
        device="cpu",
        **chosen.hyperparameters,
    )
    return model.learn(timesteps or chosen.timesteps)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--timesteps", type=int, default=0)
    parser.add_argument("--n-eval", type=int, default=60)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    arguments = parser.parse_args()
    th.set_num_threads(1)
    data = recorded(arguments.data, arguments.episodes)
    print(f"planner: {100 * data.episode_returns.mean():.1f} %, {data}", flush=True)
    for method in arguments.methods:
        train = corrected if method == "dagger" else lambda *a, m=method: cloned(m, *a)
        found = []
        for seed in range(arguments.seeds):
            start = time.process_time()
            model = train(data, seed, arguments.timesteps)
            seconds = time.process_time() - start
            env = make_env(ENV_ID)
            found.append(evaluate_commands(model, env, arguments.n_eval, seed=10_000 + seed))
            one = found[-1]
            print(
                f"  {method} seed {seed}: {100 * one.success_rate:.0f} %, "
                f"by command {np.round(100 * one.success_per_command)}, "
                f"crashed {100 * np.mean(one.infractions['crashed']):.0f} %, {seconds:.0f} s",
                flush=True,
            )
        mean = np.mean([one.success_rate for one in found])
        print(f"{method}: {100 * mean:.1f} %", flush=True)


if __name__ == "__main__":
    main()
