"""Checks: SB3's callbacks, unchanged, with our model in them."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)

from sb3_il_plus.testing.check import Check, acts_in_environment, expect
from sb3_il_plus.testing.environments import HORIZON
from sb3_il_plus.testing.task import Task

_LONG = 20
"""Short trainings within a long one, which a callback stops."""


class _Recorder(BaseCallback):
    """Writes down its events, and stops training at a call.

    :param stop_at: number of the call to `on_step` that returns False
    """

    def __init__(self, stop_at: float = math.inf) -> None:
        super().__init__()
        self.stop_at = stop_at
        self.events: list[str] = []
        self.models: list[Any] = []
        self.timesteps: list[int] = []

    def _record(self, event: str) -> None:
        self.events.append(event)
        self.models.append(self.model)

    def _on_training_start(self) -> None:
        self._record("training_start")

    def _on_rollout_start(self) -> None:
        self._record("rollout_start")

    def _on_step(self) -> bool:
        self._record("step")
        self.timesteps.append(self.num_timesteps)
        return self.n_calls < self.stop_at

    def _on_rollout_end(self) -> None:
        self._record("rollout_end")

    def _on_training_end(self) -> None:
        self._record("training_end")


def check_callback_events(task: Task) -> None:
    """Start, steps and end reach a callback, whose model is ours."""
    recorder = _Recorder()
    model = task.model(task.env(2))
    model.learn(task.timesteps, callback=recorder)
    events = recorder.events
    others = [type(seen).__name__ for seen in recorder.models if seen is not model]
    expect(not others, f"callback.model was a {others[:1]}, not the model that learns")
    for event in ("training_start", "training_end"):
        expect(events.count(event) == 1, f"on_{event} was called {events.count(event)} times")
    expect(
        events[0] == "training_start" and events[-1] == "training_end",
        f"the first and last events are {events[0]} and {events[-1]}",
    )
    expect(
        events.count("rollout_start") >= events.count("rollout_end"),
        f"{events.count('rollout_start')} rollouts started, {events.count('rollout_end')} ended",
    )
    expect(
        not acts_in_environment(task.spec) or "rollout_start" in events,
        "on_rollout_start was never called",
    )


def check_callback_sees_every_timestep(task: Task) -> None:
    """`on_step` is called for every step of the environments, or every gradient update."""
    recorder, n_envs = _Recorder(), 2
    model = task.model(task.env(n_envs))
    model.learn(task.timesteps, callback=recorder)
    per_call = n_envs if acts_in_environment(task.spec) else 1
    expected = list(range(per_call, model.num_timesteps + 1, per_call))
    expect(
        recorder.timesteps == expected,
        f"on_step was called {len(recorder.timesteps)} times, at the timesteps "
        f"{recorder.timesteps[:4]}...; {len(expected)} calls were expected, at {expected[:4]}...",
    )


def check_callback_stops(task: Task) -> None:
    """Training ends with the call that returned False."""
    recorder = _Recorder(stop_at=5)
    model = task.model()
    model.learn(_LONG * task.timesteps, callback=recorder)
    expect(
        recorder.n_calls == model.num_timesteps == 5,
        f"on_step returned False at call 5; it was called {recorder.n_calls} times, and training "
        f"ended at timestep {model.num_timesteps}",
    )
    expect(recorder.events[-1] == "training_end", "on_training_end was not called")


def check_callback_function(task: Task) -> None:
    """A plain function of (locals, globals) is a callback, and can stop training."""
    calls = []

    def stop_at_third(local_variables: dict, global_variables: dict) -> bool:
        calls.append(local_variables)
        return len(calls) < 3

    model = task.model()
    model.learn(_LONG * task.timesteps, callback=stop_at_third)
    expect(
        len(calls) == model.num_timesteps == 3,
        f"a function that returned False at call 3 was called {len(calls)} times",
    )


def check_callback_list(task: Task) -> None:
    """A list of callbacks and a `CallbackList` reach all of them."""
    for wrap in (list, CallbackList):
        recorders: list[BaseCallback] = [_Recorder(), _Recorder()]
        model = task.model()
        model.learn(task.timesteps, callback=wrap(recorders))
        calls = [recorder.n_calls for recorder in recorders]
        expect(
            calls == [model.num_timesteps] * 2,
            f"two callbacks in a {wrap.__name__} were called {calls} times in "
            f"{model.num_timesteps} timesteps",
        )


def check_eval_callback(task: Task) -> None:
    """`EvalCallback` evaluates, saves the best and lets `StopTrainingOnRewardThreshold` stop."""
    stop = StopTrainingOnRewardThreshold(reward_threshold=-math.inf)
    evaluation = EvalCallback(
        task.env(),
        callback_on_new_best=stop,
        n_eval_episodes=2,
        eval_freq=5,
        log_path=str(task.folder),
        best_model_save_path=str(task.folder),
        verbose=0,
        warn=False,
    )
    model = task.model()
    model.learn(_LONG * task.timesteps, callback=evaluation)
    expect(
        model.num_timesteps == 5,
        "an EvalCallback with eval_freq=5 and StopTrainingOnRewardThreshold(-inf) stopped at "
        f"timestep {model.num_timesteps}",
    )
    with np.load(task.folder / "evaluations.npz") as written:
        lengths = written["ep_lengths"].tolist()
    expect(lengths == [[HORIZON] * 2], f"evaluations.npz holds the lengths {lengths}")
    task.load(task.folder / "best_model.zip").predict(task.observations())


def check_checkpoint_callback(task: Task) -> None:
    """`CheckpointCallback` writes files that `load` reads, with their timestep."""
    every = task.timesteps // 3
    model = task.model()
    model.learn(task.timesteps, callback=CheckpointCallback(every, str(task.folder), "saved"))
    names = sorted(path.name for path in task.folder.iterdir())
    expected = {f"saved_{n * every}_steps.zip" for n in (1, 2, 3)}
    expect(expected <= set(names), f"CheckpointCallback wrote {names}, expected {expected}")
    task.load(task.folder / f"saved_{3 * every}_steps.zip").predict(task.observations())


def check_stop_on_max_episodes(task: Task) -> None:
    """`StopTrainingOnMaxEpisodes` counts episodes; where there are none, it does no harm."""
    model = task.model()
    model.learn(task.timesteps, callback=StopTrainingOnMaxEpisodes(2))
    expected = 2 * HORIZON if acts_in_environment(task.spec) else task.timesteps
    expect(
        model.num_timesteps == expected,
        f"StopTrainingOnMaxEpisodes(2) ended at timestep {model.num_timesteps}, not {expected}",
    )


def check_progress_bar(task: Task) -> None:
    """`progress_bar=True` shows SB3's bar, up to the end."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        task.model().learn(task.timesteps, progress_bar=True)
    expect("100%" in shown.getvalue(), f"learn(progress_bar=True) showed {shown.getvalue()!r}")


CHECKS = (
    Check(check_callback_events),
    Check(check_callback_sees_every_timestep),
    Check(check_callback_stops),
    Check(check_callback_function),
    Check(check_callback_list),
    Check(check_eval_callback),
    Check(check_checkpoint_callback),
    Check(check_stop_on_max_episodes),
    Check(check_progress_bar),
)
