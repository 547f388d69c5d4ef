"""Offline RL: a policy from recorded episodes with rewards, without an environment."""

import numpy as np

from sb3_il_plus import TD3BC, collect

rng = np.random.default_rng(0)


def clumsy_controller(observation: np.ndarray) -> np.ndarray:
    """Turns the pendulum with its motion, and often at random."""
    if rng.random() < 0.5:
        return rng.uniform(-2, 2, size=1)
    return 2 * np.sign(observation[2:3])


demonstrations = collect(clumsy_controller, "Pendulum-v1", n_episodes=10, seed=0)

model = TD3BC("MlpPolicy", env=None, demonstrations=demonstrations, seed=0)
model.learn(200)  # gradient updates; real tasks take 100_000 and more
action, _ = model.predict(demonstrations.observations[:3], deterministic=True)
model.save("td3_bc")

plain = TD3BC.load("td3_bc", demonstrations=demonstrations).to_sb3()
n_transitions = plain.replay_buffer.size()
print(f"{type(plain).__name__} has {n_transitions} transitions and goes on from {action.ravel()}")
