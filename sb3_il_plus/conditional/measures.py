"""How well a policy does what it is told: success, infractions, and what it took for what.

    found = evaluate_commands(model, DrivingVecEnv(50), 200, seed=0)
    found.success_rate, found.success_per_command, found.confusion
    action_agreement(model, demonstrations)  # of each command, without an environment

Episodes are run by the package's one evaluator; what is measured comes from the commands that are
observed and from the environment's infos. `plots.py` draws it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.conditional.commands import COMMAND, command_space, commands_of
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.diagnostics.agreement import compare_actions
from sb3_il_plus.errors import UserError
from sb3_il_plus.evaluation import evaluate, opened

INFRACTIONS = ("missed_turn", "off_road", "crashed")
"""Entries of an info that say that something went wrong: the driving task's, and highway-env's."""

Success = Callable[[Mapping[str, Any], float], bool]


@dataclass(frozen=True)
class CommandEvaluation:
    """What an agent made of its commands; E episodes, C commands.

    Where commands are goals, C is 0.

    :param successes: shape (E,)
    :param returns: undiscounted, shape (E,)
    :param given: shape (E, C), whether a command was given in an episode
    :param infractions: name -> shape (E,), whether it happened; those that the environment reports
    :param distances: metres, shape (E,); None where the environment does not report them
    :param confusion: shape (C, C + 1): how often it was commanded (rows) and carried out (columns);
        the last column is for what is no command at all, such as turning back. Zeros where the
        environment does not report it
    """

    successes: np.ndarray
    returns: np.ndarray
    given: np.ndarray
    infractions: Mapping[str, np.ndarray]
    distances: np.ndarray | None
    confusion: np.ndarray

    @property
    def success_rate(self) -> float:
        """Share of the episodes that succeeded."""
        return float(self.successes.mean())

    @property
    def success_per_command(self) -> np.ndarray:
        """Share of the episodes with a command that succeeded, shape (C,); NaN for none.

        An episode with several commands counts for each of them.
        """
        n_given = self.given.sum(axis=0)
        n_succeeded = (self.given & self.successes[:, None]).sum(axis=0)
        return np.where(n_given > 0, n_succeeded / np.maximum(n_given, 1), np.nan)

    @property
    def missed_turns(self) -> float:
        """Share of the turns that were not the commanded ones; NaN where none is reported."""
        total = self.confusion.sum()
        return float(1 - np.trace(self.confusion) / total) if total else float("nan")

    @property
    def distance_per_infraction(self) -> float | None:
        """Metres; infinite without any infraction, None where either is not reported."""
        if self.distances is None or not self.infractions:
            return None
        n_infractions = sum(int(column.sum()) for column in self.infractions.values())
        return float(self.distances.sum()) / n_infractions if n_infractions else float("inf")

    def __str__(self) -> str:
        commands = ", ".join(
            f"{number}: {100 * rate:.0f} %"
            for number, rate in enumerate(self.success_per_command)
            if np.isfinite(rate)
        )
        by_command = f" (by command {commands})" if commands else ""
        return f"{100 * self.success_rate:.1f} % of {len(self.successes)} episodes{by_command}"


def evaluate_commands(
    model: Any,
    env: str | gym.Env | VecEnv,
    n_episodes: int = 100,
    *,
    seed: int | None = None,
    deterministic: bool = True,
    n_envs: int = 1,
    success: Success | None = None,
    infractions: Sequence[str] = INFRACTIONS,
) -> CommandEvaluation:
    """Run an agent that is told what to do; arguments not named here are those of `evaluate`.

    Of the environment's infos it reads `is_success` at an episode's end; `distance`, in metres
    since its beginning; the infractions in any step; and, where a branch was taken, `commanded` and
    `taken`, a command each.

    :param env: its observations are Dicts with the entry `"command"`
    :param success: says, of an episode's last info and its return, whether it succeeded; None for
        the info's `is_success`
    :param infractions: entries of the info that count as such
    :raises InapplicableError: the observations have no command
    :raises UserError: an episode ended without `is_success`, and there is no `success`
    """
    with opened(env, n_envs) as venv:
        space = command_space(venv.observation_space, "evaluate_commands")
        n_commands = int(space.n) if isinstance(space, spaces.Discrete) else 0
        notes = _Notes(venv.num_envs, n_commands, success, infractions)
        evaluate(
            model, venv, n_episodes, seed=seed, deterministic=deterministic, callback=notes.add
        )
    return notes.evaluation()


class _Episode:
    """What is noted of one episode while it runs."""

    def __init__(self, n_commands: int) -> None:
        self.given = np.zeros(n_commands, dtype=bool)
        self.infractions: dict[str, bool] = {}
        self.distance: float | None = None
        self.total_reward = 0.0
        self.success = False


class _Notes:
    """A callback of SB3's `evaluate_policy` that notes what the measures need."""

    def __init__(
        self, n_envs: int, n_commands: int, success: Success | None, infractions: Sequence[str]
    ) -> None:
        self._n_commands, self._success, self._names = n_commands, success, infractions
        self._running = [_Episode(n_commands) for _ in range(n_envs)]
        self._ended: list[_Episode] = []
        self._confusion = np.zeros((n_commands, n_commands + 1), dtype=np.int64)

    def add(self, step: dict[str, Any], _: dict[str, Any]) -> None:
        copy, info = step["i"], step["info"]
        episode = self._running[copy]
        if self._n_commands:
            episode.given[int(step["observations"][COMMAND][copy])] = True
        for name in self._names:
            if name in info:
                episode.infractions[name] = episode.infractions.get(name, False) or info[name]
        if "taken" in info and self._n_commands:
            taken = info["taken"] if 0 <= info["taken"] < self._n_commands else self._n_commands
            self._confusion[info["commanded"], taken] += 1
        if "episode" not in info:  # the monitor's, at an episode's end
            return
        episode.distance = info.get("distance")
        episode.total_reward = float(info["episode"]["r"])
        episode.success = self._succeeded(info, episode.total_reward)
        self._ended.append(episode)
        self._running[copy] = _Episode(self._n_commands)

    def _succeeded(self, info: Mapping[str, Any], total_reward: float) -> bool:
        if self._success is not None:
            return bool(self._success(info, total_reward))
        if "is_success" not in info:
            raise UserError(
                "an episode's last info has no entry 'is_success'; say what a success is, for "
                "instance success=lambda info, episode_return: episode_return > 0"
            )
        return bool(info["is_success"])

    def evaluation(self) -> CommandEvaluation:
        ended = self._ended
        reported = sorted({name for episode in ended for name in episode.infractions})
        distances = [episode.distance for episode in ended]
        return CommandEvaluation(
            successes=np.array([episode.success for episode in ended]),
            returns=np.array([episode.total_reward for episode in ended]),
            given=np.stack([episode.given for episode in ended]),
            infractions={
                name: np.array([bool(e.infractions.get(name, False)) for e in ended])
                for name in reported
            },
            distances=None if None in distances else np.array(distances, dtype=np.float64),
            confusion=self._confusion,
        )


@dataclass(frozen=True)
class ActionAgreement:
    """How far an agent does what the expert did, after one command."""

    command: int | None
    """None for goals, which are not told apart."""
    n_transitions: int
    agreement: float
    """Share of the steps with the same choice or, of continuous actions, with none of the
    components further from the expert's than the tolerance. NaN without steps."""
    mean_error: float
    """Mean absolute difference of continuous actions; the share of choices that differ."""


def action_agreement(
    model: Any, demonstrations: Demonstrations, *, tolerance: float = 0.1
) -> list[ActionAgreement]:
    """Compare an agent's actions with demonstrated ones, command by command.

    :param model: anything with SB3's `predict` and without a memory, given raw observations
    :param demonstrations: best those that it was not trained on
    :param tolerance: greatest difference of continuous actions that counts as agreement, as a share
        of half the range of each component
    :raises InapplicableError: the demonstrations have no command, or actions of another kind
    """
    commands = commands_of(demonstrations)
    errors, agree = compare_actions(model, demonstrations, tolerance)
    space = command_space(demonstrations.observation_space, "action_agreement")
    if not isinstance(space, spaces.Discrete):
        return [ActionAgreement(None, len(agree), float(agree.mean()), float(errors.mean()))]
    found = []
    for command in range(int(space.n)):
        rows = commands.reshape(-1) == command
        n_rows = int(rows.sum())
        means = [float(column[rows].mean()) if n_rows else np.nan for column in (agree, errors)]
        found.append(ActionAgreement(command, n_rows, *means))
    return found
