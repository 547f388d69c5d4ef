"""Checks: what `to_sb3` hands over acts as the model did, and is SB3's own."""

from __future__ import annotations

import numpy as np

from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.testing.check import Check, expect, learns_from_demonstrator
from sb3_il_plus.testing.task import Task


def check_to_sb3(task: Task) -> None:
    """`to_sb3` gives an SB3 model with the same actions, or says clearly what fits instead."""
    model = task.trained()
    try:
        plain = model.to_sb3(env=task.env())
    except InapplicableError as refusal:
        expect("can" in str(refusal), f"to_sb3() was refused without saying what can: {refusal}")
        return
    home = type(plain).__module__
    expect(
        home.startswith(("stable_baselines3", "sb3_contrib")),
        f"to_sb3() returned a {type(plain).__name__} of {home}, no model of SB3",
    )
    observations = task.observations()
    before, _ = model.predict(observations, deterministic=True)
    after, _ = plain.predict(observations, deterministic=True)
    # Normalisation that moves into the first layers is rounded otherwise there.
    expect(
        np.allclose(before, after, atol=1e-4),
        f"after to_sb3() the actions are {after}, and were {before}",
    )


CHECKS = (Check(check_to_sb3, learns_from_demonstrator),)
