"""DAgger, corrected by a plain function instead of a trained agent."""

import numpy as np

from sb3_il_plus import DAgger, evaluate


def balance(observation: np.ndarray) -> int:
    """Push the cart to where the pole leans."""
    position, velocity, angle, turning = observation
    return int(0.1 * position + 0.3 * velocity + 2 * angle + turning > 0)


model = DAgger("MlpPolicy", "CartPole-v1", expert=balance, seed=0)
model.learn(6_000)
print(f"{model.n_expert_queries} labels, {len(model.demonstrations)} in the data")
print(evaluate(model, "CartPole-v1", n_episodes=10, seed=1))
