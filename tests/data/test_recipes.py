"""Recipes are understood as they are typed, and sizes are divided without remainder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sb3_il_plus.data.recipes import Part, parse_recipe, shares
from sb3_il_plus.errors import UserError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("random", [Part("random")]),
        (" Medium-Replay ", [Part("medium-replay")]),
        ("medium-expert", [Part("medium", 0.5), Part("expert", 0.5)]),
        ("noisy(0.3)", [Part("noisy", level=0.3)]),
        ("0.9*random + 0.1 * noisy( 0.5 )", [Part("random", 0.9), Part("noisy", 0.1, 0.5)]),
        (
            "2*medium-expert+random",
            [Part("medium", 1.0), Part("expert", 1.0), Part("random")],
        ),
    ],
)
def test_recipes(text, parts):
    assert list(parse_recipe(text)) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no part of a recipe; known are random, medium"),
        ("random +", "'' is no part of a recipe"),
        ("mediun", "there is no recipe 'mediun'; did you mean 'medium'"),
        ("noisy", r"'' in 'noisy' is no number; write for example noisy\(0.3\)"),
        ("noisy(much)", "'much' in 'noisy"),
        ("noisy(1.5)", r"the noise level in 'noisy\(1.5\)' must lie within \[0, 1\]"),
        ("noisy(nan)", "must lie within"),
        ("expert(0.3)", r"only noisy\(...\) has a level; write 'expert'"),
        ("0*random", r"the weight 0 in '0\*random' must be positive"),
        ("1.2.3*random", r"'1.2.3' in '1.2.3\*random' is no number"),
        ("-1*random", r"'-1\*random' is no part of a recipe"),
        ("__import__('os')", "is no part of a recipe"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(UserError, match=message):
        parse_recipe(text)


@given(st.text(alphabet="randomexpertnoisy(0.3)*+- e", max_size=30))
def test_any_text_is_understood_or_refused(text):
    try:
        assert all(part.weight > 0 for part in parse_recipe(text))
    except UserError as error:
        assert str(error)


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=5), st.integers(1, 10**7))
def test_shares_add_up(weights, amount):
    parts = tuple(Part("random", weight) for weight in weights)
    try:
        found = shares(parts, amount)
    except UserError as error:
        assert "too few for the recipe: the part random would get nothing" in str(error)
        return
    assert sum(found) == amount and min(found) >= 1
    for share, weight in zip(found, weights, strict=True):
        assert abs(share - amount * weight / sum(weights)) <= 1 + 1e-6 * amount
