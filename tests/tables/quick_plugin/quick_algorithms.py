"""A third-party plugin for tests: algorithms that end at once, well and badly, and an environment.

Each training that ends is noted in the file that the variable QUICK_LOG names, so that a test sees
whether a job was done twice.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
from stable_baselines3 import PPO

from sb3_il_plus.spec import AlgorithmSpec

gym.register(
    "QuickCart-v0", "gymnasium.envs.classic_control.cartpole:CartPoleEnv", max_episode_steps=30
)


def _spec(name: str, cls: str, family: str) -> AlgorithmSpec:
    return AlgorithmSpec(
        name,
        f"quick_algorithms:{cls}",
        family,
        consumes=frozenset({"demonstrations", "environment"}),
        timestep="environment step",
    )


class Quick(PPO):
    """PPO with small rollouts, which takes demonstrations and ignores them.

    :param pause: seconds to sleep in training
    """

    spec = _spec("quick", "Quick", "imitation")

    def __init__(
        self,
        policy: Any,
        env: Any,
        demonstrations: Any = None,
        *,
        pause: float = 0.0,
        seed: int | None = None,
        _init_setup_model: bool = True,
    ) -> None:
        assert demonstrations is None or len(demonstrations) > 0
        self.pause = pause
        super().__init__(policy, env, n_steps=16, batch_size=16, n_epochs=1, seed=seed)

    def learn(self, *args: Any, **kwargs: Any) -> Self:
        time.sleep(self.pause)
        super().learn(*args, **kwargs)
        if log := os.environ.get("QUICK_LOG"):
            with Path(log).open("a") as file:
                file.write(f"{self.seed}\n")
        return self


class Failing(Quick):
    """Fails in training, with a message of two lines."""

    spec = _spec("failing", "Failing", "demo")

    def learn(self, *args: Any, **kwargs: Any) -> Self:
        print("about to fail")
        raise RuntimeError("the reward | exploded\nafter the first step")


class Crashing(Quick):
    """Takes its whole process down, as a fault in a C library does."""

    spec = _spec("crashing", "Crashing", "demo")

    def learn(self, *args: Any, **kwargs: Any) -> Self:
        os.kill(os.getpid(), signal.SIGKILL)
        return self
