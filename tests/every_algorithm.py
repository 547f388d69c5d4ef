"""The algorithms of the registry that learn from demonstrations or an expert, now or some day."""

import pytest

from sb3_il_plus.errors import MissingExtraError
from sb3_il_plus.registry import list_algorithms
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


NAMES = list(_names())
"""For `pytest.mark.parametrize`; those whose extra is missing are skipped with the reason."""
