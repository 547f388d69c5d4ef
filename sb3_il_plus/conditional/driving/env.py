"""The driving task as a `gymnasium.Env`, and as SB3's `VecEnv` with all copies in one simulation.

    env = gymnasium.make("sb3_il_plus/Driving-v0")  # once its package was imported
    venv = DrivingVecEnv(16, seed=0)  # the same, 16 times, many times as fast

Copy i of the vectorised one does exactly what a single environment does whose seed is i greater.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from sb3_il_plus.conditional.driving.drawing import draw
from sb3_il_plus.conditional.driving.observing import Kind, infos, observation_space, observe
from sb3_il_plus.conditional.driving.simulation import TIME_STEP, Command, Simulation
from sb3_il_plus.errors import UserError

_METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": round(1 / TIME_STEP)}


def _action_space() -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (2,), np.float32)


class DrivingEnv(gym.Env):
    """Drive through a junction as told: follow the road, go left, straight on, or right.

    Observations are dicts with `"command"` (see `Command`), `"speed"`, and `"road"` or `"image"`
    (see `observing.observe`); actions are steering and pedal. The return is 1 for an episode that
    succeeds and 0 for any other: the car left the road, took another turn, or was too slow.

    :param observation: `"vector"`, `"image"`, or `"all"` for both, which lets `DrivingExpert` act
        where images are recorded
    :param render_mode: `"rgb_array"` for `render` to give frames of shape (256, 256, 3)
    :param options: of the task, see `Simulation`: `n_junctions`, `start_offset`, `start_heading`,
        `steering_noise`
    :raises UserError: an option is out of range
    """

    metadata: ClassVar[dict[str, Any]] = _METADATA  # type: ignore[misc]

    def __init__(
        self, observation: Kind = "vector", render_mode: str | None = None, **options: Any
    ) -> None:
        self._simulation = Simulation(1, **options)
        self._kind = observation
        self.render_mode = render_mode
        self.observation_space = observation_space(observation)
        self.action_space = _action_space()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode.

        :param options: `{"commands": [...]}` for a route of your own, a command for each junction
        """
        super().reset(seed=seed)
        self._simulation.generators[0] = self.np_random
        self._simulation.reset([0])
        _set_route(self._simulation, 0, options)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Drive for one time step."""
        outcome = self._simulation.step(np.asarray(action)[None])
        (info,) = infos(self._simulation, outcome)
        ended = bool(outcome.terminated[0])
        return self._observe(), float(info["is_success"]), ended, bool(outcome.timed_out[0]), info

    def set_command(self, command: int) -> None:
        """Change what is to be done at the junction ahead, from the next observation on."""
        self._simulation.set_command(0, command)

    @property
    def mission(self) -> str:
        """What is to be done, in words, for a person who drives."""
        return Command(int(self._simulation.commands[0])).name.lower()

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """A frame from above, where `render_mode="rgb_array"` asks for it."""
        return draw(self._simulation) if self.render_mode == "rgb_array" else None

    def _observe(self) -> dict[str, Any]:
        return {key: value[0] for key, value in observe(self._simulation, self._kind).items()}


class DrivingVecEnv(VecEnv):
    """Copies of `DrivingEnv` in one simulation.

    :param n_envs: how many
    :param seed: copy i is seeded `seed + i`; None for entropy
    :param observation: see `DrivingEnv`, as for all that follows
    :param options: of the task
    """

    metadata: ClassVar[dict[str, Any]] = _METADATA  # type: ignore[misc]

    def __init__(
        self,
        n_envs: int = 16,
        seed: int | None = None,
        observation: Kind = "vector",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self._simulation = Simulation(n_envs, **options)
        self._kind = observation
        self._actions = np.zeros((n_envs, 2))
        self.render_mode = render_mode
        self.spec: Any = None
        """Stands in for that of each copy, which code of SB3's may ask for."""
        super().__init__(n_envs, observation_space(observation), _action_space())
        if seed is not None:
            self.seed(seed)

    def reset(self) -> dict[str, np.ndarray]:
        """Begin an episode in every copy."""
        for copy, seed in enumerate(self._seeds):
            if seed is not None:
                self._simulation.generators[copy] = np.random.default_rng(seed)
        self._simulation.reset(range(self.num_envs))
        for copy, options in enumerate(self._options):
            _set_route(self._simulation, copy, options)
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observe(self._simulation, self._kind)

    def step_async(self, actions: np.ndarray) -> None:
        """Note what is to be done."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Drive for one time step; episodes that end are followed by others, as SB3 has it."""
        outcome = self._simulation.step(self._actions)
        found = infos(self._simulation, outcome)
        shown = observe(self._simulation, self._kind)
        dones = outcome.terminated | outcome.timed_out
        if dones.any():
            ended = np.flatnonzero(dones)
            for copy in ended.tolist():
                last = {key: value[copy].copy() for key, value in shown.items()}
                found[copy]["terminal_observation"] = last
                found[copy]["TimeLimit.truncated"] = bool(outcome.timed_out[copy])
            self._simulation.reset(ended)
            for key, first in observe(self._simulation, self._kind, ended).items():
                shown[key][ended] = first
        return shown, outcome.success.astype(np.float32), dones, found

    def set_command(self, copy: int, command: int) -> None:
        """Change what a copy is to do at the junction ahead, from the next observation on."""
        self._simulation.set_command(copy, command)

    def close(self) -> None:
        """Nothing to close."""

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A frame of each copy, where `render_mode="rgb_array"` asks for them."""
        if self.render_mode != "rgb_array":
            return [None] * self.num_envs
        return [draw(self._simulation, copy) for copy in range(self.num_envs)]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute, which is the same for all copies."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of all copies at once.

        :raises UserError: `indices` are given, and copies share their attributes
        """
        if indices is not None:
            raise UserError(f"{attr_name!r} cannot be set for some copies: they share attributes")
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call `set_command(command)` for some copies, the one method that they have.

        :raises AttributeError: another method is asked for
        """
        if method_name != "set_command":
            raise AttributeError(f"copies of a DrivingVecEnv have no method {method_name!r}")
        copies = list(self._get_indices(indices))
        for copy in copies:
            self.set_command(copy, *args, **kwargs)
        return [None] * len(copies)

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """No copy is wrapped in anything."""
        return [False for _ in self._get_indices(indices)]


def _set_route(simulation: Simulation, copy: int, options: dict[str, Any] | None) -> None:
    commands = (options or {}).get("commands")
    if commands is None:
        return
    if len(commands) != simulation.n_junctions:
        raise UserError(
            f"commands={list(commands)!r} must be {simulation.n_junctions}, one for each junction"
        )
    for number, command in enumerate(commands):
        simulation.n_passed[copy] = number
        simulation.set_command(copy, command)
    simulation.n_passed[copy] = 0
