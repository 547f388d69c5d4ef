"""Image augmentation: it changes the images that are trained on, and nothing else."""

import re

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_il_plus import ConditionalBC, collect
from sb3_il_plus.conditional.augmentation import ImageAugmentation, published_augmentation
from sb3_il_plus.conditional.driving import DrivingExpert, DrivingVecEnv
from sb3_il_plus.data.entries import without_entries
from sb3_il_plus.errors import InapplicableError, UserError

SPACE = spaces.Dict(
    {
        "image": spaces.Box(0, 255, (3, 8, 8), np.uint8),
        "speed": spaces.Box(0, 1, (1,), np.float32),
        "command": spaces.Discrete(4),
    }
)


@pytest.fixture(scope="module")
def images():
    """What `sb3_il_plus/DrivingImage-v0` shows."""
    seen = DrivingVecEnv(4, observation="all")
    recorded = collect(DrivingExpert(), seen, n_timesteps=240, seed=1)
    return without_entries(recorded, ["road"])


def batch(n=4):
    rng = np.random.default_rng(0)
    return {
        "image": th.from_numpy(rng.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)),
        "speed": th.rand(n, 1),
        "command": th.arange(n) % 4,
    }


def test_only_images_are_transformed():
    augmented = ImageAugmentation(lambda images: 1 - images, SPACE)
    before = batch()
    after = augmented(before)
    assert after["image"].dtype == th.uint8
    assert th.equal(after["image"], 255 - before["image"])
    assert after["speed"] is before["speed"] and after["command"] is before["command"]


def test_what_leaves_the_range_is_cut_off():
    brighter = ImageAugmentation(lambda images: images + 2, SPACE)
    assert (brighter(batch())["image"] == 255).all()


def test_batches_that_are_trained_on_and_no_others(images):
    seen = []

    def dark(given):
        seen.append(given)
        return th.zeros_like(given)

    def build(**kwargs):
        return ConditionalBC(
            "BranchedPolicy",
            None,
            images,
            batch_size=16,
            validation_fraction=0.25,
            validation_freq=1,
            policy_kwargs={"features_extractor_kwargs": {"convolutions": [(4, 5, 4)]}},
            seed=0,
            device="cpu",
            **kwargs,
        )

    plain, augmented = build(), build(augmentation=dark)
    held_out = []
    augmented._validation_loss = lambda batches: held_out.append(batches) or 0.0
    augmented.learn(3)
    plain.learn(3)
    assert [tuple(each.shape) for each in seen] == [(16, 3, 64, 64)] * 3
    assert all(each.min() >= 0 and 0.5 < each.max() <= 1 for each in seen)
    assert len(held_out) == 3, "validated three times, with no further transform"
    weights = [
        model.policy.state_dict()["action_net.layers.0.weight"] for model in (plain, augmented)
    ]
    assert not th.equal(*weights)
    observation = images.observations_at(np.arange(4))
    augmented.predict(observation)
    assert len(seen) == 3, "what is acted on is as it is"


def test_published_augmentation(images, tmp_path):
    pytest.importorskip("kornia")
    pixels = th.tensor(images.observations["image"][:200]).permute(0, 3, 1, 2)
    th.manual_seed(0)
    before = pixels.float() / 255
    after = published_augmentation()(before)
    changed = (after - before).abs().flatten(1).amax(dim=1) > 1e-4
    # None of six happens to an image in 0.91^2 * 0.7^3 * 0.6 = 17 % of the cases.
    assert changed.float().mean() == pytest.approx(0.83, abs=0.08)
    model = ConditionalBC(
        "BranchedPolicy",
        None,
        images,
        batch_size=8,
        policy_kwargs={"net_arch": [8]},
        augmentation="published",
        seed=0,
        device="cpu",
    )
    model.learn(2)
    model.save(tmp_path / "model")
    assert ConditionalBC.load(tmp_path / "model", device="cpu").augmentation == "published"


def test_augmentation_without_its_library(monkeypatch):
    from sb3_il_plus import spec

    monkeypatch.setattr(spec, "_is_installed", lambda module: module != "kornia")
    with pytest.raises(UserError, match=re.escape("pip install 'sb3_il_plus[augmentation]'")):
        published_augmentation()


@pytest.mark.parametrize(
    "augmentation, space, error, message",
    [
        ("paper", SPACE, UserError, "augmentation='paper' must be 'published', None, or a func"),
        (
            th.neg,
            spaces.Dict({"command": spaces.Discrete(2)}),
            InapplicableError,
            "transforms images, and the observation has none",
        ),
    ],
)
def test_arguments_that_do_not_fit(augmentation, space, error, message):
    with pytest.raises(error, match=message):
        ImageAugmentation(augmentation, space)


def test_images_of_another_size():
    cropped = ImageAugmentation(lambda images: images[..., 1:], SPACE)
    with pytest.raises(UserError, match=r"shape \(4, 3, 8, 7\) for those of shape \(4, 3, 8, 8\)"):
        cropped(batch())
