"""What DAgger reaches with a trained agent as its demonstrator, where few demonstrations fail BC.

python tests/benchmarks/bench_dagger_returns.py AGENT [--env ID] [--timesteps N] [--seeds N]

AGENT is a file or folder that `load_expert` reads, of RL Baselines3 Zoo for instance.
"""

from __future__ import annotations

import time

import torch as th
import typer

from sb3_il_plus import DAgger, evaluate, load_expert
from sb3_il_plus.environments import make_vec

N_EPISODES = 20


def train(expert: object, env: str, timesteps: int, seed: int) -> DAgger:
    """DAgger after one round of the expert's own driving."""
    model = DAgger(
        "MlpPolicy",
        make_vec(env, 4),
        expert=expert,
        loss="mse",  # the demonstrator is deterministic
        batch_size=256,
        normalize_observations=True,
        beta_rampdown_rounds=1,
        rollout_round_min_timesteps=2_000,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )
    return model.learn(timesteps)


def main(agent: str, env: str = "Hopper-v4", timesteps: int = 60_000, seeds: int = 3) -> None:
    """Print the returns of the demonstrator and of each seed's learner."""
    th.set_num_threads(1)
    expert = load_expert(agent, env)
    reference = evaluate(expert, env, N_EPISODES, seed=1).mean_return
    print(f"demonstrator {reference:.0f}", flush=True)
    for seed in range(seeds):
        start = time.perf_counter()
        model = train(expert, env, timesteps, seed)
        seconds = time.perf_counter() - start
        reached = evaluate(model, env, N_EPISODES, seed=1).mean_return
        print(f"seed {seed}: {reached:.0f}, {reached / reference:.1%}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    typer.run(main)
