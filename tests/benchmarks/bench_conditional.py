"""Success on the driving task, with and without the command: episodes, updates and seeds to choose.

python tests/benchmarks/bench_conditional.py
python tests/benchmarks/bench_conditional.py --seeds 0 --observation image --noise 0.5
"""

import argparse
import time

import numpy as np
import torch as th

from sb3_il_plus import ConditionalBC, collect
from sb3_il_plus.conditional import CommandEvaluation, NoiseInjection, evaluate_commands
from sb3_il_plus.conditional.driving import DrivingExpert, DrivingVecEnv
from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.entries import without_entries

POLICIES = ("BranchedPolicy", "FilmPolicy", "CommandInputPolicy", "UnconditionalPolicy")


def demonstrations(arguments: argparse.Namespace, seed: int) -> Demonstrations:
    """Recorded with images, too, where they are learned from: the expert reads numbers."""
    shown = "all" if arguments.observation == "image" else "vector"
    env = NoiseInjection(DrivingVecEnv(8, None, shown), [0], 0.1, intensity=arguments.noise)
    data = collect(DrivingExpert(), env, n_episodes=arguments.episodes, seed=seed)
    return without_entries(data, ["road"]) if shown == "all" else data


def run(policy: str, seed: int, arguments: argparse.Namespace) -> tuple[CommandEvaluation, float]:
    """What 200 episodes on unseen seeds come to, and processor seconds of training."""
    data = demonstrations(arguments, seed)
    model = ConditionalBC(policy, None, data, seed=seed, device="cpu")
    start = time.process_time()
    model.learn(arguments.updates)
    seconds = time.process_time() - start
    env = DrivingVecEnv(50, None, arguments.observation)
    return evaluate_commands(model, env, 200, seed=10_000 + seed), seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--noise", type=float, default=0.0, help="intensity of noise injection")
    parser.add_argument("--observation", choices=("vector", "image"), default="vector")
    parser.add_argument("--policies", nargs="+", default=POLICIES)
    arguments = parser.parse_args()
    th.set_num_threads(1)
    for policy in arguments.policies:
        found, seconds = zip(
            *(run(policy, seed, arguments) for seed in arguments.seeds), strict=True
        )
        rates = [100 * each.success_rate for each in found]
        by_command = 100 * np.mean([each.success_per_command for each in found], axis=0)
        print(
            f"{policy:20} {np.mean(rates):5.1f} % ({', '.join(f'{rate:.1f}' for rate in rates)}); "
            f"left {by_command[1]:.0f}, straight {by_command[2]:.0f}, right {by_command[3]:.0f} %; "
            f"turns missed {100 * np.mean([each.missed_turns for each in found]):.1f} %; "
            f"{np.mean(seconds):.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
