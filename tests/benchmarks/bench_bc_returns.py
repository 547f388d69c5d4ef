"""What BC reaches on real demonstrations, against `imitation`'s own BC in the same script.

python tests/benchmarks/bench_bc_returns.py FOLDER [ENV_ID ...]

FOLDER holds `ENV_ID.npz` files with the arrays `episode_I/observation` and `episode_I/action`. Both
get the same network (64x64 tanh), Adam with 1e-3, 3000 batches of 64 and the same evaluation.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch as th
from imitation.algorithms import bc
from imitation.util.logger import configure
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_il_plus import BC, Demonstrations, evaluate
from sb3_il_plus.environments import make_env

N_BATCHES, BATCH_SIZE, N_EPISODES, SEEDS = 3000, 64, 10, range(8)


def read(path: Path) -> Demonstrations:
    """The demonstrations, with actions clipped to the bounds, as the environment itself does."""
    env = make_env(path.stem)
    with np.load(path, allow_pickle=False) as arrays:
        episodes = sorted({name.split("/")[0] for name in arrays})
        columns = {
            name: [arrays[f"{episode}/{name}"] for episode in episodes]
            for name in ("observation", "action", "reward", "next_observation")
        }
    return Demonstrations.from_arrays(
        columns["observation"],
        [np.clip(a, env.action_space.low, env.action_space.high) for a in columns["action"]],
        columns["reward"],
        next_observations=columns["next_observation"],
        truncations=[True] * len(episodes),  # the files say terminal, but it is the time limit
        env=env,
    )


def ours(data: Demonstrations, seed: int) -> BC:
    return BC("MlpPolicy", None, data, batch_size=BATCH_SIZE, seed=seed).learn(N_BATCHES)


def theirs(data: Demonstrations, seed: int) -> ActorCriticPolicy:
    th.manual_seed(seed)
    policy = ActorCriticPolicy(data.observation_space, data.action_space, lambda _: 1e-3)
    trainer = bc.BC(
        observation_space=data.observation_space,
        action_space=data.action_space,
        rng=np.random.default_rng(seed),
        policy=policy,
        demonstrations=data.to_transitions(),
        batch_size=BATCH_SIZE,
        optimizer_kwargs={"lr": 1e-3},
        device="cpu",
        custom_logger=configure(tempfile.mkdtemp(), []),
    )
    trainer.train(n_batches=N_BATCHES, progress_bar=False)
    return policy


def main(folder: str, *env_ids: str) -> None:
    th.set_num_threads(1)
    for path in sorted(Path(folder).glob("*.npz")):
        if env_ids and path.stem not in env_ids:
            continue
        data = read(path)
        print(f"{path.stem}: expert {data.episode_returns.mean():.0f}")
        for name, train in (("sb3_il_plus", ours), ("imitation", theirs)):
            means = [
                evaluate(train(data, seed), path.stem, N_EPISODES, seed=seed).mean_return
                for seed in SEEDS
            ]
            listed = ", ".join(f"{mean:.0f}" for mean in means)
            print(f"  {name:12} {np.mean(means):6.0f}  ({listed})", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
