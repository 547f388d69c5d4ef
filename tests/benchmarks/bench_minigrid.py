"""Success on MiniGrid-GoToDoor-6x6-v0, with and without the command, from BabyAI's bot.

python tests/benchmarks/bench_minigrid.py
python tests/benchmarks/bench_minigrid.py --seeds 0 --policies BranchedPolicy --view grid
python tests/benchmarks/bench_minigrid.py --measurement-arch 128 --net-arch 64 --timesteps 2000

Budget and networks are the preset's for that environment; evaluation is on unseen seeds.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_il_plus import ConditionalBC, Demonstrations, collect, evaluate
from sb3_il_plus.conditional.environments import EnvironmentExpert
from sb3_il_plus.environments import make_env
from sb3_il_plus.tables.presets import preset

ENV_ID = "sb3_il_plus/MiniGrid-GoToDoor-6x6-v0"
POLICIES = ("BranchedPolicy", "CommandInputPolicy", "UnconditionalPolicy")


def copies(n_envs: int, **options: Any) -> VecEnv:
    return DummyVecEnv([lambda: make_env(ENV_ID, **options)] * n_envs)


def success(
    policy: str, data: Demonstrations, seed: int, arguments: argparse.Namespace
) -> tuple[float, float]:
    """Share of 500 episodes that succeed, and processor seconds of training."""
    chosen = preset("conditional_bc", ENV_ID)
    settings = {**chosen.hyperparameters}
    if arguments.net_arch:
        layers = {"measurement_arch": arguments.measurement_arch}
        kwargs = {"net_arch": arguments.net_arch, "features_extractor_kwargs": layers}
        settings["policy_kwargs"] = kwargs
    start = time.process_time()
    model = ConditionalBC(policy, None, data, seed=seed, device="cpu", **settings)
    model.learn(arguments.timesteps or chosen.timesteps)
    seconds = time.process_time() - start
    return evaluate(
        model, copies(25, view=arguments.view), 500, seed=10_000 + seed
    ).mean_return, seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--timesteps", type=int, default=0)
    parser.add_argument("--net-arch", nargs="+", type=int, help="in place of the preset's network")
    parser.add_argument("--measurement-arch", nargs="+", type=int, default=[], help="before it")
    parser.add_argument("--view", default="centred", help="see grid_env")
    parser.add_argument("--policies", nargs="+", default=POLICIES)
    arguments = parser.parse_args()
    th.set_num_threads(1)
    start = time.process_time()
    recorded = copies(8, bot=True, view=arguments.view)
    data = collect(EnvironmentExpert(recorded), recorded, arguments.episodes, seed=0)
    print(f"{data}, {time.process_time() - start:.0f} s", flush=True)
    for policy in arguments.policies:
        runs = [success(policy, data, seed, arguments) for seed in arguments.seeds]
        rates, seconds = np.transpose(runs)
        shown = ", ".join(f"{100 * rate:.1f}" for rate in rates)
        print(
            f"{policy:20} {100 * rates.mean():5.1f} % ({shown}), {seconds.mean():.0f} s", flush=True
        )


if __name__ == "__main__":
    main()
