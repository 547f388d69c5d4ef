"""Success of goal-conditioned cloning on gymnasium-robotics, from scripted experts' episodes.

python tests/benchmarks/bench_goals.py --seeds 3
python tests/benchmarks/bench_goals.py --hindsight 4 --episodes 10 --seeds 3

The first prints one line for each environment; the second compares few episodes without and with
goals relabelled in hindsight, for as many updates. Networks and budgets are the presets', and
evaluation is on unseen seeds.
"""

import argparse
import time

import numpy as np
import torch as th

from sb3_il_plus import ConditionalBC, Demonstrations, collect, evaluate
from sb3_il_plus.conditional import relabel_goals
from sb3_il_plus.conditional.environments import (
    MazeExpert,
    PickAndPlaceExpert,
    ReachExpert,
    goal_env,
)
from sb3_il_plus.tables.presets import preset

TASKS = {
    "PointMaze_UMaze-v3": (MazeExpert, 100),
    "PointMaze_Medium-v3": (MazeExpert, 300),
    "FetchReach-v4": (lambda env: ReachExpert(), 100),
    "FetchPickAndPlace-v4": (lambda env: PickAndPlaceExpert(), 100),
}
"""Environment -> its expert, and how many episodes."""


def success(
    env_id: str, policy: str, data: Demonstrations, seed: int, timesteps: int | None
) -> tuple[float, float]:
    """Share of 100 episodes that succeed, and processor seconds of training."""
    chosen = preset("conditional_bc", f"sb3_il_plus/{env_id}")
    start = time.process_time()
    model = ConditionalBC(policy, None, data, seed=seed, device="cpu", **chosen.hyperparameters)
    model.learn(timesteps or chosen.timesteps)
    seconds = time.process_time() - start
    return evaluate(model, goal_env(env_id), 100, seed=10_000 + seed).mean_return, seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--timesteps", type=int, help="in place of the preset's")
    parser.add_argument("--episodes", type=int, help="in place of each environment's own number")
    parser.add_argument("--hindsight", type=int, default=0, help="copies of each step")
    parser.add_argument("--policies", nargs="+", default=["GoalPolicy"])
    parser.add_argument("--envs", nargs="+", default=list(TASKS))
    arguments = parser.parse_args()
    th.set_num_threads(1)
    for env_id in arguments.envs:
        build_expert, n_episodes = TASKS[env_id]
        n_episodes = arguments.episodes or n_episodes
        env = goal_env(env_id)
        recorded = [
            collect(build_expert(env), env, n_episodes, seed=seed)
            for seed in range(arguments.seeds)
        ]
        reached = np.mean([data.episode_returns.mean() for data in recorded])
        print(f"{env_id}: {n_episodes} episodes, expert {100 * reached:.0f} %", flush=True)
        variants = {"": recorded}
        if arguments.hindsight:
            variants["hindsight"] = [
                relabel_goals(data, arguments.hindsight, seed=seed)
                for seed, data in enumerate(recorded)
            ]
        for policy in arguments.policies:
            for name, sets in variants.items():
                runs = [
                    success(env_id, policy, data, seed, arguments.timesteps)
                    for seed, data in enumerate(sets)
                ]
                rates, seconds = np.transpose(runs)
                shown = ", ".join(f"{100 * rate:.0f}" for rate in rates)
                print(
                    f"  {policy} {name:9} {100 * rates.mean():5.1f} % ({shown}), "
                    f"{seconds.mean():.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
