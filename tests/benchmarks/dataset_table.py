"""The table of docs/datasets.md: what each recipe gives, with agents trained here (some minutes).

    python tests/benchmarks/dataset_table.py [--timesteps 20000] [ENV=EXPERT[,MEDIUM] ...]

EXPERT and MEDIUM are algorithms or paths, by default `ppo` in CartPole-v1 and Pendulum-v1.
"""

import argparse
import warnings

import numpy as np

from sb3_il_plus import make_dataset, normalized_score
from sb3_il_plus.errors import UserError

RECIPES = ("random", "medium-replay", "medium", "noisy(0.3)", "medium-expert", "expert")


def row(env_id: str, recipe: str, expert: str, medium: str | None, n_timesteps: int) -> str:
    size = {} if recipe == "medium-replay" else {"n_timesteps": n_timesteps}
    try:
        demos = make_dataset(env_id, recipe, expert=expert, medium=medium, **size)
    except UserError as error:
        return f"| {env_id} | {recipe} | {error} |"
    lasts = demos.offsets[1:] - 1
    whole = (demos.terminations | demos.truncations)[lasts]
    returns = demos.episode_returns[whole]
    score = round(float(np.mean(normalized_score(returns, demos))))
    return (
        f"| {env_id} | `{recipe}` | {len(demos):,} | {len(returns):,} | "
        f"{returns.mean():.0f} ± {returns.std():.0f} | {score} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=["CartPole-v1=ppo", "Pendulum-v1=ppo"])
    parser.add_argument("--timesteps", type=int, default=20_000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| environment | recipe | transitions | episodes | return | normalised score |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for task in options.tasks:
        env_id, _, agents = task.partition("=")
        expert, _, medium = agents.partition(",")
        for recipe in RECIPES:
            print(row(env_id, recipe, expert, medium or None, options.timesteps), flush=True)


if __name__ == "__main__":
    main()
