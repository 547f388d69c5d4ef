"""`Batch`: what one update of an offline algorithm reads, and all that it reads.

It is prepared for many updates at once. What is random in an update is part of its batch, too. So
an update is a function of the weights and a batch: it can be repeated, resumed and checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch as th


class Batch(NamedTuple):
    """B transitions, in the form that networks read."""

    observations: th.Tensor
    """Shape (B, features): normalised where asked for, choices one-hot."""
    actions: th.Tensor
    """Shape (B, action dimension), scaled to [-1, 1]; or the numbers of choices, shape (B,)."""
    next_observations: th.Tensor
    """Shape (B, features): where the step led."""
    rewards: th.Tensor
    """Shape (B,), scaled."""
    discounts: th.Tensor
    """Shape (B,): what the value of the next state counts: gamma, and 0 where it is terminal."""
    noise: dict[str, th.Tensor]
    """Random numbers by name, as the algorithm asks for them (see `Noise`)."""
    extras: dict[str, th.Tensor]
    """What else the algorithm reads of the data, by name (see `OfflineAlgorithm._extras`)."""


@dataclass(frozen=True)
class Noise:
    """Random numbers that each transition of a batch gets.

    :param shape: of those of one transition
    :param kind: standard normal, or uniform within [-1, 1)
    """

    shape: tuple[int, ...]
    kind: Literal["normal", "uniform"] = "normal"

    def draw(self, n: int, generator: th.Generator) -> th.Tensor:
        """Random numbers for `n` transitions, shape (n, *shape)."""
        size, device = (n, *self.shape), generator.device
        if self.kind == "normal":
            return th.randn(size, generator=generator, device=device)
        return th.rand(size, generator=generator, device=device) * 2 - 1


def draw_all(noise: Mapping[str, Noise], n: int, generator: th.Generator) -> dict[str, th.Tensor]:
    """Random numbers of every name for `n` transitions."""
    return {name: kind.draw(n, generator) for name, kind in noise.items()}


def map_batches(function: Callable[..., th.Tensor], *batches: Batch) -> Batch:
    """Apply a function to the columns of batches that belong together."""
    columns: list[Any] = [
        {key: function(*(part[key] for part in parts)) for key in parts[0]}
        if isinstance(parts[0], dict)
        else function(*parts)
        for parts in zip(*batches, strict=True)
    ]
    return Batch(*columns)


def joined(first: Batch, n: int, second: Batch) -> Batch:
    """The first `n` transitions of one batch, and all of another one."""
    return map_batches(lambda one, other: th.cat([one[:n], other]), first, second)
