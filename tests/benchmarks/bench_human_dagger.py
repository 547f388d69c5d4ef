"""DAgger with a person at a terminal, beside DAgger with the agent whom the person plays.

    PYTHONPATH=tests:tests/human python tests/benchmarks/bench_human_dagger.py [--seeds 3]

The person is a script at a real terminal. It reads the numbers on the screen, which have three
digits, and presses the key that a linear controller of CartPole-v1 would choose. The agent is that
controller. Both have the same rounds and seeds.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from people import at_terminal, balance
from test_human_dagger import ENV, by_agent, type_labels

from sb3_il_plus import DAgger, evaluate


def by_person(folder: Path, n_rounds: int, round_steps: int, seed: int) -> DAgger:
    """Train with the person."""
    options = ["--rounds", n_rounds, "--steps", round_steps, "--seed", seed, "--set", "n_epochs=2"]
    child = at_terminal("dagger-human", "--env", ENV, "--out", folder, "--terminal", *options)
    for number in range(n_rounds):
        type_labels(child, round_steps)
        child.expect(f"all {round_steps} states are labelled")
        child.send("\n")
        child.expect(f"round {number}: {round_steps} labels")
    os.waitpid(child.process, 0)
    return DAgger.load(folder / "model.zip")


def main() -> None:
    """Print the returns of both over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    returns = []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            person = by_person(Path(folder) / "session", given.rounds, given.steps, seed)
        agent = by_agent(balance, given.rounds, given.steps, seed=seed)
        scores = [evaluate(model, ENV, 20, seed=100).mean_return for model in (person, agent)]
        same = np.mean(person.demonstrations.actions == agent.demonstrations.actions)
        print(
            f"seed {seed}: person {scores[0]:.1f}, agent {scores[1]:.1f}; {same:.1%} equal labels"
        )
        returns.append(scores)
    for name, column in zip(("person", "agent"), np.array(returns).T, strict=True):
        print(f"{name}: {column.mean():.1f} ± {column.std():.1f} over {given.seeds} seeds")


if __name__ == "__main__":
    main()
