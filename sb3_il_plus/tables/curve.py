"""`CurveCallback`: evaluations during training, for learning curves.

As SB3's `EvalCallback`, on the package's one evaluator: at evenly spread timesteps instead of every
so many calls, with the time it takes kept apart from the training's, and without a trace in it.
"""

from __future__ import annotations

import math
import time
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from sb3_il_plus.evaluation import evaluate

MAX_COPIES = 8
"""Copies of the environment that an evaluation runs side by side."""


class CurveCallback(BaseCallback):
    """Evaluate before training and at evenly spread timesteps, the end excepted.

    The trained model is evaluated by whoever trained it, with more episodes.

    :param env_id: evaluated in copies of their own
    :param total_timesteps: of the whole training
    :param n_points: evaluations after that at timestep 0, the final one included; 0 for none
    :param n_episodes: of each evaluation
    :param seed: the same episodes begin each evaluation
    """

    def __init__(
        self, env_id: str, total_timesteps: int, n_points: int, n_episodes: int, seed: int
    ) -> None:
        super().__init__()
        self.env_id = env_id
        self.n_episodes = n_episodes
        self.seed = seed
        self.points: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._due = [math.ceil(total_timesteps * k / n_points) for k in range(n_points)]

    def _on_training_start(self) -> None:
        self._evaluate_if_due()

    def _on_step(self) -> bool:
        self._evaluate_if_due()
        return True

    def _evaluate_if_due(self) -> None:
        timesteps = self.model.num_timesteps
        if not self._due or timesteps < self._due[0]:
            return
        self._due = [due for due in self._due if due > timesteps]
        start = time.perf_counter()
        policy = self.model.policy
        was_training = policy.training
        result = evaluate(
            self.model,
            self.env_id,
            self.n_episodes,
            seed=self.seed,
            n_envs=min(MAX_COPIES, self.n_episodes),
        )
        # SB3's predict() leaves a policy in evaluation mode, which the update under way is not in.
        policy.set_training_mode(was_training)
        self.points.append({"timesteps": timesteps, "returns": result.returns.tolist()})
        self.seconds += time.perf_counter() - start
