"""A small driving task that needs nothing else: a town with junctions, and commands at each.

Importing this package registers `sb3_il_plus/Driving-v0` (numbers) and
`sb3_il_plus/DrivingImage-v0` (64 by 64 pixels) with gymnasium; the functions of `sb3_il_plus` that
take an environment's id find them without.
"""

import gymnasium as gym

from sb3_il_plus.conditional.driving.env import DrivingEnv, DrivingVecEnv
from sb3_il_plus.conditional.driving.expert import DrivingExpert
from sb3_il_plus.conditional.driving.simulation import Command, Simulation

__all__ = ["Command", "DrivingEnv", "DrivingExpert", "DrivingVecEnv", "Simulation"]

_ENTRY_POINT = "sb3_il_plus.conditional.driving.env:DrivingEnv"

gym.register("sb3_il_plus/Driving-v0", entry_point=_ENTRY_POINT)
gym.register(
    "sb3_il_plus/DrivingImage-v0", entry_point=_ENTRY_POINT, kwargs={"observation": "image"}
)
