"""Data sets have the quality that their recipe names, exactly their size, and their scores."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from offline_data import QUALITIES, SCORES, cartpole, lean, pendulum
from scripted_experts import balance, swing_up

from sb3_il_plus import Demonstrations, make_dataset, normalized_score
from sb3_il_plus.data.corruption import FLAWS
from sb3_il_plus.data.hints import DataWarning
from sb3_il_plus.data.recipes import NAMES
from sb3_il_plus.data.reference_scores import REFERENCE_KEYS, ReferenceScores
from sb3_il_plus.datasets import dataset_pieces
from sb3_il_plus.errors import FileError, UnknownNameError, UserError
from sb3_il_plus.experts.zoo import importlib

CARTPOLE = {"expert": balance, "medium": lean, "reference": SCORES["CartPole-v1"]}
ZOO = Path(__file__).parents[2] / "shared" / "rl_zoo_agents"


def score(demos: Demonstrations) -> float:
    return float(normalized_score(demos.episode_returns, demos).mean())


@pytest.mark.parametrize("made", [pendulum, cartpole], ids=lambda made: made.__name__)
def test_the_qualities_are_graded(made):
    scores = {recipe: score(made(recipe, 3000)) for recipe in QUALITIES}
    assert abs(scores["random"]) < 15  # 3000 steps are 15 episodes of Pendulum
    assert 20 < scores["medium"] < 50
    assert abs(scores["expert"] - 100) < 15
    assert scores["random"] < scores["medium"] < scores["medium-expert"] < scores["expert"]
    assert scores["random"] + 10 < scores["noisy(0.3)"] < scores["expert"] - 2


def test_the_size_is_exact_and_shared_equally():
    demos = make_dataset("CartPole-v1", "medium-expert", n_timesteps=2001, **CARTPOLE)
    assert len(demos) == 2001
    by_expert = np.array([balance(row) for row in demos.observations_at(np.arange(1001, 2001))])
    assert (demos.actions[1001:] == by_expert).all()
    by_medium = np.array([lean(row) for row in demos.observations_at(np.arange(1000))])
    assert (demos.actions[:1000] == by_medium).all()
    assert [part["n_timesteps"] for part in demos.metadata["parts"]] == [1000, 1001]


def test_the_size_in_episodes():
    demos = make_dataset("CartPole-v1", "3*random + medium", n_episodes=8, **CARTPOLE)
    assert demos.n_episodes == 8
    assert (demos.terminations | demos.truncations).sum() == 8, "every episode is whole"
    assert demos.episode_returns[6:].min() > demos.episode_returns[:6].max()


def test_the_same_seed_gives_the_same_data():
    made = [
        make_dataset("Pendulum-v1", "noisy(0.5) + random", n_timesteps=600, seed=seed, n_envs=2,
                     expert=swing_up, reference=SCORES["Pendulum-v1"])
        for seed in (0, 0, 1)
    ]  # fmt: skip
    assert made[0].fingerprint() == made[1].fingerprint() != made[2].fingerprint()
    assert made[0].metadata == made[1].metadata


def test_pieces_are_the_whole(monkeypatch):
    options = {"n_timesteps": 1000, "seed": 3, **CARTPOLE}
    whole = make_dataset("CartPole-v1", "medium-expert", **options)
    monkeypatch.setattr("sb3_il_plus.datasets._PIECE_STEPS", 100)
    pieces = list(dataset_pieces("CartPole-v1", "medium-expert", **options))
    assert len(pieces) >= 4
    assert Demonstrations.concatenate(pieces).fingerprint() == whole.fingerprint()
    assert all(piece.metadata == whole.metadata for piece in pieces)


def test_measured_scores_are_those_of_the_agents():
    facts = make_dataset("CartPole-v1", "random", n_timesteps=9, expert=balance).metadata
    assert facts["ref_max_score"] == 500.0
    assert 17 < facts["ref_min_score"] < 30
    assert facts["num_episodes_average_score"] == 20
    assert facts["recipe"] == "random" and facts["expert"] == "random"


@pytest.mark.parametrize("name", ["a.npz", "a.mapped", "a.hdf5", "a-v0", "imitation"])
def test_scores_are_kept_by_every_format_with_metadata(name, tmp_path):
    demos = cartpole("medium-expert", 300)
    demos.save(tmp_path / name, "imitation" if name == "imitation" else None)
    again = Demonstrations.load(tmp_path / name)
    assert again.metadata == demos.metadata
    assert score(again) == score(demos)


def test_minari_normalises_with_them(tmp_path):
    minari = pytest.importorskip("minari")
    folder = cartpole("medium-expert", 300).save(tmp_path / "graded-v0")
    found = minari.MinariDataset(folder / "data")
    expected = normalized_score(250.0, cartpole("medium-expert", 300)) / 100
    assert minari.get_normalized_score(found, np.array(250.0)) == pytest.approx(expected)


QUICK = {
    "n_envs": 4,
    "training": {
        "total_timesteps": 8000,
        "hyperparameters": {
            "n_steps": 64, "n_epochs": 10, "batch_size": 128, "learning_rate": 0.003,
        },
    },
}  # fmt: skip
"""PPO learns CartPole in seconds with these settings."""


@pytest.mark.skipif(importlib.util.find_spec("rl_zoo3") is None, reason="rl_zoo3 is missing")
@pytest.mark.filterwarnings("ignore:the expert reaches a return")
class TestTrained:
    def test_an_agent_is_stopped_at_a_third_and_what_it_saw_is_kept(self):
        medium = make_dataset("CartPole-v1", "medium", n_episodes=20, **QUICK)
        replay = make_dataset("CartPole-v1", "medium-replay", **QUICK)
        expert = make_dataset("CartPole-v1", "expert", n_episodes=8, **QUICK)
        assert 15 < score(medium) < 75
        assert score(replay) < score(medium) < score(expert)
        (facts,) = replay.metadata["parts"]
        assert facts["n_timesteps"] == len(replay) < 8000 * 3 / 4
        assert replay.episode_returns[-10:].mean() > replay.episode_returns[:10].mean()
        assert medium.metadata["ref_max_score"] == expert.metadata["ref_max_score"] > 150

    def test_a_part_of_what_it_saw(self):
        part = make_dataset("CartPole-v1", "medium-replay", n_timesteps=500, **QUICK)
        mixed = "medium-replay + expert"
        both = make_dataset("CartPole-v1", mixed, n_timesteps=1000, **QUICK)
        assert len(part) == 500 and len(both) == 1000
        assert both[: part.n_episodes].fingerprint() == part.fingerprint()
        with pytest.warns(DataWarning, match=r"medium-replay has only [\d,]+ of the 100,000 time"):
            make_dataset("CartPole-v1", "medium-replay", n_timesteps=100_000, **QUICK)

    def test_a_target_that_is_not_reached(self):
        options = {**QUICK, "training": {"total_timesteps": 600}}
        reference = ReferenceScores(22.0, 5000.0)
        with pytest.raises(UserError, match=r"ppo reached a return of [\d.]+ in CartPole-v1 after"):
            make_dataset("CartPole-v1", "medium", reference=reference, **options)


@pytest.mark.parametrize(
    ("recipe", "options", "error", "message"),
    [
        ("expret", {}, UserError, "there is no recipe 'expret'; did you mean 'expert'"),
        ("random", {"n_episodes": 1, "n_timesteps": 9}, UserError, "give either n_episodes"),
        ("random", {"n_timesteps": 0}, UserError, "n_timesteps=0 must be at least 1"),
        ("random", {"n_envs": 0}, UserError, "n_envs=0 must be at least 1"),
        ("medium-expert", {"n_episodes": 1}, UserError, "too few for the recipe: the part medium"),
        ("random", {"reference": "cartpole"}, UnknownNameError, "no reference for 'cartpole'"),
        ("medium", {"medium": None}, UserError, r"of medium quality: .* with medium= \(--medium\)"),
        ("medium-replay", {}, UserError, "which a finished agent does not hold; name an algorithm"),
        ("expert", {"expert": "poo"}, UnknownNameError, "no algorithm is called 'poo'"),
        ("expert", {"expert": "none/such.zip"}, FileError, "none/such.zip"),
    ],
)
def test_what_is_wrong_is_named(recipe, options, error, message):
    with pytest.raises(error, match=message):
        make_dataset("CartPole-v1", recipe, **{"n_timesteps": None, **CARTPOLE, **options})


def test_the_page_lists_everything_and_its_code_runs():
    page = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
    for name in (*NAMES, *FLAWS, *REFERENCE_KEYS):
        assert f"`{name}`" in page, name
    trained = 'make_dataset("Pendulum-v1", "medium-expert", n_timesteps=20_000, seed=0)'
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 2 and trained in blocks[0]
    known = {"pendulum": pendulum}
    for block in blocks:
        exec(block.replace(trained, 'pendulum("medium-expert", 3000)'), known)
    assert known["flawed"].n_episodes == known["data"].n_episodes / 2


def test_an_unknown_environment():
    with pytest.raises(UnknownNameError, match="'CartPole-v1'"):
        make_dataset("CartPol-v1", "random", n_timesteps=9, reference=SCORES["CartPole-v1"])


@pytest.mark.slow
@pytest.mark.skipif(not ZOO.is_dir(), reason="the agents of RL Zoo are not here")
@pytest.mark.parametrize(
    ("env_id", "expert", "medium"),
    [("HalfCheetah-v4", "sac", "a2c"), ("Hopper-v4", "trpo", "a2c")],
)
def test_with_agents_of_rl_zoo(env_id, expert, medium):
    pytest.importorskip("mujoco")
    folder = env_id.replace("-v4", "-v3_1")
    agents = {"expert": ZOO / expert / folder, "medium": ZOO / medium / folder}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium says that v5 is newer
        scores = [
            score(make_dataset(env_id, recipe, n_episodes=4, reference=env_id, **agents))
            for recipe in ("random", "medium", "medium-expert", "expert")
        ]
    assert scores == sorted(scores)
    assert abs(scores[0]) < 5 and scores[-1] > 60
