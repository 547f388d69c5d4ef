"""Train presets as users would, and print what they reach: the `expected` blocks of the YAML files.

python tests/benchmarks/run_presets.py seals/CartPole-v0 gail
python tests/benchmarks/run_presets.py Pendulum-v1 gail --generator sac --expert sac
"""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import torch as th
import typer
import yaml

from sb3_il_plus import collect, evaluate, make, preset
from sb3_il_plus.cli_support import find_expert
from sb3_il_plus.environments import make_vec

N_EVAL_EPISODES = 50


def main(
    env: str,
    algorithm: str,
    generator: str | None = None,
    expert: Annotated[str, typer.Option(help="Path or algorithm.")] = "ppo",
    episodes: Annotated[int, typer.Option(help="Of demonstrations.")] = 10,
    seed: int = 0,
) -> None:
    """Train one preset and print what it reached."""
    th.set_num_threads(1)
    with contextlib.suppress(ImportError):
        import seals  # noqa: F401
    demonstrator = find_expert(expert, env)
    tuned = preset(algorithm, env, generator)
    model = make(
        algorithm,
        make_vec(env, tuned.n_envs),
        collect(demonstrator, env, n_episodes=episodes, seed=0),
        seed=seed,
        device="cpu",
        **tuned.hyperparameters,
    )
    start = time.perf_counter()
    model.learn(tuned.timesteps)
    seconds = time.perf_counter() - start
    expected = {
        "mean_return": evaluate(model, env, N_EVAL_EPISODES, seed=1).mean_return,
        "expert_return": evaluate(demonstrator, env, N_EVAL_EPISODES, seed=1).mean_return,
        "expert": expert,
        "n_episodes": episodes,
        "seconds": seconds,
    }
    rounded = {k: round(v, 1) if isinstance(v, float) else v for k, v in expected.items()}
    print(yaml.safe_dump({"expected": rounded}, default_flow_style=None, sort_keys=False))


if __name__ == "__main__":
    typer.run(main)
