"""What each key means: maps from the keys a person holds down to an action.

A key is a character or a name (`left`, `space`), whichever front end it came from. Maps come from
`--keys`, from the environment itself (the convention of `gymnasium.utils.play`), or from the table
in `default_keys.py`. Every action in a map lies in the action space, or there is no map.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_il_plus.errors import UserError
from sb3_il_plus.human.default_keys import default_keys
from sb3_il_plus.spaces import outside

CONTROLS = {
    "enter": "go on",
    "p": "pause",
    "backspace": "take back the last episode",
    "escape": "stop",
    "tab": "hand over",
}
"""Keys that no map may use, as they steer the session itself."""

NOTHING = "none"
"""Stands for holding no key, in a map."""

_ALIASES = {
    " ": "space",
    "+": "plus",
    "return": "enter",
    "keypad enter": "enter",
    "esc": "escape",
    "del": "delete",
    "noop": NOTHING,
    "": NOTHING,
}

_GYMNASIUM_CODES = {  # pygame's, which are the same in its versions 1 to 2 and in pygame-ce
    1073741903: "right",
    1073741904: "left",
    1073741905: "down",
    1073741906: "up",
    273: "up",  # of pygame 1, which gymnasium's MountainCar still has
    274: "down",
    275: "right",
    276: "left",
    13: "enter",
    9: "tab",
}

_HOW_TO = "such as --keys 'a=0,d=1', or JSON: --keys '{\"left\": [-1.0], \"none\": [0.0]}'"


def key_name(text: str) -> str:
    """The one name of a key, however a browser, a window or a person writes it."""
    name = text if len(text) == 1 else text.strip()
    name = name.lower().removeprefix("arrow")
    return _ALIASES.get(name, name)


@dataclass(frozen=True)
class KeyMap:
    """From keys held down to an action.

    With continuous actions, keys held together add up, within the bounds. With choices, the largest
    combination in the map that is held counts; between equals, the key that was pressed last.

    :param actions: combinations of keys and their actions
    :param idle: the action while no key is held; None repeats the last one
    :param action_space: of the environment
    :param turns: whether the environment waits for a key before each step
    """

    actions: Mapping[frozenset[str], np.ndarray]
    idle: np.ndarray | None
    action_space: spaces.Space
    turns: bool = False

    def knows(self, key: str) -> bool:
        """Whether a key is in the map, alone or in a combination."""
        return any(key in combination for combination in self.actions)

    def action(self, held: Iterable[str], last: np.ndarray | None = None) -> np.ndarray | None:
        """What to do.

        :param held: keys in the order in which they were pressed
        :param last: the action before this one
        :return: None where nothing is held, no action is idle, and there was none before
        """
        held = [key for key in held if self.knows(key)]
        exact = self.actions.get(frozenset(held)) if held else None
        if exact is not None:
            return exact
        if not held:
            return last if self.idle is None else self.idle
        if isinstance(self.action_space, spaces.Box):
            return self._sum(held)
        fitting = [combination for combination in self.actions if combination <= set(held)]
        if not fitting:
            return last if self.idle is None else self.idle
        return self.actions[max(fitting, key=lambda c: (len(c), max(map(held.index, c))))]

    def _sum(self, held: list[str]) -> np.ndarray:
        space = self.action_space
        assert isinstance(space, spaces.Box)
        start = np.zeros(space.shape) if self.idle is None else self.idle
        singles = [self.actions[frozenset({k})] for k in held if frozenset({k}) in self.actions]
        total = start + sum((single - start for single in singles), np.zeros(space.shape))
        return np.clip(total, space.low, space.high).astype(space.dtype)

    def describe(self) -> str:
        """All keys and what they mean, in a line."""
        entries = [f"{'+'.join(sorted(c))}={show_action(a)}" for c, a in self.actions.items()]
        nothing = "the last one again" if self.idle is None else show_action(self.idle)
        return ", ".join([*entries, f"no key={nothing}"])

    def to_json(self) -> dict[str, Any]:
        """As `--keys` takes it."""
        entries = {"+".join(sorted(c)): a.tolist() for c, a in self.actions.items()}
        return entries if self.idle is None else {**entries, NOTHING: self.idle.tolist()}


def show_action(action: np.ndarray) -> str:
    """An action in few characters."""
    return np.array2string(np.asarray(action), precision=3, separator=" ")


def key_map(env: gym.Env, keys: str | Mapping[Any, Any] | None = None) -> KeyMap:
    """Find the map for an environment.

    :param keys: `"a=0,d=1"`, a JSON object, the path of a `.json` file with one, or a mapping as
        `gymnasium.utils.play` takes it; `none` is holding no key, and `left+up` both at once. None
        for the environment's own map, or the default one
    :raises UserError: no map is known, or a key or an action in it cannot be used
    """
    if keys is not None:
        given = _parsed(keys) if isinstance(keys, str) else keys
        return _checked(given, env.action_space, turns=False)
    own = getattr(env.unwrapped, "get_keys_to_action", None)
    if own is not None:
        # gymnasium.utils.play does 0 while nothing is pressed.
        found = own()
        has_idle = any(not _combination(keys) for keys in found)
        discrete = isinstance(env.action_space, spaces.Discrete)
        return _checked(
            found if has_idle or not discrete else {**found, NOTHING: 0}, env.action_space
        )
    env_id = "it" if env.spec is None else env.spec.id
    default = default_keys(env_id)
    if default is not None:
        try:
            return _checked(default.keys, env.action_space, default.turns)
        except UserError:  # a variant with other actions
            pass
    raise UserError(
        f"there are no default keys for {env_id} with the actions {env.action_space}; name them, "
        f"{_HOW_TO}"
    )


def _parsed(text: str) -> dict[str, Any]:
    if text.endswith(".json"):
        try:
            text = Path(text).read_text("utf-8")
        except OSError as error:
            raise UserError(f"--keys {text!r} cannot be read: {error}") from error
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise UserError(f"--keys is no JSON ({error}); write it {_HOW_TO}") from error
    found: dict[str, Any] = {}
    for pair in text.split(","):
        key, separator, value = pair.partition("=")
        try:
            found[key.strip()] = json.loads(value)
        except ValueError:
            separator = ""
        if not separator or not key.strip():
            raise UserError(f"--keys: {pair!r} is not understood; write pairs {_HOW_TO}")
    return found


def _checked(given: Mapping[Any, Any], space: spaces.Space, turns: bool = False) -> KeyMap:
    actions, idle = {}, None
    if isinstance(space, spaces.Box) and not outside(np.zeros((1, *space.shape)), space).any():
        idle = np.zeros(space.shape, dtype=space.dtype)
    for keys, value in given.items():
        combination = _combination(keys)
        action = checked_action(value, space, f"keys: {_shown(keys)} means")
        for key in combination & set(CONTROLS):
            raise UserError(
                f"keys: {key!r} means {CONTROLS[key]!r} in every session; choose another key"
            )
        if combination:
            actions[combination] = action
        else:
            idle = action
    if not actions:
        raise UserError(f"keys: the map is empty; write it {_HOW_TO}")
    return KeyMap(actions, idle, space, turns)


def checked_action(value: Any, space: spaces.Space, where: str) -> np.ndarray:
    """An action of the space from what a person wrote.

    :param where: begins the message
    :raises UserError: it lies outside the space
    """
    try:
        action = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        action = np.array(np.nan)
    if action.shape == () and space.shape == (1,):
        action = action[None]
    whole = isinstance(space, spaces.Box) or bool((action == np.floor(action)).all())
    if action.shape != space.shape or not whole or outside(action[None], space).any():
        raise UserError(f"{where} {value!r}, which lies outside the action space {space}")
    return action.astype(space.dtype)


def _combination(keys: Any) -> frozenset[str]:
    """Keys that are held together, as people and `gymnasium.utils.play` write them."""
    if isinstance(keys, str):
        parts: Iterable[Any] = [keys] if keys in ("", "+") else keys.split("+")
    else:
        parts = [keys] if isinstance(keys, (int, np.integer)) or keys is None else keys
    names = (_name_of(part) for part in parts)
    return frozenset(name for name in names if name != NOTHING)


def _name_of(part: Any) -> str:
    if part is None:
        return NOTHING
    if isinstance(part, str):
        return key_name(part)
    code = int(part)
    if code in _GYMNASIUM_CODES:
        return _GYMNASIUM_CODES[code]
    if 32 <= code < 0x110000:
        return key_name(chr(code))
    raise UserError(f"keys: {code} is no code of a key; write its name")


def _shown(keys: Any) -> str:
    return repr("+".join(sorted(_combination(keys))) or NOTHING)
