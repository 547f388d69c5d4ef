"""The page on spaces says what the specs claim, and a claim that does not hold is found."""

from dataclasses import replace
from pathlib import Path

import pytest

from sb3_il_plus.catalog import BUILTIN
from sb3_il_plus.registry import get
from sb3_il_plus.testing import capabilities
from sb3_il_plus.testing.capabilities import SPACES, contradictions, page

PAGE = Path(__file__).parents[2] / "docs" / "capabilities.md"


def test_the_committed_page_is_what_the_specs_claim():
    # Whether the claims hold is what the conformance kit asks of every algorithm.
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "write it anew: python -m sb3_il_plus.testing.capabilities > docs/capabilities.md"
    )


def test_every_cell_is_a_claim_or_a_refusal_with_a_reason():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if "| `" in line]
    assert len(rows) == 2 * len(BUILTIN)
    for number, row in enumerate(rows):
        role = "observation" if number < len(BUILTIN) else "action"
        name, *cells = (cell.strip("` ") for cell in row.strip("| ").split("|"))
        spec = get(name)
        for space, cell in zip(SPACES[role], cells, strict=True):
            assert (cell == "yes") == (space in getattr(spec, f"{role}_spaces")), (name, space)
            assert cell == "yes" or spec.limits, f"no reason why {name} refuses {space}"


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"action_spaces": ("Discrete", "Box")}, "with Box observations and Box actions, learning"),
        ({"observation_spaces": ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict")}, None),
    ],
)
def test_a_claim_that_does_not_hold_is_found(changes, finding):
    found = list(contradictions(replace(get("dqn"), **changes)))
    expected = finding or "make() with Image observations and Discrete actions was accepted"
    assert len(found) == 1 and expected in found[0]


def test_nothing_is_written_unless_every_cell_is_as_claimed(monkeypatch, capsys):
    monkeypatch.setattr(capabilities, "BUILTIN", [get("bc")])
    monkeypatch.setattr(capabilities, "contradictions", lambda spec: ["bc fails"])
    assert capabilities.main() == 1
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("bc fails\n")
    monkeypatch.setattr(capabilities, "contradictions", lambda spec: [])
    assert capabilities.main() == 0
    assert capsys.readouterr().out == page()
