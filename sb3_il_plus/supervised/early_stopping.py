"""Early stopping: when a validation loss stops falling, and the best weights until then.

The best weights are kept in memory. When training ends they are put into the network, and those
that training reached are kept in their place, so that training can go on as if it had not ended.
"""

from __future__ import annotations

import math
from typing import Any

import torch as th
from torch import nn

_BEST, _LATEST = "best.", "latest."

Weights = dict[str, th.Tensor]


class EarlyStopping:
    """Remembers the best validation loss, and the weights that reached it.

    :param patience: validations without a new best one after which to stop; None for never
    """

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience
        self.reset()

    def reset(self) -> None:
        """Forget everything: another training begins."""
        self.best_loss = math.inf
        self.n_since_best = 0
        self._best: Weights = {}
        self._latest: Weights = {}

    @property
    def is_exhausted(self) -> bool:
        """Whether the loss has not fallen for `patience` validations."""
        return self.patience is not None and self.n_since_best >= self.patience

    def add(self, loss: float, network: nn.Module) -> None:
        """Take note of a validation of `network`."""
        if loss < self.best_loss:
            self.best_loss, self.n_since_best, self._best = loss, 0, _copy(network)
        else:
            self.n_since_best += 1

    def finish(self, network: nn.Module) -> None:
        """Training ends: put the best weights into `network`, if there are any."""
        if self._best:
            self._latest = _copy(network)
            network.load_state_dict(self._best)

    def resume(self, network: nn.Module) -> None:
        """Training goes on: put back the weights that `finish` took out.

        Weights that somebody else has put in meanwhile stay.
        """
        if self._latest and _equal(network.state_dict(), self._best):
            network.load_state_dict(self._latest)
        self._latest = {}

    def state(self) -> dict[str, Any]:
        """Loss and counter, as plain JSON."""
        best_loss = self.best_loss if math.isfinite(self.best_loss) else None
        return {"best_loss": best_loss, "n_since_best": self.n_since_best}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
        self.n_since_best = state["n_since_best"]

    def state_dict(self) -> Weights:
        """Both sets of weights as one, in the interface of torch's modules."""
        parts = ((_BEST, self._best), (_LATEST, self._latest))
        return {prefix + name: value for prefix, part in parts for name, value in part.items()}

    def load_state_dict(self, weights: Weights, strict: bool = True) -> None:
        """Put back what `state_dict` returned."""
        self._best, self._latest = (
            {
                name.removeprefix(prefix): value.clone()
                for name, value in weights.items()
                if name.startswith(prefix)
            }
            for prefix in (_BEST, _LATEST)
        )


def _copy(network: nn.Module) -> Weights:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _equal(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(
        th.equal(value, second[name].to(value.device)) for name, value in first.items()
    )
