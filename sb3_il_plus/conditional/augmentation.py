"""Image augmentation: what is learned shall not depend on light, blur or dirt on the lens.

    ConditionalBC("CnnPolicy", None, data, augmentation="published")

    from kornia.augmentation import RandomBrightness, RandomGaussianBlur
    ConditionalBC(..., augmentation=nn.Sequential(RandomGaussianBlur((3, 3), (0.1, 2.0)), ...))

A transform takes images as numbers within [0, 1], shape (B, channels, height, width), and returns
as many; those of `kornia` (extra `augmentation`) are made for this and draw anew for every image.
Only batches that are trained on are transformed, not those of validation, nor what is acted on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from torch import nn

from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.spec import require

Transform = Callable[[th.Tensor], th.Tensor]
Augmentation = Literal["published"] | Transform | None

PUBLISHED = "published"


def published_augmentation() -> nn.Module:
    """Blur, noise, dropout of pixels and of regions, brightness and contrast, each at random.

    The kinds are the paper's (Codevilla et al. 2018); it gives no ranges, so those follow a public
    reimplementation that trains on its data: Gaussian blur (σ to 1.5, 9 % of images), Gaussian
    noise (σ 0.05, 9 %), dropout of pixels (to 10 %, 30 %) and of a region (to 10 % of the image,
    30 %), brightness that is added (±40/255, 30 %) and multiplied (0.1 to 2.5, 40 %). Theirs also
    changes single channels, and the contrast about the middle.

    :raises MissingExtraError: `kornia` is not installed
    """
    require("kornia", 'augmentation="published"')
    from kornia import augmentation as kornia

    return nn.Sequential(
        kornia.RandomGaussianBlur((5, 5), (0.1, 1.5), p=0.09),
        kornia.RandomGaussianNoise(std=0.05, p=0.09),
        kornia.RandomSaltAndPepperNoise(amount=(0.0, 0.1), salt_vs_pepper=(0.0, 0.0), p=0.3),
        kornia.RandomErasing(scale=(0.01, 0.1), p=0.3),
        kornia.RandomBrightness((1 - 40 / 255, 1 + 40 / 255), p=0.3),
        kornia.RandomContrast((0.1, 2.5), p=0.4),
    )


class ImageAugmentation:
    """Transforms the images of a batch of Dict observations, and leaves the other entries.

    :param augmentation: the argument of `ConditionalBC`
    :param observation_space: of the policy
    :raises InapplicableError: there are no images
    :raises UserError: `augmentation` is neither a known name nor a function
    """

    def __init__(self, augmentation: Augmentation, observation_space: spaces.Space) -> None:
        self._transform: Transform | None = None
        entries = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {}
        self._images = [key for key, space in entries.items() if is_image_space(space)]
        if augmentation is None:
            return
        if not self._images:
            raise InapplicableError(
                f"augmentation={augmentation!r} transforms images, and the observation has none: "
                f"{observation_space}"
            )
        if augmentation == PUBLISHED:
            augmentation = published_augmentation()
        if not callable(augmentation):
            raise UserError(
                f"augmentation={augmentation!r} must be {PUBLISHED!r}, None, or a function of "
                "images of shape (B, channels, height, width) within [0, 1]"
            )
        self._transform = augmentation

    def __call__(self, observations: dict[str, th.Tensor]) -> dict[str, th.Tensor]:
        """The batch with other images, still bytes, as the policy reads them."""
        if self._transform is None:
            return observations
        changed = {key: self._of(observations[key], self._transform) for key in self._images}
        return {**observations, **changed}

    @staticmethod
    @th.no_grad()
    def _of(images: th.Tensor, transform: Transform) -> th.Tensor:
        transformed = transform(images.float() / 255)
        if transformed.shape != images.shape:
            raise UserError(
                f"augmentation returned images of shape {tuple(transformed.shape)} for those of "
                f"shape {tuple(images.shape)}"
            )
        return (transformed.clamp(0, 1) * 255).round().to(images.dtype)
