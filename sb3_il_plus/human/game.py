"""`Game`: what a person does with keys, as front ends see it.

A front end hands over keys, calls `tick` as often as the game asks for it, and shows `view` and
`frame`. It knows nothing of environments and files, and a game nothing of windows and browsers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from sb3_il_plus.environments import make_env


class SessionStopped(Exception):
    """The person stopped; what was done is saved, and the same call goes on with it."""


@dataclass(frozen=True)
class View:
    """What a person reads beside the frame.

    :param headline: where they are
    :param detail: what they see, in numbers
    :param keys: what they can press
    :param message: what their last key did, or what was wrong with it
    :param phase: `"ready"`, `"playing"`, `"paused"`, `"labelling"` or `"finished"`; a page also
        knows `"busy"`, between two games
    :param count: grows with each step or label
    :param picture: file of the frame, for a person who cannot see it here
    """

    headline: str
    detail: str
    keys: str
    message: str
    phase: str
    count: int
    picture: str = ""


class Game(Protocol):
    """Something that a person does with keys."""

    fps: float
    turns: bool
    """Whether it moves at keys only, and never by itself."""
    finished: bool

    def press(self, key: str) -> None:
        """A key goes down (see `keys.key_name`)."""

    def release(self, key: str) -> None:
        """A key goes up."""

    def leave(self) -> None:
        """The person is gone: let go of all keys and wait."""

    def tick(self) -> None:
        """1 / `fps` seconds have passed."""

    def view(self) -> View:
        """What to read."""

    def frame(self) -> np.ndarray | None:
        """What to see: bytes of shape (height, width, 3), or None where there is no picture."""


class FrontEnd(Protocol):
    """Shows games to a person."""

    turns_only: bool
    """Whether it cannot tell how long a key is held."""

    def run(self, game: Game) -> None:
        """Show a game until it is finished."""

    def close(self) -> None:
        """Say goodbye."""


def visible_env(env_id: str) -> gym.Env:
    """The environment, with frames where it has some.

    :raises UserError: as `make_env`
    """
    env = make_env(env_id)
    if "rgb_array" not in (env.metadata.get("render_modes") or ()):
        return env
    env.close()
    return make_env(env_id, render_mode="rgb_array")


def rendered(env: Any) -> np.ndarray | None:
    """What an environment shows; None where it has no picture."""
    if getattr(env, "render_mode", None) not in ("rgb_array", "rgb_array_list"):
        return None
    frame = env.render()
    if isinstance(frame, list):
        frame = frame[-1] if frame else None
    return frame if frame is None or frame.ndim == 3 else np.stack([frame] * 3, axis=-1)
