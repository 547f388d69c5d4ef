"""Wrappers that put the command into what is observed, wherever an environment has it.

    env = InfoCommand(env, spaces.Discrete(4), key="high_level_command")  # from its info
    env = GoalCommand(env)                                  # from its entry "desired_goal"
    env = MissionCommand(env, ["go left", "go right"])      # from its entry "mission"
    env = VocabularyCommand(env, ["go", "left", "right"], max_words=2)
    env = PlannerCommand(env, planner, spaces.Discrete(4))  # from a function of yours

The observation is then a Dict with the entry `"command"`; one that was no Dict becomes its entry
`"observation"`. The command is asked for anew at every step, so a change is seen at once.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_il_plus.conditional.commands import COMMAND, DESIRED_GOAL
from sb3_il_plus.data.entries import OBSERVATION, as_entries
from sb3_il_plus.errors import InapplicableError, UserError, suggest

Space = spaces.Discrete | spaces.Box

MISSION = "mission"


class CommandWrapper(gym.Wrapper, abc.ABC):
    """Base of the wrappers: a subclass says what the command is.

    :param env: the environment
    :param space: of the command
    :param replaces: entry of the observation that the command takes the place of, if any
    :raises InapplicableError: the observation has a command already, or no entry to replace
    """

    def __init__(self, env: gym.Env, space: Space, replaces: str | None = None) -> None:
        super().__init__(env)
        entries = as_entries(env.observation_space)
        if COMMAND in entries:
            raise InapplicableError(f"the observations of {env} have an entry {COMMAND!r} already")
        if replaces is not None:
            if replaces not in entries:
                raise InapplicableError(
                    f"{type(self).__name__} reads the entry {replaces!r} of the observation, "
                    f"which has {sorted(entries)}"
                )
            del entries[replaces]
        self._replaces = replaces
        self._space = space
        self.observation_space = spaces.Dict({**entries, COMMAND: space})

    @abc.abstractmethod
    def command(self, observation: Any, info: Mapping[str, Any]) -> Any:
        """What is to be done now.

        :param observation: of the environment that is wrapped
        :param info: what came with it
        """

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(**kwargs)
        return self._with_command(observation, info), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Make a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with_command(observation, info), reward, terminated, truncated, info

    def _with_command(self, observation: Any, info: Mapping[str, Any]) -> dict[str, Any]:
        command = self.command(observation, info)
        value = np.asarray(command)
        if isinstance(self._space, spaces.Box) and value.dtype.kind in "fiu":
            value = value.astype(self._space.dtype)
        if not self._space.contains(value):
            raise UserError(
                f"{type(self).__name__}: command {command!r} does not lie in {self._space}"
            )
        entries = dict(observation) if isinstance(observation, Mapping) else {}
        if not entries:
            entries = {OBSERVATION: observation}
        entries.pop(self._replaces or "", None)
        return {**entries, COMMAND: value.astype(self._space.dtype)[()]}


class InfoCommand(CommandWrapper):
    """The command that the environment gives in its info.

    :param env: the environment
    :param space: of the command
    :param key: under which `reset` and `step` give it
    """

    def __init__(self, env: gym.Env, space: Space, key: str = COMMAND) -> None:
        super().__init__(env, space)
        self._key = key

    def command(self, observation: Any, info: Mapping[str, Any]) -> Any:
        """The entry of the info.

        :raises UserError: there is none
        """
        if self._key not in info:
            raise UserError(
                f"the info of {self.env} has no entry {self._key!r}, only {sorted(info)}; it must "
                "be there after reset() and after every step()"
            )
        return info[self._key]


class GoalCommand(CommandWrapper):
    """The goal of a goal-conditioned environment; its entry `"desired_goal"` becomes the command.

    The entry `"achieved_goal"` stays: hindsight relabelling reads it.

    :param env: the environment
    """

    def __init__(self, env: gym.Env) -> None:
        goal = as_entries(env.observation_space).get(DESIRED_GOAL)
        if not isinstance(goal, spaces.Box):
            raise InapplicableError(
                f"GoalCommand needs a Box as entry {DESIRED_GOAL!r} of the observation space, "
                f"not {env.observation_space}"
            )
        super().__init__(env, goal, replaces=DESIRED_GOAL)

    def command(self, observation: Any, info: Mapping[str, Any]) -> Any:
        """The desired goal."""
        return observation[DESIRED_GOAL]


class MissionCommand(CommandWrapper):
    """A mission text as one of a known list: its number, which policies read one-hot.

    :param env: the environment, whose observations have the entry `"mission"`
    :param missions: all texts, in the order of their numbers
    :raises UserError: `missions` is empty or names one twice
    """

    def __init__(self, env: gym.Env, missions: Sequence[str]) -> None:
        self._numbers = _numbered(missions, "missions")
        super().__init__(env, spaces.Discrete(len(missions)), replaces=MISSION)

    def command(self, observation: Any, info: Mapping[str, Any]) -> Any:
        """The mission's number.

        :raises UserError: it is not on the list
        """
        return _look_up(self._numbers, observation[MISSION], "mission")


class VocabularyCommand(CommandWrapper):
    """A mission text word by word: each word one-hot in its place, a vector of zeros and ones.

    Commas are left out.

    :param env: the environment, whose observations have the entry `"mission"`
    :param vocabulary: all words, in the order of their numbers
    :param max_words: the longest text; shorter ones end in zeros
    :raises UserError: `vocabulary` is empty or names a word twice
    """

    def __init__(self, env: gym.Env, vocabulary: Sequence[str], max_words: int) -> None:
        self._numbers = _numbered(vocabulary, "vocabulary")
        if max_words < 1:
            raise UserError(f"max_words={max_words} must be at least 1")
        self._max_words = max_words
        size = max_words * len(vocabulary)
        super().__init__(env, spaces.Box(0.0, 1.0, (size,), np.float32), replaces=MISSION)

    def command(self, observation: Any, info: Mapping[str, Any]) -> Any:
        """The words, shape (max_words * size of the vocabulary,).

        :raises UserError: a word is unknown, or there are too many
        """
        words = observation[MISSION].replace(",", " ").split()
        if len(words) > self._max_words:
            raise UserError(
                f"mission {observation[MISSION]!r} has {len(words)} words, and "
                f"max_words={self._max_words}"
            )
        one_hot = np.zeros((self._max_words, len(self._numbers)), dtype=np.float32)
        for place, word in enumerate(words):
            one_hot[place, _look_up(self._numbers, word, "word")] = 1.0
        return one_hot.ravel()


class PlannerCommand(CommandWrapper):
    """The command that a planner of yours gives.

    :param env: the environment
    :param planner: called with the environment, its observation and its info after `reset` and
        after every step; returns the command
    :param space: of the command
    """

    def __init__(
        self,
        env: gym.Env,
        planner: Callable[[gym.Env, Any, Mapping[str, Any]], Any],
        space: Space,
    ) -> None:
        super().__init__(env, space)
        self._planner = planner

    def command(self, observation: Any, info: Mapping[str, Any]) -> Any:
        """What the planner says."""
        return self._planner(self.env, observation, info)


def _numbered(names: Sequence[str], what: str) -> dict[str, int]:
    numbers = {name: number for number, name in enumerate(names)}
    if not numbers or len(numbers) < len(names):
        raise UserError(f"{what}={list(names)!r} must be different texts, at least one")
    return numbers


def _look_up(numbers: Mapping[str, int], name: str, what: str) -> int:
    if name not in numbers:
        raise UserError(f"unknown {what} {name!r}{suggest(name, list(numbers))}")
    return numbers[name]
