"""Divergence: values that no return can explain are noticed, and on request end training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sb3_il_plus.offline.algorithm import OfflineAlgorithm

FACTOR = 10
"""How much larger than any return a mean value is, when training diverges."""


class DivergenceWarning(UserWarning):
    """The values that an algorithm learns are larger than any return can be."""


def watch(model: OfflineAlgorithm, value: float) -> bool:
    """Notice divergence, warn once, and save the model where it is to stop.

    :param value: mean value since the last look
    :return: whether to go on
    """
    diverged = not abs(value) <= FACTOR * model._largest_value
    model.logger.record("train/diverged", float(diverged))
    if not diverged or model._diverged:
        return not (diverged and model.stop_on_divergence)
    model._diverged = True
    message = (
        f"after {model._n_updates} updates the mean value is {value:.3g}, where no return exceeds "
        f"{model._largest_value:.3g}: training diverges. Try a smaller learning_rate or gamma, or "
        "stay nearer to the data (a smaller alpha in TD3BC, a larger cql_alpha in CQL)"
    )
    if model.stop_on_divergence:
        path = Path(model.logger.get_dir() or ".") / "diverged.zip"
        model.save(path)
        message += f". Training ends; the model is saved as {path}"
    warnings.warn(message, DivergenceWarning, stacklevel=4)
    return not model.stop_on_divergence
