"""`record`: demonstrations of a person, into a file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.metadata import library_versions
from sb3_il_plus.errors import UserError, suggest
from sb3_il_plus.human.game import FrontEnd, visible_env
from sb3_il_plus.human.keys import KeyMap, key_map
from sb3_il_plus.human.play import PlaySession
from sb3_il_plus.human.recording import Recording

FrontEndName = Literal["window", "web", "terminal"]

_FRONT_ENDS = ["window", "web", "terminal"]


def front_end(name: FrontEndName | FrontEnd, **options: Any) -> FrontEnd:
    """Open a front end by its name.

    :param options: of the browser's: `host`, `port`
    :raises UserError: there is no such front end, or it cannot be opened here
    """
    if not isinstance(name, str):
        return name
    if name == "web":
        from sb3_il_plus.human.web import BrowserFrontEnd

        return BrowserFrontEnd(**options)
    if name == "window":
        from sb3_il_plus.human.window import WindowFrontEnd

        return WindowFrontEnd()
    if name == "terminal":
        from sb3_il_plus.human.terminal import TerminalFrontEnd

        return TerminalFrontEnd()
    raise UserError(f"there is no front end {name!r}{suggest(name, _FRONT_ENDS)}")


def record(
    env_id: str,
    out: str | Path,
    *,
    keys: str | Mapping[Any, Any] | None = None,
    n_episodes: int | None = None,
    fps: float | None = None,
    turns: bool | None = None,
    seed: int = 0,
    show: FrontEndName | FrontEnd = "window",
    **options: Any,
) -> Demonstrations | None:
    """Let a person play, and record it; every episode is saved as soon as it ends.

    :param env_id: the environment
    :param out: file to write, in any format of `Demonstrations.save`; continued where it exists
    :param keys: see `key_map`
    :param n_episodes: episodes that the file shall have at the end; None until the person stops
    :param fps: steps in a second; None for the environment's own
    :param turns: wait for a key before each step; None for what suits the environment
    :param seed: of the environment
    :param show: `"window"`, `"web"` (a page in a browser), `"terminal"`, or an open front end
    :param options: of the browser's front end: `host`, `port`
    :return: all that is in the file; None if that is nothing
    :raises UserError: no keys are known, or the file cannot be continued
    """
    env = visible_env(env_id)
    with closing(env):
        mapped = key_map(env, keys)
        metadata = human_metadata(env_id, mapped)
        recording = Recording(out, env.observation_space, env.action_space, metadata)
        with closing(recording):
            shown = front_end(show, **options)
            session = PlaySession(
                env, mapped, recording, n_episodes=n_episodes, fps=fps, turns=turns, seed=seed
            )
            with closing(shown), closing(session):
                shown.run(session)
    return recording.demonstrations


def human_metadata(env_id: str, keys: KeyMap) -> dict[str, Any]:
    """Facts about demonstrations of a person."""
    return {
        "env_id": env_id,
        "expert": "human",
        "keys": keys.to_json(),
        "versions": library_versions(),
    }
