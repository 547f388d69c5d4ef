"""Imitation of an expert that is told what to do: one policy, many commands.

`driving/` is a task of our own with commands, `wrappers.py` puts the command into the observations
of any other, `commands.py` looks after it in data, `policies.py` has policies that read it,
`bc.py` trains them, `noise.py` and `augmentation.py` make them robust, and `measures.py` and
`plots.py` say whether they do as they are told.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "ActionAgreement": "measures",
    "BranchedPolicy": "policies",
    "COMMAND": "commands",
    "CilPerception": "perception",
    "CilPolicy": "policies",
    "CommandBlocks": "perception",
    "CommandEvaluation": "measures",
    "CommandInputPolicy": "policies",
    "CommandStatistics": "commands",
    "CommandWrapper": "wrappers",
    "ConditionalBC": "bc",
    "FilmPolicy": "policies",
    "GoalCommand": "wrappers",
    "GoalPolicy": "policies",
    "InfoCommand": "wrappers",
    "MissingCommandWarning": "commands",
    "MissionCommand": "wrappers",
    "NoiseInjection": "noise",
    "Perception": "perception",
    "SetPerception": "perception",
    "PlannerCommand": "wrappers",
    "UnconditionalPolicy": "policies",
    "VocabularyCommand": "wrappers",
    "action_agreement": "measures",
    "command_statistics": "commands",
    "evaluate_commands": "measures",
    "goals_as_commands": "commands",
    "relabel_goals": "hindsight",
    "plot_commands": "plots",
    "with_commands": "commands",
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from sb3_il_plus.conditional.bc import ConditionalBC as ConditionalBC
    from sb3_il_plus.conditional.commands import COMMAND as COMMAND
    from sb3_il_plus.conditional.commands import CommandStatistics as CommandStatistics
    from sb3_il_plus.conditional.commands import MissingCommandWarning as MissingCommandWarning
    from sb3_il_plus.conditional.commands import command_statistics as command_statistics
    from sb3_il_plus.conditional.commands import goals_as_commands as goals_as_commands
    from sb3_il_plus.conditional.commands import with_commands as with_commands
    from sb3_il_plus.conditional.hindsight import relabel_goals as relabel_goals
    from sb3_il_plus.conditional.measures import ActionAgreement as ActionAgreement
    from sb3_il_plus.conditional.measures import CommandEvaluation as CommandEvaluation
    from sb3_il_plus.conditional.measures import action_agreement as action_agreement
    from sb3_il_plus.conditional.measures import evaluate_commands as evaluate_commands
    from sb3_il_plus.conditional.noise import NoiseInjection as NoiseInjection
    from sb3_il_plus.conditional.perception import CilPerception as CilPerception
    from sb3_il_plus.conditional.perception import CommandBlocks as CommandBlocks
    from sb3_il_plus.conditional.perception import Perception as Perception
    from sb3_il_plus.conditional.perception import SetPerception as SetPerception
    from sb3_il_plus.conditional.plots import plot_commands as plot_commands
    from sb3_il_plus.conditional.policies import BranchedPolicy as BranchedPolicy
    from sb3_il_plus.conditional.policies import CilPolicy as CilPolicy
    from sb3_il_plus.conditional.policies import CommandInputPolicy as CommandInputPolicy
    from sb3_il_plus.conditional.policies import FilmPolicy as FilmPolicy
    from sb3_il_plus.conditional.policies import GoalPolicy as GoalPolicy
    from sb3_il_plus.conditional.policies import UnconditionalPolicy as UnconditionalPolicy
    from sb3_il_plus.conditional.wrappers import CommandWrapper as CommandWrapper
    from sb3_il_plus.conditional.wrappers import GoalCommand as GoalCommand
    from sb3_il_plus.conditional.wrappers import InfoCommand as InfoCommand
    from sb3_il_plus.conditional.wrappers import MissionCommand as MissionCommand
    from sb3_il_plus.conditional.wrappers import PlannerCommand as PlannerCommand
    from sb3_il_plus.conditional.wrappers import VocabularyCommand as VocabularyCommand


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sb3_il_plus.conditional' has no attribute {name!r}")
    return getattr(import_module(f"sb3_il_plus.conditional.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
