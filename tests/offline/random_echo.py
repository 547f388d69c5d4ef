"""Data of the echo task that random actions made: their returns are about half the expert's."""

import numpy as np

from sb3_il_plus import Demonstrations
from sb3_il_plus.testing.environments import HORIZON, EchoEnv


def random_echo(n_episodes, largest=1.0):
    """Episodes with continuous observations and actions.

    :param largest: size of an action's components, which are at most 1
    """
    env, rng = EchoEnv("Box", "Box"), np.random.default_rng(0)
    observations, actions, rewards = [], [], []
    for episode in range(n_episodes):
        seen, _ = env.reset(seed=episode)
        path, over = [seen], False
        while not over:
            actions.append(rng.uniform(-largest, largest, size=2).astype(np.float32))
            seen, reward, _, over, _ = env.step(actions[-1])
            path.append(seen)
            rewards.append(reward)
        observations.append(np.stack(path))
    return Demonstrations.from_arrays(
        observations,
        list(np.reshape(actions, (n_episodes, HORIZON, 2))),
        list(np.reshape(rewards, (n_episodes, HORIZON))),
        truncations=[True] * n_episodes,
        env=env,
    )
