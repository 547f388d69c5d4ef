"""Success on the driving task, with and without the command: episodes, updates and seeds to choose.

python tests/benchmarks/bench_conditional.py --seeds 3
"""

import argparse
import time

import numpy as np
import torch as th

from sb3_il_plus import ConditionalBC, collect, evaluate
from sb3_il_plus.conditional.driving import DrivingExpert, DrivingVecEnv

POLICIES = ("BranchedPolicy", "FilmPolicy", "CommandInputPolicy", "UnconditionalPolicy")


def success(policy: str, seed: int, n_updates: int, n_demonstrations: int) -> tuple[float, float]:
    """Share of 200 episodes on unseen seeds that succeed, and processor seconds of training."""
    data = collect(DrivingExpert(), DrivingVecEnv(8), n_episodes=n_demonstrations, seed=seed)
    model = ConditionalBC(policy, None, data, seed=seed, device="cpu")
    start = time.process_time()
    model.learn(n_updates)
    seconds = time.process_time() - start
    return evaluate(model, DrivingVecEnv(50), 200, seed=10_000 + seed).mean_return, seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--policies", nargs="+", default=POLICIES)
    arguments = parser.parse_args()
    th.set_num_threads(1)
    for policy in arguments.policies:
        runs = [
            success(policy, seed, arguments.updates, arguments.episodes)
            for seed in range(arguments.seeds)
        ]
        rates, seconds = np.transpose(runs)
        shown = ", ".join(f"{100 * rate:.1f}" for rate in rates)
        print(
            f"{policy:20} {100 * rates.mean():5.1f} % ({shown}), {seconds.mean():.0f} s", flush=True
        )


if __name__ == "__main__":
    main()
