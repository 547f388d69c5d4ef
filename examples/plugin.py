"""A new algorithm, registered and used like the built-in ones."""

import numpy as np

from sb3_il_plus import BC, AlgorithmSpec, Demonstrations, collect, make, register


class TopBC(BC):
    """Clone the better half of the episodes only."""

    def set_demonstrations(self, demonstrations):
        super().set_demonstrations(Demonstrations.coerce(demonstrations).top(0.5))


register(
    AlgorithmSpec(
        name="top_bc",
        entry_point="__main__:TopBC",  # in a package: "my_package.top_bc:TopBC"
        summary="Behavioural cloning of the better half of the episodes",
        consumes={"demonstrations", "rewards"},
        timestep="gradient update",
    )
)


rng = np.random.default_rng(0)


def unsteady(observation):
    """Push to where the pole leans, four times out of five."""
    return int(observation[2] + observation[3] > 0) if rng.random() < 0.8 else int(rng.integers(2))


demonstrations = collect(unsteady, "CartPole-v1", n_episodes=20, seed=0)
model = make("top_bc", demonstrations=demonstrations, seed=0).learn(1_000)
print(f"of {demonstrations}\nit cloned {model.demonstrations}")
