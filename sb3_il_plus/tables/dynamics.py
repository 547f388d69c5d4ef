"""`ReversedCartPole-v0`: the environment of `seals/CartPole-v0` whose motor pushes the other way.

What a policy has learned in one is wrong in the other, and a reward of the state alone is right in
both. gymnasium finds it by `sb3_il_plus.tables.dynamics:ReversedCartPole-v0`.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from sb3_il_plus.environments import make_env

REVERSED = f"{__name__}:ReversedCartPole-v0"


def reversed_cart_pole(**kwargs: Any) -> gym.Env:
    """The environment.

    :param kwargs: of `seals/CartPole-v0`, such as `render_mode`
    :raises MissingExtraError: `seals` is not installed
    """
    env = make_env("seals/CartPole-v0", **kwargs)
    inner: Any = env.unwrapped
    inner.force_mag = -inner.force_mag
    return env


gym.register("ReversedCartPole-v0", reversed_cart_pole)
