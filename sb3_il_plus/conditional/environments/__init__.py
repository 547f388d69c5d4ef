"""Environments of other packages, with the command in the observation, and their experts.

`grids.py` is for MiniGrid and BabyAI, `goals.py` for gymnasium-robotics, `intersection.py` for
highway-env; each is an extra. Importing this package registers ids of ours with gymnasium and
imports none of them; the functions of `sb3_il_plus` that take an id find them without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium as gym

import sb3_il_plus.conditional.driving  # noqa: F401  (the ids of the driving task)

_HOME = {
    "BotAdvice": "grids",
    "CommandedExit": "intersection",
    "EnvironmentExpert": "advice",
    "Exit": "intersection",
    "GridPlanes": "grids",
    "MazeExpert": "goals",
    "PickAndPlaceExpert": "goals",
    "ReachExpert": "goals",
    "SuccessReturn": "advice",
    "goal_env": "goals",
    "grid_env": "grids",
    "intersection_env": "intersection",
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from sb3_il_plus.conditional.environments.advice import EnvironmentExpert as EnvironmentExpert
    from sb3_il_plus.conditional.environments.advice import SuccessReturn as SuccessReturn
    from sb3_il_plus.conditional.environments.goals import MazeExpert as MazeExpert
    from sb3_il_plus.conditional.environments.goals import PickAndPlaceExpert as PickAndPlaceExpert
    from sb3_il_plus.conditional.environments.goals import ReachExpert as ReachExpert
    from sb3_il_plus.conditional.environments.goals import goal_env as goal_env
    from sb3_il_plus.conditional.environments.grids import BotAdvice as BotAdvice
    from sb3_il_plus.conditional.environments.grids import GridPlanes as GridPlanes
    from sb3_il_plus.conditional.environments.grids import grid_env as grid_env
    from sb3_il_plus.conditional.environments.intersection import CommandedExit as CommandedExit
    from sb3_il_plus.conditional.environments.intersection import Exit as Exit
    from sb3_il_plus.conditional.environments.intersection import (
        intersection_env as intersection_env,
    )

_GRIDS = ("MiniGrid-GoToDoor-6x6-v0", "MiniGrid-GoToDoor-8x8-v0", "BabyAI-GoToLocal-v0")
_GOALS = (
    "PointMaze_UMaze-v3",
    "PointMaze_Medium-v3",
    "PointMaze_Large-v3",
    "FetchReach-v4",
    "FetchPickAndPlace-v4",
)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__


def _register() -> None:
    for maker, env_ids in (("grids:grid_env", _GRIDS), ("goals:goal_env", _GOALS)):
        for env_id in env_ids:
            gym.register(
                f"sb3_il_plus/{env_id}",
                entry_point=f"{__name__}.{maker}",
                kwargs={"env_id": env_id},
            )
    gym.register(
        "sb3_il_plus/Intersection-v1", entry_point=f"{__name__}.intersection:intersection_env"
    )


_register()
