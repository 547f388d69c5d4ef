"""Choosing a model without an environment: what estimates say, beside the true returns.

    python tests/benchmarks/bench_off_policy_evaluation.py

Models of several algorithms and hyperparameters learn from CartPole-v1 data of mixed quality.
Fitted Q evaluation and the models' own critics rank them; then the environment is asked.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1]))

from offline_data import cartpole

from sb3_il_plus import evaluate, fitted_q_evaluation, initial_state_value, make

GAMMA = 0.99
CANDIDATES = [
    ("discrete_cql", {"alpha": 0.1}),
    ("discrete_cql", {"alpha": 1.0}),
    ("discrete_cql", {"alpha": 10.0}),
    ("discrete_bcq", {"threshold": 0.3}),
    ("offline_dqn", {}),
    ("discrete_awac", {"lam": 0.1}),
    ("discrete_awac", {"lam": 10.0}),
]
COMMON = {"gamma": GAMMA, "learning_rate": 1e-3, "batch_size": 64, "tau": 0.05, "device": "cpu"}


def main() -> None:
    data = cartpole("random", n_timesteps=4000)
    print(f"data: {data}\n")
    print("| model | fitted Q | own critics | true discounted return | return |")
    print("|---|---|---|---|---|")
    rows = []
    for name, arguments in CANDIDATES:
        given = {**COMMON, **arguments, "policy_kwargs": {"net_arch": [64, 64]}}
        model = make(name, None, demonstrations=data, seed=0, **given).learn(600)
        fitted = fitted_q_evaluation(
            model, data, gamma=GAMMA, n_updates=4000, net_arch=(64, 64), learning_rate=1e-3
        )
        own = initial_state_value(model)
        lengths = evaluate(model, "CartPole-v1", 20, seed=0).lengths
        discounted = np.mean((1 - GAMMA**lengths) / (1 - GAMMA))  # each step's reward is 1
        rows.append((fitted.mean, own.mean, discounted))
        label = ", ".join(f"{key}={value}" for key, value in arguments.items())
        print(f"| `{name}` {label} | {fitted} | {own} | {discounted:.1f} | {lengths.mean():.0f} |")
    fitted_values, own_values, returns = np.transpose(rows)
    for label, values in (("fitted Q", fitted_values), ("own critics", own_values)):
        print(f"\nrank correlation of {label} with the return: {spearmanr(values, returns)[0]:.2f}")


if __name__ == "__main__":
    main()
