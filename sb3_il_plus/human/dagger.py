"""`human_dagger`: DAgger with a person, in a folder, over as many days as it takes.

folder/session.json     what the session is about: environment, mode, keys, seed
       model.zip        the learner after the last round; a `DAgger` like any other
       round-000/ ...   what was driven and labelled, see `teachers.py`
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_il_plus.adapters.dagger import DAgger
from sb3_il_plus.environments import policy_alias
from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.experts.teacher import Teacher
from sb3_il_plus.files import atomic_write, check_writable
from sb3_il_plus.human.game import FrontEnd, visible_env
from sb3_il_plus.human.keys import key_map
from sb3_il_plus.human.record import FrontEndName, front_end, human_metadata
from sb3_il_plus.human.teachers import LabelLater, TakeOver

Mode = Literal["label", "take-over"]

MODEL = "model.zip"


def human_dagger(
    env_id: str,
    folder: str | Path,
    *,
    mode: Mode = "label",
    n_rounds: int = 5,
    round_steps: int = 100,
    show: FrontEndName | FrontEnd | Literal["files"] = "window",
    keys: str | Mapping[Any, Any] | None = None,
    demonstrations: Any = None,
    fps: float | None = None,
    turns: bool | None = None,
    seed: int = 0,
    front_end_options: Mapping[str, Any] | None = None,
    **hyperparameters: Any,
) -> DAgger:
    """Train with a person as DAgger's demonstrator, or go on with it where it was stopped.

    :param env_id: the environment
    :param folder: everything is kept there, at once; the same call goes on with it
    :param mode: `"label"`: the learner drives a round alone, then each state gets a label;
        `"take-over"`: the person watches it drive, and takes over
    :param n_rounds: rounds in all
    :param round_steps: steps in each
    :param show: `"window"`, `"web"`, `"terminal"`, an open front end, or `"files"`: labels are put
        into the folder by whoever, and it is waited for them
    :param keys: see `key_map`
    :param demonstrations: to begin with, such as a recording; otherwise the first round shows a
        learner that knows nothing
    :param fps: steps in a second, for taking over
    :param turns: wait for a key before each step, for taking over
    :param seed: of everything random
    :param front_end_options: of the browser's front end: `host`, `port`
    :param hyperparameters: of `DAgger`
    :return: the learner, which is also in `folder/model.zip`
    :raises SessionStopped: the person stopped; everything is kept
    :raises UserError: the folder holds another session, or something else is at work in it
    """
    folder = Path(folder)
    if mode not in ("label", "take-over"):
        raise UserError(f"mode={mode!r} must be 'label' or 'take-over'")
    if show == "files" and mode != "label":
        raise UserError("show='files' is for labels: nobody can take over by writing into files")
    facts = {
        **{"env_id": env_id, "mode": mode, "seed": seed, "round_steps": round_steps},
        "hyperparameters": {name: repr(value) for name, value in hyperparameters.items()},
    }
    env = visible_env(env_id)
    with closing(env), _locked(folder):
        mapped = key_map(env, keys)
        _check_settings(folder, facts)
        shown = None if show == "files" else front_end(show, **(front_end_options or {}))
        with nullcontext() if shown is None else closing(shown):
            teacher: Teacher = LabelLater(folder, mapped, shown)
            if mode == "take-over" and shown is not None:
                metadata = human_metadata(env_id, mapped)
                teacher = TakeOver(
                    folder, env, mapped, shown, metadata, fps=fps, turns=turns, seed=seed
                )
            arguments = {
                **hyperparameters,
                "rollout_round_min_timesteps": round_steps,
                "seed": seed,
            }
            model = _open(folder / MODEL, env_id, teacher, demonstrations, arguments)
            _run(model, folder / MODEL, n_rounds, round_steps)
    return model


def _run(model: DAgger, path: Path, n_rounds: int, round_steps: int) -> None:
    while model.round_num < n_rounds:
        number, n_labels = model.round_num, model.n_expert_queries
        model.learn(round_steps, reset_num_timesteps=number == 0)
        model.save(path)
        few = model.demonstrations is None or len(model.demonstrations) < model.batch_size
        print(
            f"round {number}: {model.n_expert_queries - n_labels} labels, "
            f"{model.n_expert_queries} in all; the learner is in {path}"
            + (f", and learns from {model.batch_size} labels on" if few else ""),
            flush=True,
        )


def _open(
    path: Path,
    env_id: str,
    teacher: Teacher,
    demonstrations: Any,
    hyperparameters: dict[str, Any],
) -> DAgger:
    """The learner of the last round that is complete, or a new one."""
    venv = DummyVecEnv([lambda: Monitor(visible_env(env_id))])
    if path.exists():
        return DAgger.load(path, env=venv, expert=teacher)
    return DAgger(
        policy_alias(venv.observation_space),
        venv,
        demonstrations,
        expert=teacher,
        **{"rollout_round_min_episodes": 0, **hyperparameters},
    )


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Note what a session is about, or make sure that it is still about the same.

    :raises UserError: it is not; names what differs
    """
    path = folder / "session.json"
    if not path.exists():
        with atomic_write(path) as file:
            file.write(json.dumps(settings, indent=1).encode())
        return
    try:
        known = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise FileError(f"{str(path)!r} cannot be read: {error}") from error
    for name, value in settings.items():
        if known.get(name) != value:
            raise UserError(
                f"the session in {str(folder)!r} was begun with {name}={known.get(name)!r}, not "
                f"{value!r}; go on with that, or choose another folder"
            )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a session's folder; the lock ends with the process."""
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock").acquire(timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"another process is at work in {str(folder)!r}; stop it, or choose another folder"
        ) from None
