"""Steps per second of the driving task with 16 copies on one thread.

python tests/benchmarks/bench_driving.py
"""

import time

import numpy as np

from sb3_il_plus.conditional.driving import DrivingVecEnv

N_ENVS = 16


def steps_per_second(observation: str, n_steps: int) -> float:
    """In the process's own time, so that other work on the machine counts as little as possible."""
    venv = DrivingVecEnv(N_ENVS, seed=0, observation=observation)
    venv.reset()
    rng = np.random.default_rng(0)
    actions = rng.uniform((-0.1, -0.5), (0.1, 1.0), (n_steps, N_ENVS, 2)).astype(np.float32)
    venv.step(actions[0])  # draws the map
    start = time.process_time()
    for action in actions:
        venv.step(action)
    return N_ENVS * n_steps / (time.process_time() - start)


if __name__ == "__main__":
    for observation, n_steps in (("vector", 3000), ("image", 1000)):
        print(f"{observation}: {steps_per_second(observation, n_steps):,.0f} steps/s")
