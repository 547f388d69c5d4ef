"""RL Zoo's tuned hyperparameters, read from the YAML files that the package `rl_zoo3` brings.

`rl_zoo3` itself is never imported (its import patches gymnasium), and the Python expressions in its
files are parsed, not evaluated. Which entry an environment gets:

    environment                         entry
    the id itself                       CartPole-v1          -> CartPole-v1
    another version of it               HalfCheetah-v5       -> HalfCheetah-v3
    the fixed-horizon form of `seals`   seals/CartPole-v0    -> CartPole-v1
                                        seals/Hopper-v1      -> Hopper-v3
    an Atari game                       ALE/Pong-v5          -> atari
    any other                           SB3's defaults, 100 000 steps, and a warning
"""

from __future__ import annotations

import ast
import importlib.util
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from sb3_il_plus.activations import activation_named
from sb3_il_plus.errors import FileError, InapplicableError, MissingExtraError, UserError

DEFAULT_TIMESTEPS = 100_000

_FILES = {"recurrent_ppo": "ppo_lstm"}
"""Algorithms whose file has another name than ours."""

_NAMES = {"RMSpropTFLike": RMSpropTFLike, "HerReplayBuffer": HerReplayBuffer}
"""Names that expressions may use, beside `dict` and the activations in `nn`."""

_SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf", "delta_std")
_EXPRESSIONS = ("policy_kwargs", "replay_buffer_kwargs", "replay_buffer_class", "normalize")
_WRAPPERS = ("env_wrapper", "vec_env_wrapper", "frame_stack", "monitor_kwargs", "callback")
_NOISES = {"normal": NormalActionNoise, "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise}
_NOT_ARGUMENTS = frozenset(
    {"n_envs", "n_timesteps", "policy", "normalize", "noise_type", "noise_std", *_WRAPPERS}
)


@dataclass(frozen=True)
class LinearSchedule:
    """A value that falls linearly from `initial` to 0 over the training."""

    initial: float

    def __call__(self, progress_remaining: float) -> float:
        """The value when `progress_remaining` (1 to 0) of the training is left."""
        return progress_remaining * self.initial


@dataclass(frozen=True)
class Hyperparameters:
    """How to train an expert, as in RL Zoo's files.

    :param settings: arguments of the algorithm; `policy`, `n_timesteps`, `n_envs`, `normalize`,
        `noise_type` and `noise_std`; values as in the files, or Python objects
    :param source: where they come from, for people
    """

    settings: dict[str, Any]
    source: str

    def updated(self, changes: Mapping[str, Any]) -> Hyperparameters:
        """Return a copy with other values; None takes an entry out."""
        merged = {**self.settings, **changes}
        kept = {key: item for key, item in merged.items() if item is not None}
        return replace(self, settings=kept)

    @property
    def total_timesteps(self) -> int:
        """Environment steps to train for."""
        return int(float(self.settings.get("n_timesteps", DEFAULT_TIMESTEPS)))

    @property
    def n_envs(self) -> int:
        """Copies of the environment to train in."""
        return int(self.settings.get("n_envs", 1))

    @property
    def policy(self) -> str | None:
        """Policy alias; None leaves the choice to the observation space."""
        return self.settings.get("policy")

    def normalize_arguments(self) -> dict[str, Any] | None:
        """Arguments of `VecNormalize`; None where nothing is normalised."""
        normalize = self._parsed("normalize")
        if not normalize:
            return None
        arguments = dict(normalize) if isinstance(normalize, Mapping) else {}
        if "gamma" in self.settings:  # returns are discounted as the algorithm does
            arguments.setdefault("gamma", self.settings["gamma"])
        return arguments

    def algorithm_arguments(self, action_space: spaces.Space) -> dict[str, Any]:
        """Keyword arguments of the algorithm's constructor.

        :raises InapplicableError: they were tuned for a wrapped environment
        :raises UserError: a value is not understood
        """
        wrappers = [key for key in _WRAPPERS if self.settings.get(key)]
        if wrappers:
            raise InapplicableError(
                f"the hyperparameters of {self.source} are for a wrapped environment "
                f"({', '.join(f'{key}: {self.settings[key]}' for key in wrappers)}), and an expert "
                "acts on raw observations; train the model yourself and pass it, or drop the "
                f"wrappers with hyperparameters={ {key: None for key in wrappers} }"
            )
        arguments = {key: self._parsed(key) for key in self.settings if key not in _NOT_ARGUMENTS}
        if isinstance(arguments.get("train_freq"), list):
            arguments["train_freq"] = tuple(arguments["train_freq"])
        if "noise_type" in self.settings:
            arguments["action_noise"] = self._action_noise(action_space)
        return arguments

    def _action_noise(self, action_space: spaces.Space) -> Any:
        kind = str(self.settings["noise_type"]).strip()
        if kind not in _NOISES:
            raise UserError(f"noise_type={kind!r} is unknown; choose from {', '.join(_NOISES)}")
        std = float(self.settings.get("noise_std", 0.1))
        shape = action_space.shape or ()
        return _NOISES[kind](mean=np.zeros(shape), sigma=np.full(shape, std))

    def _parsed(self, key: str) -> Any:
        value = self.settings.get(key)
        if not isinstance(value, str):
            return value
        if key in _SCHEDULES:
            return parse_schedule(value)
        return parse_expression(value) if key in _EXPRESSIONS else value


def tuned_hyperparameters(algorithm: str, env_id: str) -> Hyperparameters:
    """Look up how RL Zoo trains an algorithm in an environment.

    :param algorithm: name in the registry, such as `ppo`
    :param env_id: see the table at the top of this file for ids that the zoo does not list
    :raises MissingExtraError: `rl_zoo3` is not installed
    """
    entries = _entries(algorithm)
    name = _entry_name(env_id, list(entries))
    if name is None:
        warnings.warn(
            f"RL Zoo has no tuned hyperparameters of {algorithm} for {env_id}: using the defaults "
            f"of stable-baselines3 and {DEFAULT_TIMESTEPS} steps; the expert may turn out weak. "
            "Set others with hyperparameters={...}",
            stacklevel=2,
        )
        return Hyperparameters({}, "stable-baselines3's defaults")
    return Hyperparameters(dict(entries[name]), f"RL Zoo's {algorithm} for {name}")


@cache
def _entries(algorithm: str) -> dict[str, dict[str, Any]]:
    found = importlib.util.find_spec("rl_zoo3")  # looks for the package without importing it
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            "tuned hyperparameters come with the package rl_zoo3, which is not installed: "
            "pip install 'sb3_il_plus[zoo]'"
        )
    folder = Path(found.submodule_search_locations[0]) / "hyperparams"
    file = folder / f"{_FILES.get(algorithm, algorithm)}.yml"
    if not file.is_file():
        return {}
    try:
        entries: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise FileError(f"cannot read {str(file)!r}: {error}") from error
    return entries


def _entry_name(env_id: str, names: list[str]) -> str | None:
    if env_id in names:
        return env_id
    base, version = _split_version(env_id.removeprefix("seals/"))
    same = [name for name in names if _split_version(name)[0] == base]
    if same:
        asked = int(version or 0)
        return min(same, key=lambda name: abs(int(_split_version(name)[1] or 0) - asked))
    if "atari" in names and (env_id.startswith("ALE/") or "NoFrameskip" in env_id):
        return "atari"
    return None


def _split_version(env_id: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"(.*)-v(\d+)", env_id)
    return (match[1], match[2]) if match else (env_id, None)


def parse_schedule(text: str) -> LinearSchedule | str:
    """Turn `"lin_0.001"` into a schedule; other texts (`"auto"`) are returned as they are.

    :raises UserError: the number cannot be read
    """
    if not text.startswith("lin_"):
        return text
    try:
        return LinearSchedule(float(text.removeprefix("lin_")))
    except ValueError as error:
        raise UserError(f"schedule {text!r} is not understood; write 'lin_0.001'") from error


def parse_expression(text: str) -> Any:
    """Read an expression such as `"dict(net_arch=[64, 64], activation_fn=nn.ReLU)"`.

    Known are numbers, texts, lists, tuples, dicts, `dict(...)`, the activations of `torch.nn`, and
    the few names that RL Zoo uses. Nothing is evaluated.

    :raises UserError: it holds anything else
    """
    try:
        return _parse(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"hyperparameter {text!r} is not understood: {error}") from error


def _parse(node: ast.expr | None) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [_parse(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_parse(item) for item in items)
        case ast.Dict(keys=keys, values=values):
            return {_parse(key): _parse(value) for key, value in zip(keys, values, strict=True)}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(
            keyword.arg for keyword in keywords
        ):
            return {str(keyword.arg): _parse(keyword.value) for keyword in keywords}
        case ast.Attribute(value=ast.Name(id="nn"), attr=name) if activation_named(name):
            return activation_named(name)
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
    raise ValueError(
        "only numbers, texts, lists, dicts, dict(...) and nn.ReLU and its like may be used"
    )
