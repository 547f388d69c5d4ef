"""The algorithms of the registry that learn from demonstrations or an expert, now or some day."""

import pytest

from sb3_il_plus.errors import MissingExtraError
from sb3_il_plus.registry import list_algorithms, registry
from sb3_il_plus.spec import require
from sb3_il_plus.testing.check import learns_from_demonstrator


def _names():
    for spec in filter(learns_from_demonstrator, list_algorithms()):
        try:
            for module in spec.requires:
                require(module, spec.name)
        except MissingExtraError as error:
            yield pytest.param(spec.name, marks=pytest.mark.skip(str(error)))
        else:
            yield spec.name


ENGINES = ("iql", "edac", "discrete_cql", "discrete_awac", "decision_transformer")
"""Offline ones: an actor, many critics, values of choices, an actor that chooses, a memory."""

ONLINE = ("ppo", "sac", "dqn", "recurrent_ppo")
"""Of SB3 and sb3-contrib: rollouts, a replay buffer, choices, a memory."""

_SLOWEST = ("preference_comparisons",)


def marks_of(name):
    """`slow` for the slowest, and for algorithms that differ from another one in losses alone.

    Their own tests say whether they learn; here, the others stand for them in the fast tests.
    """
    stand_for_others = {"offline_rl": ENGINES, "online_rl": ONLINE}.get(registry.get(name).family)
    is_stood_for = stand_for_others is not None and name not in stand_for_others
    return [pytest.mark.slow] if is_stood_for or name in _SLOWEST else []


def named(entry):
    """A parameter of `NAMES` with its marks."""
    if not isinstance(entry, str):
        return entry
    return pytest.param(entry, marks=marks_of(entry))


NAMES = list(_names())
"""For `pytest.mark.parametrize`; those whose extra is missing are skipped with the reason."""
