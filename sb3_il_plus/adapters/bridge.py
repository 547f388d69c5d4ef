"""The bridge between `imitation`'s trainers and SB3: one logger, and a way to stop.

Upstream logs to a logger of its own kind, which writes folders of raw values; here everything ends
up in the model's one SB3 logger under SB3's names.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from imitation.util.logger import HierarchicalLogger
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import INFO, Logger

_PREFIXES = {"bc/": "train/", "dagger/": "rollout/"}
"""Upstream's prefix of a name -> ours."""

_DROPPED = frozenset({"global_step", "bc/batch", "bc/samples_so_far", "batch_size", "iteration"})
"""Upstream's own step counters, which `time/total_timesteps` replaces."""

_IN_SECTION = {
    "disc": {
        "disc_acc": "disc_accuracy",
        "disc_acc_expert": "disc_accuracy_expert",
        "disc_acc_gen": "disc_accuracy_generator",
        "disc_entropy": "disc_entropy",
        "disc_gradient_penalty": "disc_gradient_penalty",
        "disc_loss": "disc_loss",
    },
    "preferences": {"entropy": "preference_entropy"},
    "reward": {"loss": "reward_loss", "accuracy": "reward_accuracy"},
}
"""What repeats within a round (see `accumulate_means`): upstream's name of a figure -> ours; its
others only repeat the batch size, or need rewards that nobody may have."""


@contextmanager
def upstream_warnings_silenced() -> Iterator[None]:
    """Keep warnings that only upstream could mend from the user."""
    with warnings.catch_warnings():
        # BCLogger turns loss tensors into floats without detaching them.
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True")
        # The trainer handles dicts of tensors, and wonders at them all the same.
        warnings.filterwarnings("ignore", "trying to unwrap object of type")
        yield


class StopTraining(Exception):
    """Raised inside an upstream loop when a callback returned False; never leaves the adapters."""


class BridgeLogger(HierarchicalLogger):
    """Upstream's logger interface, forwarding to the SB3 logger of a model.

    :param model: whose current logger receives everything
    :param on_dump: called where upstream would dump; None where the adapter dumps by itself
    """

    def __init__(self, model: BaseAlgorithm, on_dump: Callable[[], None] | None = None) -> None:
        # HierarchicalLogger's own constructor would create folders and outputs.
        Logger.__init__(self, folder=None, output_formats=[])
        self._model = model
        self._on_dump = on_dump
        self._section = ""

    @property
    def _target(self) -> Logger | None:
        return getattr(self._model, "_logger", None)

    @contextmanager
    def accumulate_means(self, name: str) -> Iterator[None]:
        """Upstream's context for figures that repeat within a round: their means are logged."""
        self._section = name if name in _IN_SECTION else ""
        try:
            yield
        finally:
            self._section = ""

    @contextmanager
    def add_key_prefix(self, prefix: str) -> Iterator[None]:
        """Upstream's context for figures of one epoch, which are averaged like all in a round."""
        yield

    def get_accumulate_prefixes(self) -> str:
        """Upstream's prefixes, of which there are none here."""
        return ""

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        """Forward a figure under SB3's name for it."""
        if self._target is None or key in _DROPPED or key.startswith("time/"):
            return
        if self._section:
            if key in _IN_SECTION.get(self._section, {}):
                ours = _IN_SECTION[self._section][key]
                self._target.record_mean(f"train/{ours}", value, exclude)
        else:
            self._target.record(rename(key), value, exclude)

    def record_mean(self, key: str, value: Any, exclude: Any = None) -> None:
        """Forward a figure that is averaged until the next dump."""
        if self._target is not None:
            self._target.record_mean(rename(key), value, exclude)

    def dump(self, step: int = 0) -> None:
        """Upstream finished a step of its own counting."""
        if self._on_dump is not None:
            self._on_dump()

    def log(self, *args: Any, level: int = INFO) -> None:
        """Forward free-form text; before `learn` there is no logger yet, and nothing to say."""
        if self._target is not None:
            self._target.log(*args, level=level)

    def get_dir(self) -> str | None:
        """Folder of the model's logger."""
        return None if self._target is None else self._target.get_dir()

    def set_level(self, level: int) -> None:
        """Forward the verbosity."""
        if self._target is not None:
            self._target.set_level(level)

    def close(self) -> None:
        """The model closes its own logger."""


def rename(key: str) -> str:
    """Upstream's name of a figure -> ours, under SB3's `train/` and `rollout/`."""
    for theirs, ours in _PREFIXES.items():
        if key.startswith(theirs):
            return ours + key[len(theirs) :]
    return key if "/" in key else f"train/{key}"
