"""Mini-batches of demonstrations, resident in memory where they are used.

Data loaders that build a batch sample by sample spend most of behavioural cloning's time. Here the
columns are tensors (moved to the device once) and a batch is one indexing operation. The position
in the data is part of a sampler's state, so a resumed run draws exactly what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch as th

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError

TensorColumns = th.Tensor | dict[str, th.Tensor]


def to_tensor(column: np.ndarray, device: th.device | str) -> th.Tensor:
    """A tensor as SB3 reads it: float32 for floats, int64 for integers, bytes as they are."""
    if column.dtype.kind == "f":
        column = column.astype(np.float32, copy=False)
    elif column.dtype.kind in "iu" and column.dtype != np.uint8:
        column = column.astype(np.int64, copy=False)
    return th.tensor(column, device=device)


def to_tensors(columns: Columns, device: th.device | str) -> TensorColumns:
    """`to_tensor` for an array or each array of a dict."""
    return col.map_columns(lambda column: to_tensor(column, device), columns)  # type: ignore[arg-type,return-value]


class EpochSampler:
    """Endless epochs of shuffled index batches; a batch that would be incomplete is dropped.

    :param n: number of transitions
    :param batch_size: indices in each batch
    :param rng: source of the shuffling; owned by the sampler from now on
    :raises DataError: there are fewer transitions than one batch needs
    """

    def __init__(self, n: int, batch_size: int, rng: np.random.Generator) -> None:
        if not 1 <= batch_size <= n:
            raise DataError(
                f"batch_size={batch_size} does not fit {n} transitions: "
                f"choose one between 1 and {n}, or collect more demonstrations"
            )
        self.n, self.batch_size, self._rng = n, batch_size, rng
        self.batches_per_epoch = n // batch_size
        self._position = 0
        self._shuffle()

    def _shuffle(self) -> None:
        self._state_before = self._rng.bit_generator.state
        self._order = self._rng.permutation(self.n)

    def next(self) -> np.ndarray:
        """The next batch of indices, shape (batch_size,)."""
        if self._position == self.batches_per_epoch:
            self._position = 0
            self._shuffle()
        start = self._position * self.batch_size
        self._position += 1
        return self._order[start : start + self.batch_size]

    def state(self) -> dict[str, Any]:
        """Where the sampler is, as plain JSON."""
        return {"n": self.n, "rng": self._state_before, "position": self._position}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; other data (another `n`) starts a new epoch."""
        self._rng.bit_generator.state = state["rng"]
        self._shuffle()
        self._position = state["position"] if state["n"] == self.n else 0


class ActionBatches:
    """Observations and expert actions for supervised learning, one epoch after the other.

    Iterating yields `{"obs": tensors, "acts": tensor}` for one epoch, the form that `imitation`'s
    trainers read.

    :param observations: shape (N, *observation shape) or a dict of such, as the policy sees them
    :param actions: shape (N, *action shape)
    """

    def __init__(
        self,
        observations: Columns,
        actions: np.ndarray,
        batch_size: int,
        rng: np.random.Generator,
        device: th.device | str = "cpu",
    ) -> None:
        self.sampler = EpochSampler(len(actions), batch_size, rng)
        self._observations = to_tensors(observations, device)
        self._actions = to_tensor(actions, device)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            index = th.from_numpy(self.sampler.next()).to(self._actions.device)
            if isinstance(self._observations, dict):
                observations: Any = {k: v[index] for k, v in self._observations.items()}
            else:
                observations = self._observations[index]
            yield {"obs": observations, "acts": self._actions[index]}
            if self.sampler.state()["position"] == self.sampler.batches_per_epoch:
                return


def draw_indices(n: int, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """`batch_size` of `n` indices: distinct where there are enough, else with replacement."""
    return rng.choice(n, batch_size, replace=n < batch_size)


def transitions_at(demonstrations: Demonstrations, index: np.ndarray) -> dict[str, Any]:
    """Transitions as arrays under `imitation`'s names: obs, acts, next_obs, dones.

    `dones` marks the end of an episode for whatever reason, because that is how `imitation` marks
    the learner's own transitions; a discriminator must not tell the two apart by the mark.
    """
    return {
        "obs": demonstrations.observations_at(index),
        "acts": demonstrations.actions[index],
        "next_obs": demonstrations.next_observations_at(index),
        "dones": (demonstrations.terminations | demonstrations.truncations)[index],
    }
