"""Random mini-batches of transitions, for methods that learn from fixed data with rewards.

    sampler = TransitionSampler(demonstrations, batch_size=256, device="cuda", seed=0)
    observations, actions, next_observations, rewards, terminations = sampler.sample()

What costs time is not the bytes but the calls and the scattered reads, so several batches are drawn
ahead and gathered at once. Data in memory is moved to the device once. Data that is mapped from
files (`.mapped` folders) stays there, and the memory in use does not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch as th
from stable_baselines3.common.utils import get_device

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.records import InFiles, InMemory, TransitionBatch, Transitions
from sb3_il_plus.data.sampling import TensorColumns
from sb3_il_plus.errors import DataError
from sb3_il_plus.randomness import child_generator

_MOST_AHEAD = 2048
"""Batches drawn at a time, however small they are."""


class TransitionSampler:
    """Draws transitions uniformly, with replacement.

    :param demonstrations: data with rewards, in memory or mapped from files
    :param batch_size: transitions in each batch, B
    :param device: where the batches are wanted, and where data that is in memory is kept
    :param seed: of the drawing; the same seed draws the same transitions on every device
    :param transform: what to make of the transitions of many batches at once: a function of a
        `TransitionBatch`, the transitions' places in the data, shape (n,), and a generator on the
        device, for what is random in it, that returns a named tuple of tensors, or dicts of
        tensors, with as many rows. By default, nothing is done
    :raises DataError: there are no rewards, or `batch_size` is not positive
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        batch_size: int = 256,
        device: th.device | str = "auto",
        seed: int = 0,
        transform: Callable[[TransitionBatch, th.Tensor, th.Generator], Any] | None = None,
    ) -> None:
        if demonstrations.rewards is None:
            raise DataError("transitions with rewards are needed, and these have none")
        if batch_size < 1:
            raise DataError(f"batch_size={batch_size} must be at least 1")
        self.n, self.batch_size = len(demonstrations), batch_size
        self.device = get_device(device)
        mapped = any(map(col.is_mapped, demonstrations.columns().values()))
        keep = InFiles if mapped else InMemory
        self._transitions: Transitions = keep(demonstrations, self.device)
        batch_bytes = batch_size * self._transitions.record_bytes
        self.n_ahead = min(max(1, self._transitions.ahead_bytes // batch_bytes), _MOST_AHEAD)
        """Batches that are gathered at a time."""
        self._rng = child_generator(seed, "transitions")
        self._transform, self._generator = transform, th.Generator(self.device)
        self._draw()

    def sample(self) -> Any:
        """The next `TransitionBatch`, or what `transform` makes of it.

        Its tensors are the caller's to keep or change.
        """
        if self._position == self.n_ahead:
            self._draw()
        self._position += 1
        return self._ahead[self._position - 1]

    def state(self) -> dict[str, Any]:
        """Where the sampler is, as plain JSON."""
        return {
            "n": self.n,
            "batch_size": self.batch_size,
            "rng": self._state_before,
            "position": self._position,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, with as many transitions and the same batch size.

        :raises DataError: it was taken with others
        """
        for name in ("n", "batch_size"):
            if state[name] != getattr(self, name):
                raise DataError(
                    f"the state was taken with {name}={state[name]}, this sampler has "
                    f"{getattr(self, name)}"
                )
        self._rng.bit_generator.state = state["rng"]
        self._draw()
        self._position = state["position"]

    def _draw(self) -> None:
        """Gather the batches that come next."""
        self._ahead: list[Any] = []  # lets go of the last ones first
        self._state_before = self._rng.bit_generator.state
        index = self._rng.integers(self.n, size=self.n_ahead * self.batch_size)
        gathered: Any = self._transitions.gather(index)
        if self._transform is not None:
            self._generator.manual_seed(int(self._rng.integers(2**63)))
            places = th.from_numpy(index).to(self.device)
            gathered = self._transform(gathered, places, self._generator)
        columns = [self._split(column) for column in gathered]
        self._ahead = [type(gathered)(*batch) for batch in zip(*columns, strict=True)]
        self._position = 0

    def _split(self, columns: TensorColumns) -> list[Any]:
        """The columns of each batch, from those of all batches."""
        if isinstance(columns, dict):
            if not columns:
                return [{} for _ in range(self.n_ahead)]
            parts = zip(*map(self._split, columns.values()), strict=True)
            return [dict(zip(columns, part, strict=True)) for part in parts]
        return list(columns.unflatten(0, (self.n_ahead, self.batch_size)).unbind(0))
