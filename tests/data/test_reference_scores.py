"""Normalised scores follow D4RL's formula with the returns that D4RL publishes."""

import numpy as np
import pytest

from sb3_il_plus import Demonstrations, normalized_score
from sb3_il_plus.data.reference_scores import ReferenceScores
from sb3_il_plus.errors import DataError, UnknownNameError


def demos(metadata):
    return Demonstrations.from_arrays(
        np.zeros((2, 4)), [0, 1], [1.0, 1.0], env="CartPole-v1", metadata=metadata
    )


def test_the_formula():
    scores = ReferenceScores(random=-100.0, expert=300.0)
    assert normalized_score(-100.0, scores) == 0
    assert normalized_score([300, 100, 500], scores).tolist() == [100, 50, 150]


def test_published_scores():
    # 100 * (5713.5 + 280.178953) / (12135 + 280.178953)
    assert normalized_score(5713.5, "halfcheetah-medium-v2") == pytest.approx(48.2770, abs=5e-5)
    assert normalized_score(3234.3, "hopper") == 100
    assert normalized_score(-325.6, "mujoco/ant/expert-v0") == 0


@pytest.mark.parametrize(
    ("name", "expert"),
    [
        ("HalfCheetah-v4", 12135.0),
        ("walker2d-full-replay-v2", 4592.3),
        ("Ant-v5", 3879.7),
        ("antmaze-large-play-v2", 1.0),
        ("D4RL/pen/human-v2", 3076.8331017826877),
    ],
)
def test_names_of_data_sets_and_environments(name, expert):
    assert ReferenceScores.d4rl(name).expert == expert


@pytest.mark.parametrize("name", ["bullet-hopper-medium-v0", "antelope", "Pendulum-v1", ""])
def test_what_d4rl_has_no_scores_for(name):
    with pytest.raises(UnknownNameError, match=f"D4RL has no reference for '{name}'"):
        normalized_score(1.0, name)


def test_from_metadata():
    scores = ReferenceScores(20.0, 500.0, n_episodes=30)
    assert ReferenceScores.of(scores.metadata()) == scores
    assert scores.metadata() == {
        "ref_min_score": 20.0,
        "ref_max_score": 500.0,
        "num_episodes_average_score": 30,
    }
    assert normalized_score(260.0, demos(scores.metadata())) == 50
    with pytest.raises(DataError, match=r"no reference scores; pass some, as in normalized_score"):
        normalized_score(260.0, demos({"ref_min_score": 20.0}))


@pytest.mark.parametrize("pair", [(5, 5), (5, 4), (float("nan"), 4), (0, float("inf"))])
def test_scores_that_are_none(pair):
    with pytest.raises(DataError, match="must exceed that of random actions"):
        ReferenceScores(*pair)
