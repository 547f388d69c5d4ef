"""Reference scores: what random actions and an expert earn, so that returns can be compared.

    normalized score = 100 * (return - random) / (expert - random)

This is D4RL's formula: 0 is as good as random actions, 100 as good as the expert. The two returns
travel in a data set's metadata, under the names that Minari gives them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_il_plus.errors import DataError, UnknownNameError, suggest

if TYPE_CHECKING:
    from sb3_il_plus.data.demonstrations import Demonstrations

REFERENCE_KEYS = ("ref_min_score", "ref_max_score", "num_episodes_average_score")
"""Metadata keys: return of random actions, of the expert, and over how many episodes each."""

D4RL = {
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
    "antmaze": (0.0, 1.0),
    "kitchen": (0.0, 4.0),
    "pen": (96.262799, 3076.8331017826877),
    "door": (-56.512833, 2880.5693087298737),
    "hammer": (-274.856578, 12794.134825156867),
    "relocate": (-6.425911, 4233.877797728884),
}
"""Mean returns of random actions and of D4RL's expert, from `d4rl/infos.py` of Farama's D4RL.

They hold for every quality and version of a family, in MuJoCo's and in D4RL's own environments.
"""

_NAME = re.compile(rf"(?:(?:mujoco|d4rl)[-/])?({'|'.join(D4RL)})(?![a-z0-9])")


@dataclass(frozen=True)
class ReferenceScores:
    """Two mean returns of one environment.

    :param random: of uniformly random actions
    :param expert: of the expert
    :param n_episodes: over which both were measured; None where unknown
    :raises DataError: they are not finite, or the expert is no better than random actions
    """

    random: float
    expert: float
    n_episodes: int | None = None

    def __post_init__(self) -> None:
        finite = math.isfinite(self.random) and math.isfinite(self.expert)
        if not finite or self.expert <= self.random:
            raise DataError(
                f"the expert's reference return ({self.expert:g}) must exceed that of random "
                f"actions ({self.random:g}); name a better expert"
            )

    @classmethod
    def d4rl(cls, name: str) -> ReferenceScores:
        """The scores that D4RL publishes for a family of its data sets.

        :param name: of the family, a data set or an environment: "halfcheetah",
            "hopper-medium-v2", "mujoco/ant/expert-v0", "Walker2d-v4"
        :raises UnknownNameError: D4RL has none
        """
        found = _NAME.match(name.lower())
        if found is None:
            raise UnknownNameError(f"D4RL has no reference for {name!r}{suggest(name, list(D4RL))}")
        return cls(*D4RL[found[1]])

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> ReferenceScores | None:
        """Read what `metadata` holds, or None where that is nothing."""
        random, expert, n_episodes = map(metadata.get, REFERENCE_KEYS)
        if random is None or expert is None:
            return None
        return cls(float(random), float(expert), n_episodes)

    def metadata(self) -> dict[str, Any]:
        """The scores under Minari's keys; `of` is the inverse."""
        values = zip(REFERENCE_KEYS, (self.random, self.expert, self.n_episodes), strict=True)
        return {key: value for key, value in values if value is not None}

    def normalize(self, returns: Any) -> Any:
        """Return `100 * (returns - random) / (expert - random)`.

        :param returns: undiscounted returns, a number or an array
        """
        return 100.0 * (np.asarray(returns) - self.random) / (self.expert - self.random)


def normalized_score(returns: Any, reference: Demonstrations | ReferenceScores | str) -> Any:
    """Put returns on D4RL's scale, where random actions have 0 and the expert 100.

    D4RL's and Minari's functions of this kind leave the factor 100 out; papers do not.

    :param returns: undiscounted returns, a number or an array
    :param reference: demonstrations whose metadata holds the scores, scores, or a name that D4RL
        publishes some for
    :raises DataError: the demonstrations hold no reference scores
    :raises UnknownNameError: D4RL has none of this name
    """
    if isinstance(reference, str):
        reference = ReferenceScores.d4rl(reference)
    if not isinstance(reference, ReferenceScores):
        found = ReferenceScores.of(reference.metadata)
        if found is None:
            raise DataError(
                "these demonstrations hold no reference scores; pass some, as in "
                "normalized_score(returns, ReferenceScores(random=..., expert=...))"
            )
        reference = found
    return reference.normalize(returns)
