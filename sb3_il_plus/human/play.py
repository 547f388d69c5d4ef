"""`PlaySession`: a person drives an environment by keys, alone or taking over from a learner.

It steps the environment, records, and answers the keys that steer it; who draws frames and reads
the keyboard is a front end's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.recorder import EpisodeRecorder
from sb3_il_plus.errors import UserError
from sb3_il_plus.human.game import View, rendered
from sb3_il_plus.human.keys import CONTROLS, KeyMap, show_action
from sb3_il_plus.human.recording import Recording
from sb3_il_plus.randomness import child_seed

Act = Callable[[Any], np.ndarray]
"""From one observation to one action."""


class PlaySession:
    """One person in one environment, recorded.

    :param env: with `render_mode="rgb_array"`, where there shall be frames
    :param keys: what keys mean
    :param recording: where episodes go
    :param learner: acts while no key is held; interventions are then marked, as in HG-DAgger
        (Kelly et al. 2019). None where the person always acts
    :param n_episodes: the session ends when the recording has so many that ended by themselves
    :param n_steps: or when it has so many steps, in the middle of an episode
    :param fps: steps in a second; None for the environment's own
    :param turns: wait for a key before each step; None as the map says
    :param seed: of the environment
    """

    def __init__(
        self,
        env: gym.Env,
        keys: KeyMap,
        recording: Recording,
        *,
        learner: Act | None = None,
        n_episodes: int | None = None,
        n_steps: int | None = None,
        fps: float | None = None,
        turns: bool | None = None,
        seed: int = 0,
    ) -> None:
        if fps is not None and not 0 < fps <= 1000:
            raise UserError(f"fps={fps} must lie within (0, 1000]")
        self.env, self.keys, self.recording, self.learner = env, keys, recording, learner
        self.n_episodes, self.n_steps = n_episodes, n_steps
        self.fps = float(fps or env.metadata.get("render_fps") or 30)
        self.turns = keys.turns if turns is None else turns
        self.finished = False
        self._phase = "ready"
        self._held: list[str] = []
        self._tapped: list[str] = []
        self._took_over = False
        self._frame: np.ndarray | None = None
        self._last_action: np.ndarray | None = None
        self._observation: Any = None
        self._count = self._steps = 0
        self._return = 0.0
        self._message = ""
        if recording.resumed:
            self._message = f"{recording.path} is continued: {recording.n_episodes} episodes so far"
        self._recorder = EpisodeRecorder(env.observation_space, env.action_space)
        self._reset(child_seed(seed, f"recording from {recording.n_episodes}"))
        self._check_amounts()

    # -- keys ------------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """A key goes down: it steers the session, acts, or means nothing."""
        if self.finished:
            return
        if key in CONTROLS:
            self._control(key)
        elif not self.keys.knows(key):
            self._message = f"the key {key!r} means nothing here: {self.keys.describe()}"
        elif self._phase == "paused":
            self._message = "paused: p goes on"
        else:
            self._message = ""
            self._phase = "playing"
            if key not in self._held:
                self._held.append(key)
            self._tapped.append(key)
            if self.turns:
                self._step()

    def release(self, key: str) -> None:
        """A key goes up."""
        if key in self._held:
            self._held.remove(key)

    def leave(self) -> None:
        """Pause, and keep the episode in progress, until the person is back."""
        self._held, self._tapped = [], []
        if self._phase == "playing" and not self.turns:
            self._phase = "paused"
            self._message = "paused while nobody was here: p goes on"
        self.recording.note_running(self._running(), at_once=True)

    def _control(self, key: str) -> None:
        self._message = ""
        if key == "escape":
            self.stop()
        elif key == "backspace":
            self._discard()
        elif key == "p":
            self._phase = {"playing": "paused", "paused": "playing"}.get(self._phase, self._phase)
        elif key == "enter":
            self._go_on()
        elif self.learner is None:
            self._message = "there is no learner to hand over to"
        else:
            self._took_over = not self._took_over
            self._message = "you act" if self._took_over else "the learner acts"

    def _go_on(self) -> None:
        if self.turns and self._phase != "paused":
            self._phase = "playing"
            self._step()
        elif self.learner is None and self.keys.idle is None and self._last_action is None:
            self._message = f"begin with a key: {self.keys.describe()}"
        else:
            self._phase = "playing"

    # -- steps -----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Take a step, unless the session waits for a key."""
        if self._phase == "playing" and not self.turns and not self.finished:
            self._step()

    def _step(self) -> None:
        held = [*self._held, *(key for key in self._tapped if key not in self._held)]
        intervened = self.learner is None or self._took_over or bool(held)
        action = self.keys.action(held, self._last_action)
        self._tapped = []
        if not intervened or action is None:
            if self.learner is None:
                self._message = f"begin with a key: {self.keys.describe()}"
                return
            intervened, action = False, np.asarray(self.learner(self._observation))
        self._last_action = action
        observation, reward, terminated, truncated, _ = self.env.step(_plain(action))
        done = terminated or truncated
        end = {"terminal_observation": observation, "TimeLimit.truncated": not terminated}
        self._recorder.add(
            action[None],
            np.array([reward]),
            np.array([done]),
            [end],
            _row(observation),
            intervened=None if self.learner is None else np.array([intervened]),
        )
        self._observation, self._frame = observation, None
        self._count += 1
        self._steps += 1
        self._return += float(reward)
        if done:
            self._end_episode()
        elif self.recording.due:
            self.recording.note_running(self._running())
        self._check_amounts()

    def _end_episode(self) -> None:
        episode = self._recorder.demonstrations(metadata=self.recording.metadata)
        assert episode is not None
        self.recording.append(episode)
        self._message = (
            f"episode {self.recording.n_episodes} saved: {self._steps} steps, return "
            f"{self._return:.1f}"
        )
        self._reset()

    def _reset(self, seed: int | None = None) -> None:
        self._observation, _ = self.env.reset(seed=seed)
        self._recorder.forget_finished()
        self._recorder.reset(_row(self._observation))
        self._frame, self._last_action = None, None
        self._held, self._tapped, self._took_over = [], [], False
        self._steps, self._return = 0, 0.0
        self._phase = "ready"

    def _running(self) -> Demonstrations | None:
        """The episode in progress; None before its first step."""
        return self._recorder.demonstrations(keep_unfinished=True, metadata=self.recording.metadata)

    def _discard(self) -> None:
        if self._steps:
            self._message = f"the episode in progress ({self._steps} steps) is taken back"
            self.recording.note_running(None)
            self._reset()
        elif self.recording.discard_last():
            self._message = f"the last episode is taken back; {self.recording.n_episodes} are left"
        else:
            self._message = "there is no episode to take back"

    def _check_amounts(self) -> None:
        """End the session where it has recorded enough."""
        enough = self.n_episodes is not None and self.recording.n_complete >= self.n_episodes
        n_steps = self.recording.n_steps + self._steps
        if enough or (self.n_steps is not None and n_steps >= self.n_steps):
            self.stop()

    def stop(self) -> None:
        """Keep the episode in progress as one that was cut, and end the session."""
        if self.finished:
            return
        running = self._running()
        if running is not None:
            self.recording.append(running)
        self._steps = 0
        self.finished, self._phase = True, "finished"

    def close(self) -> None:
        """As `stop`."""
        self.stop()

    # -- what to see -----------------------------------------------------------------------------

    def view(self) -> View:
        """Where the session is, and what the keys do."""
        done, wanted = self.recording.n_complete, self.n_episodes
        total = "" if wanted is None else f" of {wanted}"
        mission = getattr(self.env.unwrapped, "mission", "")  # as MiniGrid and Driving call it
        shown = show_observation(self._observation)
        who = ""
        if self.learner is not None:
            who = "you act, " if self._took_over or self._held else "the learner acts, "
        return View(
            headline=f"episode {done + 1}{total}: {who}step {self._steps}, "
            f"return {self._return:.1f}",
            detail=f"{mission}: {shown}" if mission else shown,
            keys=self._keys_text(),
            message=self._message,
            phase=self._phase,
            count=self._count,
        )

    def _keys_text(self) -> str:
        shown = {key: text for key, text in CONTROLS.items() if self.learner or key != "tab"}
        return "; ".join(
            [self.keys.describe(), ", ".join(f"{key}: {text}" for key, text in shown.items())]
        )

    def frame(self) -> np.ndarray | None:
        """What the environment shows."""
        if self._frame is None:
            self._frame = rendered(self.env)
        return self._frame


def show_observation(observation: Any, most: int = 12) -> str:
    """The numbers of an observation, where they are few."""
    parts = []
    for name, values in col.named(observation):
        array = np.asarray(values)
        shown = show_action(array) if array.size <= most else f"{array.shape} {array.dtype}"
        label = name.removeprefix("observations['").removesuffix("']")
        parts.append(f"{label} {shown}" if isinstance(observation, dict) else shown)
    return ", ".join(parts)


def _row(observation: Any) -> Any:
    """A batch of one."""
    return col.map_columns(lambda part: np.asarray(part)[None], observation)


def _plain(action: np.ndarray) -> Any:
    """As environments take it: choices as integers."""
    return action if action.shape else action.item()
