"""CUDA graphs: an update is recorded once and replayed, which spares the launch of each kernel.

An update is a function of weights and a batch. It is recorded with a batch that stays where it is,
and into which every later one is copied. What a recording may not hold is passed in tensors, too:
the learning rates. Nothing here but `record_on_gpu` needs a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING

import torch as th

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.adam import LeanAdam
from sb3_il_plus.offline.batch import Batch, map_batches

if TYPE_CHECKING:
    from sb3_il_plus.offline.algorithm import OfflineAlgorithm

Figures = Mapping[str, th.Tensor]
Recorder = Callable[[Callable[[], Figures]], Callable[[], Figures]]

N_WARM_UP = 3
"""Updates of each kind before it is recorded, in which optimisers and cuBLAS set themselves up."""


def record_on_gpu(update: Callable[[], Figures]) -> Callable[[], Figures]:
    """Record what an update does on the GPU, without doing it.

    :return: what does it, as often as it is called
    """
    graph = th.cuda.CUDAGraph()
    with th.cuda.graph(graph):
        figures = update()

    def replay() -> Figures:
        graph.replay()
        return figures

    return replay


class RecordedUpdates:
    """Updates of an algorithm, each kind of which is recorded once (see `_kind_of_update`).

    :param model: whose optimisers are `LeanAdam`, and whose update reads no number from the device
    :param record: what records; `record_on_gpu`, or another one in its place
    :raises UserError: an optimiser is none that can be recorded
    """

    def __init__(self, model: OfflineAlgorithm, record: Recorder = record_on_gpu) -> None:
        self._model, self._record = model, record
        self._n_seen: Counter[Hashable] = Counter()
        self._replays: dict[Hashable, Callable[[], Figures]] = {}
        self._batch: Batch | None = None
        self._optimizers: list[LeanAdam] = []
        for name, optimizer in model._optimizers().items():
            if not isinstance(optimizer, LeanAdam):
                raise UserError(
                    f"cuda_graph=True records steps of torch's Adam, and {name} is "
                    f"{type(optimizer).__name__}: leave optimizer_class as it is, or cuda_graph"
                )
            optimizer.keep_rates_in_tensors()
            self._optimizers.append(optimizer)

    def __call__(self, batch: Batch) -> Figures:
        """Make one update."""
        kind = self._model._kind_of_update()
        self._n_seen[kind] += 1
        for optimizer in self._optimizers:
            optimizer.fill_rates()
        if self._n_seen[kind] <= N_WARM_UP:
            return self._model._update(batch)
        if self._batch is None:
            self._batch = map_batches(th.clone, batch)
        else:
            map_batches(lambda mine, given: mine.copy_(given), self._batch, batch)
        if kind not in self._replays:
            static = self._batch
            self._replays[kind] = self._record(lambda: self._model._update(static))
        return {name: value.detach().clone() for name, value in self._replays[kind]().items()}


def updates_of(model: OfflineAlgorithm) -> Callable[[Batch], Figures]:
    """What makes an algorithm's updates: itself, or a recording of it."""
    return RecordedUpdates(model) if model.cuda_graph else model._update
