"""Presets: tuned hyperparameters, budgets and what they reached, by environment and generator.

`presets/<environment id>.yaml` is for one environment, `presets/default.yaml` for all others and
for whatever the first leaves out. They hold only differences from an algorithm's defaults. Comments
in them say where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pydantic import Field

from sb3_il_plus.registry import registry
from sb3_il_plus.spec import AlgorithmSpec, Timestep
from sb3_il_plus.tables.records import Count, Record, build, changed, read_yaml
from sb3_il_plus.tables.specification import AlgorithmSettings

_FOLDER = files("sb3_il_plus.tables") / "presets"


class Expected(Record):
    """What one run of a preset reached.

    :param mean_return: of 50 episodes after training with seed 0
    :param expert_return: of the demonstrator, over 50 episodes
    :param expert: how the demonstrator came about, as `--expert` takes it
    :param n_episodes: of demonstrations
    :param seconds: of training on one thread
    """

    mean_return: float
    expert_return: float
    expert: str
    n_episodes: Count
    seconds: float


class Variant(Record):
    """As `AlgorithmSettings`, with everything optional, and what it reached.

    :param timesteps: in the algorithm's own unit
    :param n_envs: copies of the environment
    :param hyperparameters: constructor arguments that differ from the defaults
    :param expected: None where it was never run to the end
    """

    timesteps: Count | None = None
    n_envs: Count | None = None
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    expected: Expected | None = None


class AlgorithmPreset(Variant):
    """The variant for an algorithm's default generator, and those for others.

    :param generators: registered name of a generator -> the variant for it
    """

    generators: dict[str, Variant] = Field(default_factory=dict)

    def for_generator(self, generator: str | None) -> Variant:
        """The variant for a generator; for None, the one that the preset itself prefers.

        What suits one generator rarely suits another, so variants have nothing in common.
        """
        if generator in (None, self.hyperparameters.get("generator", "ppo")):
            return self
        found = self.generators.get(generator or "", Variant())
        named = {"generator": generator, **found.hyperparameters}
        return found.model_copy(update={"hyperparameters": named})


class PresetFile(Record):
    """What a preset file holds.

    :param timesteps: budget by the unit that an algorithm counts in
    :param algorithms: registered name -> what is special about it
    """

    timesteps: dict[Timestep, Count] = Field(default_factory=dict)
    algorithms: dict[str, AlgorithmPreset] = Field(default_factory=dict)


class Preset(AlgorithmSettings):
    """How to train one algorithm in one environment.

    :param expected: what this reached when it was run; None where nothing was tuned
    """

    expected: Expected | None = None


def load_preset(name: str) -> PresetFile:
    """Read a shipped file: `"default"` or an environment's id; empty where there is none."""
    resource = _FOLDER.joinpath(*f"{name}.yaml".split("/"))
    if ".." in name or not resource.is_file():
        return PresetFile()
    return build(PresetFile, read_yaml(resource.read_text, f"preset {name}"), f"preset {name}")


def preset(algorithm: str, env: str | None = None, generator: str | None = None) -> Preset:
    """Look up the tuned hyperparameters and budget of an algorithm in an environment.

    An environment's preset comes before the default one, key by key.

        tuned = preset("gail", "Pendulum-v1", generator="sac")
        venv = make_vec_env("Pendulum-v1", n_envs=tuned.n_envs)
        make("gail", venv, demonstrations, **tuned.hyperparameters).learn(tuned.timesteps)

    :param algorithm: registered name
    :param env: environment id; None, or one without a preset, for the defaults
    :param generator: for algorithms that take one; None for the preset's own choice
    :raises UnknownNameError: no such algorithm
    """
    spec = registry.get(algorithm)
    default, special = load_preset("default"), load_preset(env or "default")
    own = special.algorithms.get(spec.name, AlgorithmPreset()).for_generator(generator)
    chosen = own.hyperparameters.get("generator", generator)
    general = default.algorithms.get(spec.name, AlgorithmPreset()).for_generator(chosen)
    budgets = (
        own.timesteps,
        special.timesteps.get(spec.timestep),
        general.timesteps,
        default.timesteps[spec.timestep],
    )
    return Preset(
        timesteps=next(budget for budget in budgets if budget is not None),
        n_envs=own.n_envs or general.n_envs or 1,
        hyperparameters={**general.hyperparameters, **own.hyperparameters},
        expected=own.expected,
    )


def tuned_settings(
    spec: AlgorithmSpec,
    env_id: str | None = None,
    timesteps: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> AlgorithmSettings:
    """An algorithm's preset with a user's changes, as tables and the command line train it.

    :param timesteps: budget in place of the preset's
    :param changes: hyperparameters; a dict in them changes a preset's dict key by key
    """
    generator = (changes or {}).get("generator")
    found = preset(spec.name, env_id, generator if isinstance(generator, str) else None)
    return AlgorithmSettings(
        timesteps=timesteps or found.timesteps,
        n_envs=found.n_envs,
        hyperparameters=changed(found.hyperparameters, changes or {}),
    )
