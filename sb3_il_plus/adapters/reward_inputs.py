"""Input normalisation of a reward net, with fixed statistics of the demonstrations.

Running statistics over the learner's data follow its worst excursions (a cart that rolls away for
hundreds of steps), and squeeze the region where the expert is to nothing.
"""

from __future__ import annotations

import torch as th
from torch import nn

from sb3_il_plus.data.sampling import TensorColumns
from sb3_il_plus.normalization import CLIP, EPSILON


class DemonstrationNorm(nn.Module):
    """Maps x to clip((x − mean) / std, ±10); a `normalize_input_layer` for `imitation`'s nets.

    :param num_features: length of x
    """

    mean: th.Tensor
    std: th.Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", th.zeros(num_features))
        self.register_buffer("std", th.ones(num_features))
        self.is_fitting = False

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Normalise, after taking the statistics of `x` where a fit is under way."""
        if self.is_fitting:
            self.mean.copy_(x.mean(dim=0))
            self.std.copy_(x.std(dim=0, unbiased=False).clamp(min=EPSILON))
        return ((x - self.mean) / self.std).clamp(-CLIP, CLIP)


def is_fitted(net: nn.Module) -> bool:
    """Whether there is a `DemonstrationNorm` inside `net`."""
    return any(isinstance(module, DemonstrationNorm) for module in net.modules())


def fit(net: nn.Module, *inputs: TensorColumns) -> None:
    """Set every `DemonstrationNorm` inside `net` to the statistics of what reaches it.

    :param inputs: what `net` is called with, all demonstrations at once
    """
    layers = [module for module in net.modules() if isinstance(module, DemonstrationNorm)]
    for layer in layers:
        layer.is_fitting = True
    with th.no_grad():
        net(*inputs)
    for layer in layers:
        layer.is_fitting = False
