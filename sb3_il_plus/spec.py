"""`AlgorithmSpec`: the one record that says what an algorithm is, without importing it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sb3_il_plus.errors import MissingExtraError, UserError

if TYPE_CHECKING:
    from gymnasium import Space

Timestep = Literal["environment step", "gradient update"]

SOURCES = frozenset({"demonstrations", "rewards", "environment", "expert", "model"})
"""What an algorithm can learn from (`model`: the environment's transition probabilities)."""

_INSTALL = {
    "imitation": "pip install 'sb3_il_plus[imitation]'",
    "kornia": "pip install 'sb3_il_plus[augmentation]'",
}


@dataclass(frozen=True)
class AlgorithmSpec:
    """All that the package knows of an algorithm without importing it.

    :param name: what users type, in lower case: `make("gail")`
    :param entry_point: where its class is, `"package.module:Class"`
    :param family: `"imitation"`, `"preferences"`, `"offline_rl"`, `"online_rl"`, or a plugin's own
    :param summary: one line
    :param paper: authors and year, or a link
    :param consumes: what it must be given to learn: a subset of `demonstrations`, `rewards` (in
        the demonstrations, or from the environment for online RL), `environment`, `expert` (one
        that can be asked while learning), `model`
    :param action_spaces: names of the gymnasium spaces it can act in (see `space_name`)
    :param observation_spaces: names of the gymnasium spaces it can observe; "Image" is a space of
        its own, for policies that read images as such
    :param timestep: what one unit of `total_timesteps` is
    :param requires: importable modules that it needs beyond the package's own dependencies
    :param reads_actions: False for what learns from the demonstrations' observations alone; it is
        never shown an action of theirs
    :param observation_entries: entries that a Dict observation must have
    :param limits: why it handles no other spaces, as the end of a sentence; part of the refusal
    :param error: why it cannot be used, for a plugin that failed to import; else None
    """

    name: str
    entry_point: str
    family: str = "plugin"
    summary: str = ""
    paper: str = ""
    consumes: frozenset[str] = frozenset()
    action_spaces: tuple[str, ...] = ("Box", "Discrete")
    observation_spaces: tuple[str, ...] = ("Box", "Discrete")
    timestep: Timestep = "gradient update"
    requires: tuple[str, ...] = ()
    reads_actions: bool = True
    observation_entries: tuple[str, ...] = ()
    limits: str = ""
    error: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.entry_point.count(":") != 1:
            raise UserError(
                f"entry_point={self.entry_point!r} of algorithm {self.name!r} must look like "
                "'package.module:Class'"
            )
        object.__setattr__(self, "consumes", frozenset(self.consumes))
        if not self.consumes <= SOURCES:
            raise UserError(
                f"algorithm {self.name!r} consumes {sorted(self.consumes - SOURCES)}; "
                f"choose from {sorted(SOURCES)}"
            )

    def refusal(
        self,
        observation_space: Space | None = None,
        action_space: Space | None = None,
        available: Collection[str] | None = None,
    ) -> str | None:
        """Say why the algorithm does not fit a task, or None where it does.

        :param available: what the task offers to learn from; None leaves that unchecked
        """
        for space, accepted, role in (
            (observation_space, self.observation_spaces, "observations"),
            (action_space, self.action_spaces, "actions"),
        ):
            if space is not None and (name := space_name(space)) not in accepted:
                reason = f": {self.limits}" if self.limits else ""
                return f"{self.name} handles {' and '.join(accepted)} {role}, not {name}{reason}"
        entries = getattr(observation_space, "spaces", self.observation_entries)
        if absent := [name for name in self.observation_entries if name not in entries]:
            return f"{self.name} reads {absent} of a Dict observation, which has {sorted(entries)}"
        if available is not None and (lacking := self.consumes - set(available)):
            return (
                f"{self.name} needs {' and '.join(sorted(lacking))}, which the task does not give"
            )
        return None

    def load(self) -> type:
        """Import and return the algorithm's class.

        :raises MissingExtraError: a module in `requires` is not installed
        :raises UserError: the class cannot be imported
        """
        if self.error is not None:
            raise UserError(f"algorithm {self.name!r} cannot be used: {self.error}")
        for module in self.requires:
            require(module, f"algorithm {self.name!r}")
        module_name, _, class_name = self.entry_point.partition(":")
        try:
            loaded: type = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"algorithm {self.name!r} is registered at {self.entry_point!r}, which cannot be "
                f"imported: {error}"
            ) from error
        return loaded


def space_name(space: Space) -> str:
    """The name by which specs know a space: that of its class, or "Image".

    An image is what SB3's `CnnPolicy` reads: a three-dimensional `Box` of bytes from 0 to 255.
    """
    from stable_baselines3.common.preprocessing import is_image_space

    return "Image" if is_image_space(space) else type(space).__name__


def require(module: str, what: str) -> None:
    """Check, without importing it, that `what` has the optional module that it needs.

    :raises MissingExtraError: it is not installed; the message holds the pip command
    """
    if not _is_installed(module):
        command = _INSTALL.get(module, f"pip install --upgrade {module.partition('.')[0]}")
        raise MissingExtraError(
            f"{what} needs the module {module!r}, which is not installed: {command}"
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # its parent package is missing
        return False
