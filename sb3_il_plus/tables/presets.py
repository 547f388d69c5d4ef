"""Presets: tuned hyperparameters and budgets by environment, as YAML that holds only differences.

`presets/<environment id>.yaml` is for one environment, `presets/default.yaml` for all others and
for whatever the first leaves out. Comments in them say where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pydantic import Field

from sb3_il_plus.spec import AlgorithmSpec, Timestep
from sb3_il_plus.tables.specification import AlgorithmSettings, Count, Record, build, read_yaml

_FOLDER = files("sb3_il_plus.tables") / "presets"


class PresetSettings(Record):
    """As `AlgorithmSettings`, with everything optional."""

    timesteps: Count | None = None
    n_envs: Count | None = None
    hyperparameters: dict[str, Any] = Field(default_factory=dict)


class Preset(Record):
    """What a preset file holds.

    :param timesteps: budget by the unit that an algorithm counts in
    :param algorithms: registered name -> what is special about it
    """

    timesteps: dict[Timestep, Count] = Field(default_factory=dict)
    algorithms: dict[str, PresetSettings] = Field(default_factory=dict)


def load_preset(name: str) -> Preset:
    """Read a shipped preset: `"default"` or an environment's id; empty where there is none."""
    resource = _FOLDER.joinpath(*f"{name}.yaml".split("/"))
    if ".." in name or not resource.is_file():
        return Preset()
    return build(Preset, read_yaml(resource.read_text, f"preset {name}"), f"preset {name}")


def tuned_settings(
    spec: AlgorithmSpec,
    env_id: str | None = None,
    timesteps: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> AlgorithmSettings:
    """How to train an algorithm in an environment: its preset, with changes to it.

    An environment's preset comes before the default one, key by key.

    :param timesteps: budget in place of the preset's
    :param changes: hyperparameters; a dict in them changes a preset's dict key by key
    """
    default, special = load_preset("default"), load_preset(env_id or "default")
    general = default.algorithms.get(spec.name, PresetSettings())
    own = special.algorithms.get(spec.name, PresetSettings())
    budgets = (
        timesteps,
        own.timesteps,
        special.timesteps.get(spec.timestep),
        general.timesteps,
        default.timesteps[spec.timestep],
    )
    preset = {**general.hyperparameters, **own.hyperparameters}
    return AlgorithmSettings(
        timesteps=next(budget for budget in budgets if budget is not None),
        n_envs=own.n_envs or general.n_envs or 1,
        hyperparameters=_changed(preset, changes or {}),
    )


def _changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    changed = dict(values)
    for key, value in changes.items():
        inner = changed.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        changed[key] = _changed(inner, value) if both and isinstance(inner, Mapping) else value
    return changed
