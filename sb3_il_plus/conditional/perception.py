"""What conditional policies see: modules for images and for measurements, joined.

As in Codevilla et al. 2018, images pass convolutions and fully connected layers, measurements (all
that is no image) have layers of their own, and further layers join the two. `CommandLast` keeps the
command out of it and puts it behind the features, for heads that treat it apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import (
    get_flattened_obs_dim,
    is_image_space,
    is_image_space_channels_first,
)
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from sb3_il_plus.conditional.commands import COMMAND, discrete_command_space
from sb3_il_plus.conditional.networks import mlp
from sb3_il_plus.errors import InapplicableError

Convolution = tuple[int, int, int]
"""Channels, kernel size and stride."""

SMALL: tuple[Convolution, ...] = ((32, 5, 2), (32, 3, 2), (64, 3, 2), (64, 3, 1))
"""Convolutions for small images and short trainings."""

CIL: tuple[Convolution, ...] = (
    (32, 5, 2),
    (32, 3, 1),
    (64, 3, 2),
    (64, 3, 1),
    (128, 3, 2),
    (128, 3, 1),
    (256, 3, 1),
    (256, 3, 1),
)
"""Those of Codevilla et al. 2018, for images of 88 by 200 pixels."""


class Perception(BaseFeaturesExtractor):
    """Features of images and measurements.

    Convolutions that an image is too small for are left out at the end. Without images there is
    nothing to join, and `join_arch` follows the measurements.

    :param observation_space: a Dict
    :param convolutions: of every image, each with batch normalisation and ReLU, without padding
    :param image_arch: fully connected layers behind the convolutions
    :param measurement_arch: layers for all that is no image, flattened; () to pass it on as it is
    :param join_arch: layers behind both
    :param image_dropout: behind every convolution
    :param dropout: behind every fully connected layer
    :param speed_entry: entry of the observation that a head predicts from images alone (CILRS,
        Codevilla et al. 2019); None for no such head
    :param speed_arch: layers of that head
    :raises InapplicableError: an image's channels are not first, or there is nothing to predict
        the speed from or to compare it with
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        convolutions: Sequence[Convolution] = SMALL,
        image_arch: Sequence[int] = (128,),
        measurement_arch: Sequence[int] = (),
        join_arch: Sequence[int] = (),
        image_dropout: float = 0.0,
        dropout: float = 0.0,
        speed_entry: str | None = None,
        speed_arch: Sequence[int] = (256, 256),
    ) -> None:
        entries = observation_space.spaces
        images = {key: space for key, space in entries.items() if _is_image(key, space)}
        self._measured = [key for key in entries if key not in images]
        n_measured = sum(get_flattened_obs_dim(entries[key]) for key in self._measured)
        sizes = [n_measured, *measurement_arch] if n_measured else [0]
        convolved = {k: _convolved(v, convolutions, image_dropout) for k, v in images.items()}
        n_convolved = sum(size for _, size in convolved.values())
        image_sizes = [n_convolved, *image_arch] if images else [0]
        join_sizes = [image_sizes[-1] + sizes[-1], *join_arch]
        super().__init__(observation_space, join_sizes[-1])
        self.convolutions = nn.ModuleDict({f"of_{k}": net for k, (net, _) in convolved.items()})
        self.image = mlp(image_sizes, dropout=dropout)
        self.measurements = mlp(sizes, dropout=dropout)
        self.join = mlp(join_sizes, dropout=dropout)
        self.speed_entry = speed_entry
        self.speed: nn.Module | None = None
        self._predictions: list[th.Tensor] | None = None
        if speed_entry is not None:
            if speed_entry not in self._measured or not images:
                raise InapplicableError(
                    f"speed_entry={speed_entry!r} is predicted from images and compared with a "
                    f"measurement; there are images {list(images)} and measurements "
                    f"{self._measured}"
                )
            n_speeds = get_flattened_obs_dim(entries[speed_entry])
            hidden = [image_sizes[-1], *speed_arch]
            self.speed = nn.Sequential(mlp(hidden), nn.Linear(hidden[-1], n_speeds))

    def forward(self, observations: Mapping[str, th.Tensor]) -> th.Tensor:
        """Entries of shape (B, ...), images as (B, channels, height, width), to (B, features)."""
        parts: list[th.Tensor] = []
        if self.convolutions:
            seen = [
                net(observations[name.removeprefix("of_")])
                for name, net in self.convolutions.items()
            ]
            parts.append(self.image(th.cat(seen, dim=1)))
            if self.speed is not None and self._predictions is not None:
                self._predictions.append(self.speed(parts[0]))
        if self._measured:
            measured = [observations[key].flatten(1).float() for key in self._measured]
            parts.append(self.measurements(th.cat(measured, dim=1)))
        features: th.Tensor = self.join(th.cat(parts, dim=1))
        return features

    @contextmanager
    def predicting_speed(self) -> Iterator[list[th.Tensor]]:
        """Have each forward pass within the block predict the speed, too.

        So the images are looked at once for both. Gives the list that the predictions are put into,
        shape (B, size of the entry) each.
        """
        predictions: list[th.Tensor] = []
        self._predictions = predictions
        try:
            yield predictions
        finally:
            self._predictions = None


class CilPerception(Perception):
    """The perception of Codevilla et al. 2018, with its dropout; other parameters as `Perception`.

    Layers are those of the supplement of Dosovitskiy et al. 2017 (CoRL), table S.1; dropout is 20 %
    behind convolutions and 50 % behind fully connected layers, as the papers say (the released
    agent has none behind convolutions, and from 30 % to 50 % behind some others).
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        convolutions: Sequence[Convolution] = CIL,
        image_arch: Sequence[int] = (512, 512),
        measurement_arch: Sequence[int] = (128, 128),
        join_arch: Sequence[int] = (512,),
        image_dropout: float = 0.2,
        dropout: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            observation_space,
            convolutions,
            image_arch,
            measurement_arch,
            join_arch,
            image_dropout,
            dropout,
            **kwargs,
        )


class SetPerception(BaseFeaturesExtractor):
    """Features of sets, such as the cars around, whose order means nothing.

    Every row of a set passes the same layers, beside the measurements, and the largest value of
    each feature counts (Zaheer et al. 2017, arXiv:1703.06114, in the form of Qi et al. 2017,
    arXiv:1612.00593). Rows of zeros stand for nobody. What one row teaches holds for all of them,
    so less data is needed than with `Perception`, which has weights of their own for each row.

    :param observation_space: a Dict; entries of two axes are sets of rows, all others measurements
    :param row_arch: layers for each row
    :param join_arch: layers behind the sets and the measurements
    :raises InapplicableError: there is no set
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        row_arch: Sequence[int] = (64, 64),
        join_arch: Sequence[int] = (128,),
    ) -> None:
        entries = observation_space.spaces
        self._sets = [key for key, space in entries.items() if len(space.shape or ()) == 2]
        self._measured = [key for key in entries if key not in self._sets]
        if not self._sets:
            raise InapplicableError(
                f"SetPerception needs an entry of two axes, a set of rows, and there are {entries}"
            )
        n_measured = sum(get_flattened_obs_dim(entries[key]) for key in self._measured)
        row_sizes = {key: (entries[key].shape or ())[1] + n_measured for key in self._sets}
        join_sizes = [n_measured + len(self._sets) * row_arch[-1], *join_arch]
        super().__init__(observation_space, join_sizes[-1])
        self.rows = nn.ModuleDict(
            {f"of_{key}": mlp([size, *row_arch]) for key, size in row_sizes.items()}
        )
        self.join = mlp(join_sizes)

    def forward(self, observations: Mapping[str, th.Tensor]) -> th.Tensor:
        """Sets of shape (B, rows, size) and measurements (B, ...) to (B, features)."""
        batch = len(observations[self._sets[0]])
        measured = [observations[key].flatten(1).float() for key in self._measured]
        parts = [th.cat(measured, dim=1)] if measured else []
        beside = list(parts)
        for name, net in self.rows.items():
            rows = observations[name.removeprefix("of_")].float()
            present = (rows != 0).any(dim=2, keepdim=True)
            repeated = [part[:, None].expand(batch, rows.shape[1], -1) for part in beside]
            # What comes out of a ReLU is not negative, so 0 is the value of nobody.
            parts.append((net(th.cat([rows, *repeated], dim=2)) * present).amax(dim=1))
        features: th.Tensor = self.join(th.cat(parts, dim=1))
        return features


class WithoutCommand(BaseFeaturesExtractor):
    """Features of all entries but the command.

    :param observation_space: a Dict with the entry `"command"`
    :param base_class: extracts the features of the other entries
    :param base_kwargs: its arguments
    :raises InapplicableError: there are no other entries
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        base_class: type[BaseFeaturesExtractor] = Perception,
        base_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        others = {k: v for k, v in observation_space.spaces.items() if k != COMMAND}
        if not others:
            raise InapplicableError("there is nothing to observe beside the command")
        base = base_class(spaces.Dict(others), **(base_kwargs or {}))
        super().__init__(observation_space, base.features_dim)
        self.base = base

    def forward(self, observations: Mapping[str, th.Tensor]) -> th.Tensor:
        """Shape (B, features)."""
        features: th.Tensor = self.base({k: v for k, v in observations.items() if k != COMMAND})
        return features


class CommandLast(WithoutCommand):
    """Features of all entries but the command, and the command behind them."""

    def __init__(self, observation_space: spaces.Dict, *args: Any, **kwargs: Any) -> None:
        super().__init__(observation_space, *args, **kwargs)
        self.command_size = get_flattened_obs_dim(observation_space.spaces[COMMAND])
        self._features_dim += self.command_size

    def forward(self, observations: Mapping[str, th.Tensor]) -> th.Tensor:
        """Shape (B, features + size of the command)."""
        command = observations[COMMAND].flatten(1).float()
        return th.cat([super().forward(observations), command], dim=1)


class CommandBlocks(CommandLast):
    """Features of all other entries, in the block of their command, and zeros in those of others.

    So whatever reads them begins with a layer of its own for each command, though it knows nothing
    of commands: the policies of SAC, TD3 and DQN, and the offline algorithms. It has no weights
    where the other entries are vectors, as offline algorithms demand. Arguments are those of
    `WithoutCommand`.

    :raises InapplicableError: there is no Discrete command, or there are no other entries
    """

    def __init__(self, observation_space: spaces.Dict, *args: Any, **kwargs: Any) -> None:
        discrete_command_space(observation_space, "CommandBlocks")
        super().__init__(observation_space, *args, **kwargs)
        # The one that is added to each block is the bias of its command.
        self._features_dim = self.command_size * (self.base.features_dim + 1)

    def forward(self, observations: Mapping[str, th.Tensor]) -> th.Tensor:
        """Shape (B, commands × (features + 1))."""
        features = super().forward(observations)
        seen, command = features[:, : -self.command_size], features[:, -self.command_size :]
        seen = th.cat([seen, th.ones_like(seen[:, :1])], dim=1)
        return (command[:, :, None] * seen[:, None, :]).flatten(1)


def _is_image(key: str, space: spaces.Space) -> bool:
    if not is_image_space(space, check_channels=False):
        return False
    assert isinstance(space, spaces.Box)
    if not is_image_space_channels_first(space):
        raise InapplicableError(
            f"the image {key!r} of shape {space.shape} does not have its channels first; SB3's "
            "algorithms move the channels of environments' images themselves (VecTransposeImage)"
        )
    return True


def _convolved(
    space: spaces.Space, convolutions: Sequence[Convolution], dropout: float
) -> tuple[nn.Module, int]:
    """The convolutions of an image, flattened at the end, and how many numbers come out."""
    channels, *sides = space.shape or ()
    layers: list[nn.Module] = []
    for n_out, kernel, stride in convolutions:
        if min(sides) < kernel:
            break
        sides = [(side - kernel) // stride + 1 for side in sides]
        layers += [nn.Conv2d(channels, n_out, kernel, stride), nn.BatchNorm2d(n_out), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
        channels = n_out
    return nn.Sequential(*layers, nn.Flatten()), channels * sides[0] * sides[1]
