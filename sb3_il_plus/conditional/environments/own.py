"""`with_own_expert`: an environment and the expert that it brings, for whoever knows it by its id.

What an observation shows is enough for some experts; planners that see more of the simulator are a
method of the environment, which `EnvironmentExpert` asks.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_il_plus.conditional.driving import DrivingExpert
from sb3_il_plus.conditional.environments.advice import EnvironmentExpert
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.experts.expert import Expert, as_expert


def with_own_expert(env_id: str, n_envs: int = 1) -> tuple[Expert, VecEnv]:
    """Build an environment, and its expert, which is good for these copies of it alone.

    :param env_id: the driving task, a grid, a maze, the fetch arm, the junction, or whatever has a
        method `expert_action`
    :raises UnknownNameError: no such environment
    :raises InapplicableError: it brings no expert
    """
    name = env_id.removeprefix("sb3_il_plus/")
    has_bot = name != env_id and name.startswith(("MiniGrid-", "BabyAI-"))
    venv = make_vec(env_id, n_envs, **({"bot": True} if has_bot else {}))
    expert = as_expert(_expert(name, venv), venv.observation_space, venv.action_space)
    return expert, venv


def _expert(name: str, venv: DummyVecEnv) -> Any:
    if name == "Driving-v0":
        return DrivingExpert()
    if name.startswith(("PointMaze_", "FetchReach", "FetchPickAndPlace")):
        return _goal_expert(name, venv.envs[0])
    try:
        return EnvironmentExpert(venv)
    except InapplicableError as error:
        raise InapplicableError(
            f"{name} brings no expert of its own; name an algorithm that trains one, or a path"
        ) from error


def _goal_expert(name: str, env: gym.Env) -> Any:
    from sb3_il_plus.conditional.environments import goals

    if name.startswith("PointMaze_"):
        return goals.MazeExpert(env)
    return goals.ReachExpert() if name.startswith("FetchReach") else goals.PickAndPlaceExpert()
