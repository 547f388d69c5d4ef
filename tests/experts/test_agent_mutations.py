"""Damaged agents: each is refused with a message that names it, or loads and acts.

`agent_mutations.py` damages agents of several algorithms with their statistics and settings (cut,
flipped bits, overwritten parts, other shapes and dtypes, missing entries) and loads them in a
process of its own, in which a crash or a hang of a library shows.
"""

import re
from pathlib import Path

import pytest
from damage import outcomes

PROGRAM = Path(__file__).with_name("agent_mutations.py")
LINE = re.compile(r"\d+ \w+: \w+ in [\w.]+: (refused|loaded)")


def test_damaged_agents():
    found = outcomes(PROGRAM, LINE, 0, 120)
    assert found.count("refused") > 60
    assert found.count("loaded") > 10  # damage to what does not decide how an agent acts


@pytest.mark.slow
def test_two_thousand_damaged_agents():
    found = outcomes(PROGRAM, LINE, 10_000, 12_000)
    assert found.count("refused") > 1000
