"""Recipes: whose data a data set is made of, and in which shares.

    random                          uniformly random actions
    medium                          an agent stopped at about a third of the expert's performance
    expert                          the expert
    noisy(0.3)                      the expert with noise (see `experts.behaviours.noisy_expert`)
    medium-replay                   all that the medium agent saw in its training
    medium-expert                   medium and expert in equal shares
    0.9*random + 0.1*expert         any mixture; parts without a weight have the weight 1

The names are D4RL's (Fu et al. 2020).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from sb3_il_plus.errors import UserError, suggest

NAMES = ("random", "medium", "expert", "noisy(0.3)", "medium-replay", "medium-expert")
"""What a part of a recipe can be called."""

_PART = re.compile(
    r"(?:(?P<weight>[\d.]+(?:e-?\d+)?)\s*\*\s*)?(?P<name>[a-z-]+)\s*(?:\(\s*(?P<level>[^()]*)\))?"
)


@dataclass(frozen=True)
class Part:
    """One source of a data set.

    :param name: "random", "medium", "expert", "noisy" or "medium-replay"
    :param weight: positive; shares are the weights divided by their sum
    :param level: of the noise, where there is some
    """

    name: str
    weight: float = 1.0
    level: float = 0.0

    def __str__(self) -> str:
        return f"noisy({self.level:g})" if self.name == "noisy" else self.name


def parse_recipe(text: str) -> tuple[Part, ...]:
    """Understand a recipe as it is typed.

    :raises UserError: it is none; the message names the nearest
    """
    parts: list[Part] = []
    for piece in text.split("+"):
        found = _PART.fullmatch(piece.strip().lower())
        if found is None:
            raise UserError(
                f"{piece.strip()!r} is no part of a recipe; known are {', '.join(NAMES)}, and "
                "mixtures such as '0.9*random + 0.1*expert'"
            )
        weight = _number(found["weight"] or "1", piece)
        if not 0 < weight < math.inf:
            raise UserError(f"the weight {weight:g} in {piece.strip()!r} must be positive")
        parts += _parts(found["name"], weight, found["level"], piece.strip())
    return tuple(parts)


def shares(parts: tuple[Part, ...], amount: int) -> list[int]:
    """Divide an amount by the weights, to the nearest whole numbers that add up to it.

    :raises UserError: a part would get nothing
    """
    weights = np.array([part.weight for part in parts])
    bounds = np.rint(amount * np.cumsum(weights) / weights.sum()).astype(int)
    found = [int(share) for share in np.diff(bounds, prepend=0)]
    if min(found) < 1:
        empty = parts[found.index(min(found))]
        raise UserError(f"{amount} is too few for the recipe: the part {empty} would get nothing")
    return found


def _parts(name: str, weight: float, level: str | None, piece: str) -> list[Part]:
    if name == "noisy":
        noise = _number(level or "", piece)
        if not 0 <= noise <= 1:
            raise UserError(
                f"the noise level in {piece!r} must lie within [0, 1], as in noisy(0.3)"
            )
        return [Part("noisy", weight, noise)]
    if level is not None:
        raise UserError(f"{piece!r}: only noisy(...) has a level; write {name!r}")
    if name == "medium-expert":
        return [Part("medium", weight / 2), Part("expert", weight / 2)]
    if name not in NAMES:
        raise UserError(f"there is no recipe {name!r}{suggest(name, list(NAMES))}")
    return [Part(name, weight)]


def _number(text: str, piece: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(
            f"{text!r} in {piece.strip()!r} is no number; write for example noisy(0.3)"
        ) from None
