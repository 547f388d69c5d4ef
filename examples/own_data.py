"""Your own arrays as demonstrations, and a policy cloned from them without an environment."""

import numpy as np
from gymnasium import spaces

from sb3_il_plus import BC, Demonstrations

# Anything that has (observation, action) pairs: logs, a controller, a spreadsheet.
rng = np.random.default_rng(0)
observations = rng.normal(size=(1000, 4))
actions = (observations[:, 0] + observations[:, 1] > 0).astype(int)

demonstrations = Demonstrations.from_arrays(
    observations,
    actions,
    episode_lengths=[200] * 5,
    action_space=spaces.Discrete(2),  # or env="YourEnv-v0", to take both spaces from it
)
demonstrations.save("demonstrations.npz")

model = BC("MlpPolicy", env=None, demonstrations="demonstrations.npz", seed=0)
model.learn(20 * model.updates_per_epoch)
chosen, _ = model.predict(observations, deterministic=True)
print(f"agrees with the data in {np.mean(chosen == actions):.0%} of the states")
