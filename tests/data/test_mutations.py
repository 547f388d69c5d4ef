"""Thousands of damaged files: each is refused with a message, or loads as what it was.

`mutations.py` damages data sets of every format (cut, flipped bits, overwritten parts, other shapes
and dtypes, missing entries) and loads them in a process of its own, in which a crash or a hang of a
library shows.
"""

import re
from pathlib import Path

import pytest
from damage import outcomes

PROGRAM = Path(__file__).with_name("mutations.py")
LINE = re.compile(r"\d+ [\w*-]+: [\w ]+ in [\w.-]+: (refused|loaded)")


def test_damaged_files():
    found = outcomes(PROGRAM, LINE, 0, 120)
    assert found.count("refused") > 60


@pytest.mark.slow
def test_two_thousand_damaged_files():
    found = outcomes(PROGRAM, LINE, 10_000, 12_000)
    assert found.count("refused") > 1000
