"""Success at highway-env's junction: the planner, cloning without and with the command, and DAgger.

python tests/benchmarks/bench_intersection.py --data intersection.npz
python tests/benchmarks/bench_intersection.py --data intersection.npz --methods dagger --seeds 0

FILE is written by the first call, and read by later ones: recording 500 episodes takes minutes.
Those that succeeded are cloned. Evaluation is on unseen seeds.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_il_plus import ConditionalBC, DAgger, Demonstrations, collect
from sb3_il_plus.conditional import BranchedPolicy, SetPerception, evaluate_commands
from sb3_il_plus.conditional.environments import EnvironmentExpert
from sb3_il_plus.environments import make_env

ENV_ID = "sb3_il_plus/Intersection-v1"
METHODS = ("UnconditionalPolicy", "CommandInputPolicy", "BranchedPolicy")
"""And "dagger"."""

POLICY_KWARGS = {"net_arch": [64], "features_extractor_class": SetPerception}
LARGER = {
    "net_arch": [128],
    "features_extractor_class": SetPerception,
    "features_extractor_kwargs": {"row_arch": [128, 128], "join_arch": [256]},
}
"""For DAgger, which has more labels."""


def recorded(path: Path, n_episodes: int) -> Demonstrations:
    """The planner's episodes."""
    if not path.exists():
        env = make_env(ENV_ID)
        collect(EnvironmentExpert(env), env, n_episodes, seed=0, progress_bar=True).save(path)
    data = Demonstrations.load(path)
    return data[: min(n_episodes, data.n_episodes)]


def cloned(policy: str, data: Demonstrations, seed: int, n_updates: int) -> ConditionalBC:
    model = ConditionalBC(policy, None, data, seed=seed, device="cpu", policy_kwargs=POLICY_KWARGS)
    return model.learn(n_updates)


def corrected(data: Demonstrations, seed: int, n_labels: int) -> DAgger:
    """The planner labels what the learner meets: the clone, which drives from the start."""
    venv = DummyVecEnv([lambda: make_env(ENV_ID)] * 4)
    model = DAgger(
        BranchedPolicy,
        venv,
        data,
        expert=EnvironmentExpert(venv),
        beta_schedule=lambda round_num: 0.0,
        rollout_round_min_timesteps=1_000,
        batch_size=120,
        n_epochs=6,
        learning_rate=lambda progress: 1e-3 * progress,
        loss="mse",
        policy_kwargs=LARGER,
        seed=seed,
        device="cpu",
    )
    return model.learn(n_labels)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--updates", type=int, default=4_000)
    parser.add_argument("--labels", type=int, default=6_000, help="of DAgger")
    parser.add_argument("--n-eval", type=int, default=40)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    arguments = parser.parse_args()
    th.set_num_threads(1)
    data = recorded(arguments.data, arguments.episodes)
    print(f"planner: {100 * data.episode_returns.mean():.1f} %, {data}", flush=True)
    data = data.filter_by_return(minimum=1)
    for method in arguments.methods:
        found = []
        for seed in arguments.seeds:
            start = time.process_time()
            if method == "dagger":
                model = corrected(data, seed, arguments.labels)
            else:
                model = cloned(method, data, seed, arguments.updates)
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
