"""How a batch passes through upstream's trainer to the loss.

Upstream's training loop hands its loss two things, observations and actions. Losses here may need
more: weights, action masks. They travel as further entries of a dict of observations, under names
that no environment uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch as th
from imitation.algorithms import bc

from sb3_il_plus.data.sampling import Batches, TensorColumns

_PREFIX = "sb3_il_plus."
_OBSERVATIONS = _PREFIX + "observations"


@dataclass(frozen=True)
class Batch:
    """What a loss is computed of; B is the number of transitions."""

    observations: TensorColumns
    """Shape (B, *observation shape), or a dict of such."""
    actions: th.Tensor
    """Shape (B, *action shape)."""
    weights: th.Tensor | None = None
    """Shape (B,): 0 for padding; None where every transition counts the same."""
    action_masks: th.Tensor | None = None
    """Shape (B, number of choices), true where a choice is allowed; None where all are."""
    n_sequences: int | None = None
    """How many sequences of equal length the transitions are, one after the other; None where they
    are no sequences."""

    @classmethod
    def unpack(cls, obs: Any, acts: th.Tensor) -> Batch:
        """Read what `Parcels` packed, or plain observations.

        :param obs: a tensor, or a dict of tensors
        """
        if not isinstance(obs, Mapping):
            return cls(obs, acts)
        extra = {k.removeprefix(_PREFIX): v for k, v in obs.items() if k.startswith(_PREFIX)}
        entries = {key: value for key, value in obs.items() if not key.startswith(_PREFIX)}
        batch = cls(extra.pop("observations", entries), acts, **extra)
        return batch if batch.weights is None else batch._flattened(len(batch.weights))

    def _flattened(self, n_sequences: int) -> Batch:
        """Sequences of shape (n, T, ...) as n * T transitions, the form SB3's policies read."""
        observations = self.observations
        return Batch(
            {key: value.flatten(0, 1) for key, value in observations.items()}
            if isinstance(observations, dict)
            else observations.flatten(0, 1),
            self.actions.flatten(0, 1),
            self.weights.flatten() if self.weights is not None else None,
            n_sequences=n_sequences,
        )


class Parcels:
    """Batches, packed for upstream's trainer.

    :param batches: what to pack
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(packed, self._batches)


def packed(rows: dict[str, Any]) -> dict[str, Any]:
    """`{"obs": ..., "acts": ..., **others}` as the two entries that upstream reads."""
    observations, actions = rows.pop("obs"), rows.pop("acts")
    if not rows and isinstance(observations, th.Tensor):
        return {"obs": observations, "acts": actions}
    entries = observations if isinstance(observations, dict) else {_OBSERVATIONS: observations}
    others = {_PREFIX + name: column for name, column in rows.items()}
    return {"obs": _Rows({**entries, **others}), "acts": actions}


class _Rows(dict[str, th.Tensor]):
    """A dict of tensors whose length is that of the tensors: upstream asks for it."""

    def __len__(self) -> int:
        return len(next(iter(self.values())))


def connect_batches(trainer: bc.BC, batches: Batches) -> None:
    """Hand batches to upstream's trainer.

    Its own `set_demonstrations` would draw the first one only to look at it.
    """
    trainer._demo_data_loader = Parcels(batches)
    trainer.batch_size, trainer.minibatch_size = batches.batch_size, batches.minibatch_size
