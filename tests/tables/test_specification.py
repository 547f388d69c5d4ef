"""Specifications and presets: strict keys, and errors that say what to write instead."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from sb3_il_plus import registry
from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.tables import presets
from sb3_il_plus.tables.records import build
from sb3_il_plus.tables.specification import Specification, load_specification
from sb3_il_plus.tables.tasks import check_hyperparameters

GOOD: dict[str, Any] = {
    "environments": ["CartPole-v1"],
    "expert": {"algorithm": "ppo"},
    "demonstrations": {"n_episodes": 10},
    "algorithms": {"bc": {"timesteps": 100, "hyperparameters": {"batch_size": 8}}},
}


def _published(figure: dict[str, Any], source: str = "theirs") -> dict[str, Any]:
    return {"environments": {"A-v0": {"published": {"source": source, "returns": {"bc": figure}}}}}


def test_yaml_round_trip(tmp_path: Path) -> None:
    specification = build(Specification, {**GOOD, "name": "table"}, "test")
    path = tmp_path / "table.yaml"
    path.write_text(specification.to_yaml())
    assert load_specification(path) == specification


def test_counts_may_be_written_as_powers_of_ten() -> None:
    content = {**GOOD, "algorithms": {"bc": {"timesteps": "1e5"}}, "n_seeds": 2.0}
    specification = build(Specification, content, "test")
    assert specification.algorithms["bc"].timesteps == 100_000
    assert specification.n_seeds == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"n_seed": 3},
            "unknown key 'n_seed'; did you mean 'n_seeds' or 'seed'? allowed: algorithms, claims",
        ),
        ({"references": "paper"}, "references='paper': input should be 'measured' or 'd4rl'"),
        (
            {"demonstrations": {"n_episodes": 1, "corruption": {"noise": 1}}},
            "unknown key 'demonstrations.0.corruption.noise'; did you mean",
        ),
        (
            {"demonstrations": {"n_episodes": 1, "corruption": {"random_actions": [0, 2]}}},
            "demonstrations.1.corruption.random_actions=2: input should be less than or equal to 1",
        ),
        (
            {"environments": {"A-v0": {"experts": {}}}},
            "unknown key 'environments.A-v0.experts'; did you mean 'expert'? allowed: algorithms",
        ),
        (
            {"environments": {"A-v0": {"algorithms": {"bc": {"steps": 1}}}}},
            "unknown key 'environments.A-v0.algorithms.bc.steps'",
        ),
        ({"environments": 3}, "environments=3: input should be a valid dictionary"),
        ({"environments": []}, "environments: name at least one"),
        ({"n_seeds": 0}, "n_seeds=0: input should be greater than 0"),
        ({"n_seeds": True}, "n_seeds: True is no number"),
        ({"n_eval_episodes": 2.5}, "n_eval_episodes=2.5"),
        ({"algorithms": {}}, "algorithms: name at least one"),
        (
            {"algorithms": {"bc": {"timesteps": 5, "hyperparameter": {}}}},
            "unknown key 'algorithms.bc.hyperparameter'; did you mean 'hyperparameters'? allowed:",
        ),
        ({"algorithms": {"bc": {"n_envs": 0}}}, "algorithms.bc.n_envs=0: input should be greater"),
        ({"expert": {"path": "a.zip", "algorithm": "ppo"}}, "either a path or an algorithm"),
        ({"expert": {"own": True, "algorithm": "ppo"}}, "path or an algorithm, or own: true"),
        (
            {"expert": {"algorithm": "ppo", "otherwise": {"algorithm": "sac"}}},
            "expert: otherwise is for a path that may not be there",
        ),
        (_published({"value": 1, "spread": 1, "interval": [0, 2]}), "either a spread or an interv"),
        (_published({"value": 3, "interval": [0, 2]}), "the interval [0.0, 2.0] does not hold 3"),
        (_published({"value": 3, "std": 2}), "unknown key 'environments.A-v0.published.returns.bc"),
        (_published({"value": 3}, source=""), "environments.A-v0.published.source=''"),
        ({"expert": None}, "without an expert, demonstrations need a path"),
        ({"demonstrations": {}}, "demonstrations.0: give a path, n_episodes, or both"),
        (
            {"demonstrations": {"n_timesteps": 9}},
            "demonstrations.0: n_timesteps needs a recipe, such as 'expert'",
        ),
    ],
)
def test_errors_name_key_and_remedy(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(Specification, {**GOOD, **change}, "table.yaml")
    assert str(caught.value).startswith("table.yaml: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [None, "a: [1", "\x00"])
def test_unreadable_files(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "table.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(FileError, match=r"cannot read .*table\.yaml"):
        load_specification(path)


def test_a_file_without_keys(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text("- a\n- b\n")
    with pytest.raises(UserError, match="must hold keys and values, not list"):
        load_specification(path)


def _shipped() -> list[str]:
    folder = Path(presets.__file__).parent / "presets"
    return sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.yaml"))


@pytest.mark.parametrize("name", _shipped())
def test_every_shipped_preset_is_valid(name: str) -> None:
    if name != "default":
        import seals  # noqa: F401

        assert name in gym.registry
    preset = presets.load_preset(name)
    assert preset.algorithms
    for algorithm, settings in preset.algorithms.items():
        for generator in (None, *settings.generators):
            found = presets.preset(algorithm, name, generator)
            assert generator is None or found.hyperparameters["generator"] == generator
            check_hyperparameters(registry.get(algorithm), found.hyperparameters)


@pytest.mark.parametrize("body", ["Ant", "HalfCheetah", "Hopper", "Swimmer", "Walker2d"])
def test_presets_of_seals_are_imitations_own_hyperparameters(body: str) -> None:
    """Every number in them is that of the file that `imitation` brings."""
    folder = resources.files("imitation.scripts.config") / "tuned_hps"
    short = {"HalfCheetah": "half_cheetah", "Walker2d": "walker"}.get(body, body.lower())
    for algorithm in ("bc", "dagger", "gail", "airl"):
        file = folder / f"{algorithm}_seals_{short}_best_hp_eval.json"
        theirs = _numbers(json.loads(file.read_text()))
        ours = presets.preset(algorithm, f"seals/{body}-v1")
        own = _numbers(ours.hyperparameters)
        assert len(own - {32, 64}) >= 2
        if algorithm in ("gail", "airl"):
            n_steps = ours.hyperparameters["generator_kwargs"]["n_steps"]
            own = (own - {n_steps}) | {n_steps * ours.n_envs, ours.timesteps}
        own -= {32, 64}  # layers, which a FeedForward32Policy has without saying so
        assert own <= theirs


def _numbers(value: Any) -> set[float]:
    if isinstance(value, dict):
        return set().union(*map(_numbers, value.values()))
    if isinstance(value, list):
        return set().union(*map(_numbers, value))
    return {value} if isinstance(value, (int, float)) and not isinstance(value, bool) else set()


def test_a_preset_comes_before_the_default_one() -> None:
    bc, gail = registry.get("bc"), registry.get("gail")
    special = presets.load_preset("seals/CartPole-v0").algorithms
    assert presets.tuned_settings(bc, "seals/CartPole-v0").timesteps == special["bc"].timesteps
    assert presets.tuned_settings(bc, "Other-v0").timesteps == 5_000
    assert presets.tuned_settings(gail, "Other-v0").n_envs == 8
    assert presets.tuned_settings(gail, "../../setup").timesteps == 100_000


def test_generators_have_presets_of_their_own() -> None:
    gail = registry.get("gail")
    on_policy = presets.preset("gail", "Other-v0").hyperparameters
    assert presets.preset("gail", "Other-v0", "ppo").hyperparameters == on_policy
    off_policy = presets.tuned_settings(gail, "Other-v0", changes={"generator": "sac"})
    assert off_policy.hyperparameters["generator"] == "sac"
    assert "n_steps" in on_policy["generator_kwargs"]
    assert "n_steps" not in off_policy.hyperparameters.get("generator_kwargs", {})


def test_a_preset_of_an_unknown_algorithm_names_the_nearest() -> None:
    with pytest.raises(UserError, match="gail"):
        presets.preset("gial")


def test_changes_to_a_preset() -> None:
    gail = registry.get("gail")
    before = presets.tuned_settings(gail, "seals/CartPole-v0").hyperparameters
    changes = {"demo_batch_size": 7, "generator_kwargs": {"gamma": 0.5}}
    after = presets.tuned_settings(gail, "seals/CartPole-v0", 9, changes)
    assert after.timesteps == 9
    assert after.hyperparameters == {
        **before,
        "demo_batch_size": 7,
        "generator_kwargs": {**before["generator_kwargs"], "gamma": 0.5},
    }
