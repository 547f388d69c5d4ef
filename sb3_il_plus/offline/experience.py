"""New experience: paths through an environment, and the transitions that are kept of them.

Transitions are kept as the rows that updates read, so the same preparation serves data and
experience, and an algorithm's own columns (`OfflineAlgorithm._extras`) are worked out once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import torch as th

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.records import TransitionBatch
from sb3_il_plus.data.sampling import to_tensor, to_tensors
from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.batch import Batch, Noise, draw_all, map_batches


class Step(NamedTuple):
    """One step of one environment; observations as the policy sees them."""

    observation: Columns
    action: np.ndarray
    reward: float
    next_observation: Columns
    terminal: bool


@dataclass
class Path:
    """Steps that follow each other."""

    steps: list[Step] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Go one step."""
        self.steps.append(step)

    def take(self) -> Self:
        """The path so far; this one begins anew."""
        taken = type(self)(self.steps)
        self.steps = []
        return taken

    def to_batch(self, model: Any) -> Batch:
        """Its transitions, as an offline algorithm prepares those of its data, without noise."""
        observations, actions, rewards, next_observations, terminal = zip(*self.steps, strict=True)
        transitions = TransitionBatch(
            to_tensors(col.stack(observations), model.device),
            to_tensor(np.stack(actions), model.device),
            to_tensors(col.stack(next_observations), model.device),
            th.tensor(rewards, dtype=th.float32, device=model.device)[:, None],
            th.tensor(terminal, dtype=th.float32, device=model.device)[:, None],
        )
        extras = model._extras(self._as_data(model)) if model._columns else {}
        tensors = {name: th.as_tensor(value, device=model.device) for name, value in extras.items()}
        batch: Batch = model._as_batch(transitions, tensors, {})
        return batch

    def _as_data(self, model: Any) -> Demonstrations:
        observations, actions, rewards, next_observations, terminal = zip(*self.steps, strict=True)
        return Demonstrations.from_arrays(
            [col.stack([*observations, next_observations[-1]])],
            [np.stack(actions)],
            [np.array(rewards)],
            terminations=[terminal[-1]],
            truncations=[not terminal[-1]],
            observation_space=model.observation_space,
            action_space=model.action_space,
        )


class Experience:
    """The newest transitions, on the device.

    :param size: how many are kept
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise UserError(f"buffer_size={size} must be at least 1")
        self.size = size
        self.n_added = 0
        self._rows: Batch | None = None

    def __len__(self) -> int:
        return min(self.n_added, self.size)

    def add(self, batch: Batch) -> None:
        """Keep transitions, in the place of the oldest ones where there is no other."""

        def empty(column: th.Tensor) -> th.Tensor:
            return column.new_zeros((self.size, *column.shape[1:]))

        def write(rows: th.Tensor, column: th.Tensor) -> th.Tensor:
            rows[places] = column[-self.size :]
            return rows

        n = len(batch.rewards)
        if self._rows is None:
            self._rows = map_batches(empty, batch)
        first = self.n_added + max(0, n - self.size)
        places = th.arange(first, self.n_added + n, device=batch.rewards.device) % self.size
        map_batches(write, self._rows, batch)
        self.n_added += n

    def sample(
        self,
        n: int,
        noise: Mapping[str, Noise],
        rng: np.random.Generator,
        generator: th.Generator,
    ) -> Batch:
        """Draw transitions uniformly, with replacement.

        :param noise: what is random in an update
        :param rng: of the drawing
        :param generator: of the noise, on the device
        """
        assert self._rows is not None
        index = th.from_numpy(rng.integers(len(self), size=n)).to(generator.device)
        batch = map_batches(lambda rows: rows[index], self._rows)
        return batch._replace(noise=draw_all(noise, n, generator))
