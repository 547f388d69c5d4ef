"""What noise injection is worth on the driving task: the same number of episodes with and without.

python tests/benchmarks/bench_noise.py --seeds 3
"""

import argparse

import numpy as np
import torch as th

from sb3_il_plus import ConditionalBC, collect, evaluate
from sb3_il_plus.conditional import NoiseInjection
from sb3_il_plus.conditional.driving import DrivingExpert, DrivingVecEnv

TESTS = {
    "as trained": {},
    "perturbed start": {"start_offset": 1.5, "start_heading": 1.0},
    "steering noise": {"steering_noise": 0.5},
}
"""Options of the environments that it is evaluated in."""


def success(seed: int, intensity: float, n_episodes: int, n_updates: int) -> list[float]:
    """Share of 200 episodes on unseen seeds that succeed, in each of `TESTS`."""
    env = DrivingVecEnv(8)
    if intensity:
        env = NoiseInjection(env, dimensions=[0], time_step=0.1, intensity=intensity)
    data = collect(DrivingExpert(), env, n_episodes=n_episodes, seed=seed)
    model = ConditionalBC("BranchedPolicy", None, data, seed=seed, device="cpu").learn(n_updates)
    return [
        evaluate(model, DrivingVecEnv(50, **options), 200, seed=10_000 + seed).mean_return
        for options in TESTS.values()
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--intensities", type=float, nargs="+", default=[0.0, 0.15, 0.5])
    arguments = parser.parse_args()
    th.set_num_threads(1)
    print(f"{'intensity':10}", *(f"{name:>28}" for name in TESTS))
    for intensity in arguments.intensities:
        rates = 100 * np.array(
            [
                success(seed, intensity, arguments.episodes, arguments.updates)
                for seed in range(arguments.seeds)
            ]
        )
        cells = (f"{c.mean():5.1f} ({', '.join(f'{r:.1f}' for r in c)})" for c in rates.T)
        print(f"{intensity:<10}", *(f"{cell:>28}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
