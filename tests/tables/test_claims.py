"""Claims: the arithmetic of verdicts, worked out by hand, and what specifications may ask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sb3_il_plus.errors import UserError
from sb3_il_plus.tables.blocks import claims_block
from sb3_il_plus.tables.claims import Claim, Expectation, Quantity
from sb3_il_plus.tables.figures import claims_to_csv
from sb3_il_plus.tables.measures import MEASURES
from sb3_il_plus.tables.planning import plan
from sb3_il_plus.tables.records import build
from sb3_il_plus.tables.specification import Specification
from sb3_il_plus.tables.statistics import Interval, signed_sum
from sb3_il_plus.tables.summary import Curve, Row, Section, Table
from sb3_il_plus.tables.verdicts import Finding, judged, verdict_of


def _claim(**comparison: Any) -> Claim:
    sides = {"quantity": "return", "left": {"row": "a"}, "right": {"row": "b"}, "expect": "above"}
    content = {
        "statement": "a beats b.",
        "source": "nobody",
        "comparisons": [{**sides, **comparison}],
    }
    return build(Claim, content, "test")


def _section(name: str, n_episodes: int = 1, **returns: list[float]) -> Section:
    rows = [Row("expert", [100.0], 1), Row("random", [0.0], 1)]
    rows += [
        Row(row, found, len(found), demonstrations=(n_episodes, 10 * n_episodes))
        for row, found in returns.items()
    ]
    return Section(name, "Pole-v0", rows)


def _finding(claim: Claim, *sections: Section, records: Any = ()) -> Finding:
    (judgement,) = judged(Table("test", sections, records), [claim]).claims
    (finding,) = judgement.findings
    return finding


def test_difference_of_means_and_its_interval() -> None:
    found = signed_sum([np.array([4.0, 6.0]), np.array([1.0, 2.0])], [1, -1], offset=0.5)
    assert found.value == 5 - 1.5 + 0.5
    # The means that can be drawn are 4, 5, 6 and 1, 1.5, 2; each end has the probability 1/16.
    assert (found.low, found.high) == (4 - 2 + 0.5, 6 - 1 + 0.5)
    assert signed_sum([np.array([4.0]), np.array([1.0, 2.0])], [1, -1]) == Interval(2.5)


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [
        (1.0, 2.0, "supported", "not supported"),
        (-2.0, -1.0, "not supported", "supported"),
        (-1.0, 1.0, "undecided", "undecided"),
        (0.0, 0.0, "not supported", "not supported"),
        (0.0, 1.0, "undecided", "not supported"),
        (-1.0, 0.0, "not supported", "undecided"),
        (None, None, "undecided", "undecided"),
    ],
)
def test_a_verdict_needs_the_whole_interval(low: Any, high: Any, above: str, below: str) -> None:
    opposite = {"supported": "not supported", "not supported": "supported"}
    expected: dict[Expectation, str] = {
        "above": above,
        "below": below,
        "not above": opposite.get(above, above),
        "not below": opposite.get(below, below),
    }
    difference = Interval(0.0, low, high)
    assert {expect: verdict_of(expect, difference) for expect in expected} == expected


def test_returns_and_a_number() -> None:
    here = _section("one", a=[80.0, 90.0], b=[10.0, 30.0])
    finding = _finding(_claim(), here)
    assert finding.difference == Interval(65.0, 50.0, 80.0)
    assert (finding.verdict, finding.n_runs) == ("supported", 4)
    finding = _finding(_claim(right={"value": 90}), here)
    assert finding.difference == Interval(-5.0, -10.0, 0.0)
    assert (finding.verdict, finding.n_runs) == ("not supported", 2)


def test_what_changes_from_one_task_to_another() -> None:
    clean = _section("clean", a=[80.0, 80.0], b=[90.0, 90.0])
    noisy = _section("noisy", a=[70.0, 70.0], b=[20.0, 40.0])
    sides = {
        name: {"row": row, "task": "noisy", "minus": "clean"}
        for name, row in (("left", "a"), ("right", "b"))
    }
    finding = _finding(_claim(**sides), clean, noisy)
    assert finding.difference == Interval((70 - 80) - (30 - 90), 40.0, 60.0)
    assert finding.n_runs == 8


def test_scores_and_learning_curves() -> None:
    section = _section("one", a=[50.0, 60.0], b=[20.0, 20.0])
    finding = _finding(_claim(quantity="score"), section)
    assert finding.difference is not None
    assert finding.difference.value == pytest.approx(0.35)
    steps = np.array([0, 5, 10])
    curves = {"a": [[0.0, 30.0, 60.0], [30.0, 30.0, 30.0]], "b": [[0.0, 0.0, 3.0]] * 2}
    rows = [
        Row(name, [0.0, 0.0], 2, curve=Curve("environment step", steps, np.array(returns)))
        for name, returns in curves.items()
    ]
    finding = _finding(_claim(quantity="learning curve"), Section("one", "Pole-v0", rows))
    assert finding.difference == Interval(29.0, 29.0, 29.0)


def test_demonstrations_needed() -> None:
    few = _section("few", 1, a=[95.0, 20.0, 0.0], b=[95.0, 95.0, 95.0])
    some = _section("some", 3, a=[10.0, 91.0, 0.0], b=[95.0, 95.0, 95.0])
    many = _section("many", 10, a=[99.0, 99.0, 0.0], b=[95.0, 95.0, 95.0])
    asked = _claim(quantity="demonstrations needed", task=["many", "few", "some"])
    finding = _finding(asked, few, some, many)
    assert finding.difference is not None
    assert finding.difference.value == pytest.approx((1 + 3 + 10) / 3 - 1)
    lost = _section("few", 1, a=[95.0, 20.0], b=[95.0, 95.0, 95.0])
    assert _finding(asked, lost, some, many).difference is None, "runs cannot be told apart"


def test_measured_figures() -> None:
    def record(row: str, value: float, status: str = "finished") -> dict[str, Any]:
        return {
            "kind": "measurement",
            "label": f"covariate shift of {row}",
            "status": status,
            "error": "lost" if status == "failed" else None,
            "cells": [["one", f"{row}: covariate shift"]],
            "result": {"value": value},
        }

    records = [record("a", 0.75), record("a", 1.25), record("b", 0.25), record("b", 0.25)]
    asked = _claim(quantity="covariate shift", right={"row": "b"})
    assert _finding(asked, _section("one"), records=records).difference == Interval(0.75, 0.5, 1)
    records[2:] = [record("b", 0.0, "failed")]
    finding = _finding(asked, _section("one"), records=records)
    assert (finding.difference, finding.verdict, finding.n_runs) == (None, "undecided", 2)
    assert Table("test", [], records).errors == [("covariate shift of b", "lost")]


def test_a_claim_holds_where_all_comparisons_do() -> None:
    returns = {"a": [80.0, 90.0], "b": [10.0, 30.0], "c": [0.0, 100.0]}
    table = Table("test", [_section("one", **returns)])

    def verdict(*pairs: tuple[str, str]) -> str:
        each = [_claim(left={"row": x}, right={"row": y}).comparisons[0] for x, y in pairs]
        claim = Claim(statement="so", source="nobody", comparisons=tuple(each))
        return judged(table, [claim]).claims[0].verdict

    assert verdict(("a", "b")) == "supported"
    assert verdict(("a", "b"), ("a", "c")) == "undecided"
    assert verdict(("a", "c"), ("b", "a")) == "not supported"


def test_a_claim_in_a_report() -> None:
    here = _section("one", a=[80.0, 90.0], b=[10.0, 30.0])
    table = judged(Table("test", [here]), [_claim(), _claim(right={"row": "missing"})])
    block = claims_block(table)
    first = ("a beats b.", "supported", "return: a above b", "65.0 [50.0, 80.0]", "yes", "4")
    second = ("a beats b.", "undecided", "return: a above missing", "", "open", "2")
    assert block.rows == [first, second]
    assert "a beats b. (nobody)" in block.notes
    header, line, _ = claims_to_csv(table).splitlines()
    assert header.startswith("claim,source,verdict,comparison,difference,ci95_low,ci95_high")
    assert line.endswith(",65.0,50.0,80.0,supported,4")


def test_all_that_is_measured_can_be_asked_for() -> None:
    assert set(MEASURES) <= set(Quantity.__args__)  # type: ignore[attr-defined]


GOOD: dict[str, Any] = {
    "environments": ["CartPole-v1"],
    "expert": {"algorithm": "ppo"},
    "demonstrations": {"n_episodes": [1, 2]},
    "algorithms": {
        "bc": {},
        "bc, then ppo": {"algorithm": "ppo", "follows": {"row": "bc", "by": "finetune"}},
    },
}
COMPARISON: dict[str, Any] = {
    "quantity": "return",
    "left": {"row": "bc"},
    "expect": "above",
    "right": {"row": "random"},
    "task": "CartPole-v1, 1 episode",
}


def _specification(comparison: dict[str, Any], **changes: Any) -> Specification:
    claim = {"statement": "so", "source": "nobody", "comparisons": [comparison]}
    return build(Specification, {**GOOD, "claims": [claim], **changes}, "table.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"quantity": "regret"},
            "claims.0.comparisons.0.quantity='regret': input should be 'return', 'score', 'learn",
        ),
        (
            {"expect": "more"},
            "claims.0.comparisons.0.expect='more': input should be 'above', 'below', 'not above'",
        ),
        (
            {"left": {"rows": "bc"}},
            "unknown key 'claims.0.comparisons.0.left.rows'; did you mean 'row'? allowed: minus",
        ),
        ({"right": {}}, "claims.0.comparisons.0.right: give either a row or a value"),
        ({"task": ["a", "b"]}, "'demonstrations needed' is looked for in several tasks"),
        ({"quantity": "demonstrations needed"}, "'demonstrations needed' is looked for in several"),
    ],
)
def test_what_a_claim_may_hold(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        _specification({**COMPARISON, **change})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"task": "CartPole-v1, 3 episodes"},
            "claims.0: there is no task 'CartPole-v1, 3 episodes'; did you mean 'CartPole-v1, 2",
        ),
        ({"task": []}, "claims.0: say in which task a row is compared. Tasks are: CartPole-v1, 1"),
        ({"left": {"row": "bcc"}}, "there is no row 'bcc' in CartPole-v1, 1 episode; did you mean"),
        (
            {"quantity": "covariate shift"},
            "covariate shift is measured of agents, not of random actions (in CartPole-v1, 1 epis",
        ),
    ],
)
def test_a_claim_is_about_what_a_table_has(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(_specification({**COMPARISON, **change}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"algorithm": "ppo", "follows": {"row": "gail", "by": "finetune"}},
            "next in CartPole-v1, 1 episode follows 'gail' in 'CartPole-v1, 1 episode', where no",
        ),
        (
            {"algorithm": "ppo", "follows": {"row": "bc, then ppo", "by": "finetune"}},
            "where no such row is trained from the beginning; those that are: bc in CartPole-v1, 1",
        ),
        (
            {"algorithm": "gail", "follows": {"row": "bc", "by": "finetune"}},
            "algorithm='gail' is of the family 'imitation'",
        ),
        (
            {
                "algorithm": "ppo",
                "follows": {"row": "bc", "by": "finetune", "arguments": {"warm": 1}},
            },
            "'finetune' has no argument 'warm'",
        ),
    ],
)
def test_what_can_follow(row: dict[str, Any], message: str) -> None:
    algorithms = {**GOOD["algorithms"], "next": row}
    with pytest.raises(UserError) as caught:
        plan(_specification(COMPARISON, algorithms=algorithms))
    assert message in str(caught.value)


def test_how_a_row_follows_is_one_of_two() -> None:
    algorithms = {"ppo": {"follows": {"row": "bc", "by": "hand"}}}
    with pytest.raises(UserError, match=r"follows\.by='hand': input should be 'finetune' or 're"):
        _specification(COMPARISON, algorithms=algorithms)
