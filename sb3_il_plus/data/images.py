"""Images: the one place where the channels of demonstrations are moved.

Environments show images as (height, width, channels); SB3 wraps them in `VecTransposeImage`, and
its networks read (channels, height, width). Demonstrations are moved the same way, once, when an
algorithm takes them in. Their bytes stay bytes: SB3's policies make floats of a batch at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col

if TYPE_CHECKING:
    from sb3_il_plus.data.demonstrations import Demonstrations


def channels_first(
    demonstrations: Demonstrations, observation_space: spaces.Space
) -> Demonstrations:
    """Move the channels of every image that `observation_space` has with its channels first.

    What has them first already, and what is no image by SB3's rules (bytes from 0 to 255 with three
    axes), is left as it is.

    :param observation_space: of the model, behind SB3's `VecTransposeImage`
    """
    given, wanted = (
        dict(col.named_spaces(space))
        for space in (demonstrations.observation_space, observation_space)
    )
    if set(given) != set(wanted):
        return demonstrations
    moved = {name for name in wanted if _is_transposed(given[name], wanted[name])}
    if not moved:
        return demonstrations
    columns = {
        name: np.moveaxis(column, -1, 1) if name in moved else column
        for name, column in demonstrations.columns().items()
    }
    return demonstrations.from_columns(
        columns, observation_space, demonstrations.action_space, demonstrations.metadata
    )


def _is_transposed(given: spaces.Space, wanted: spaces.Space) -> bool:
    if not isinstance(given, spaces.Box) or not isinstance(wanted, spaces.Box):
        return False
    if len(given.shape) != 3 or (given.shape[-1], *given.shape[:-1]) != wanted.shape:
        return False
    # With it comes torch, which most data has no need of.
    from stable_baselines3.common.preprocessing import (
        is_image_space,
        is_image_space_channels_first,
    )

    return (
        is_image_space(given)
        and is_image_space(wanted)
        and is_image_space_channels_first(wanted)
        and not is_image_space_channels_first(given)
    )
