"""Checks: saving, loading, going on, and moving parameters about."""

from __future__ import annotations

import io
import json
import zipfile

import torch as th

from sb3_il_plus.errors import FileError
from sb3_il_plus.persistence import load_model
from sb3_il_plus.testing.check import (
    Check,
    expect,
    expect_error,
    learns_from_demonstrator,
    needs_no_environment,
)
from sb3_il_plus.testing.environments import CODES
from sb3_il_plus.testing.task import Task, differing, same_actions


def check_save_load(task: Task) -> None:
    """A loaded model is the saved one: parameters, actions and counters."""
    model = task.trained()
    model.save(task.folder / "model")
    expect(
        (task.folder / "model.zip").is_file(),
        f"save('model') wrote {[path.name for path in task.folder.iterdir()]}, not model.zip",
    )
    loaded = task.load(task.folder / "model")
    names = differing(model.get_parameters(), loaded.get_parameters())
    expect(not names, f"loading changed {names[:5]}")
    expect(same_actions(model, loaded, task.observations()), "a loaded model chooses other actions")
    expect(
        loaded.num_timesteps == model.num_timesteps,
        f"num_timesteps is {loaded.num_timesteps} after loading, was {model.num_timesteps}",
    )


def check_learning_goes_on(task: Task) -> None:
    """A loaded model learns on in an environment, counting on."""
    model = task.trained()
    model.save(task.folder / "model.zip")
    loaded = task.load(task.folder / "model.zip", task.env())
    loaded.learn(task.timesteps, reset_num_timesteps=False)
    expect(
        loaded.num_timesteps >= model.num_timesteps + task.timesteps,
        f"num_timesteps went from {model.num_timesteps} to {loaded.num_timesteps} in "
        f"learn({task.timesteps}, reset_num_timesteps=False) after loading",
    )
    expect(
        differing(model.get_parameters(), loaded.get_parameters()),
        "a loaded model learned for a while and changed nothing",
    )


def check_resuming_is_exact(task: Task) -> None:
    """Saving, loading and going on equals never having stopped, bit for bit."""
    through = task.model(env=None)
    through.learn(task.timesteps + 5).learn(task.timesteps, reset_num_timesteps=False)
    stopped = task.model(env=None).learn(task.timesteps + 5)
    stopped.save(task.folder / "model.zip")
    resumed = task.load(task.folder / "model.zip")
    resumed.learn(task.timesteps, reset_num_timesteps=False)
    names = differing(through.get_parameters(), resumed.get_parameters())
    expect(not names, f"a resumed model differs from one that never stopped in {names[:5]}")


def check_file_is_inert(task: Task) -> None:
    """The file is plain JSON and tensors: reading it executes nothing."""
    task.trained().save(task.folder / "model.zip")
    with zipfile.ZipFile(task.folder / "model.zip") as archive:
        json.loads(archive.read("data"))
        tensors = {}
        for name in sorted(set(archive.namelist()) - {"data"}):
            expect(name.endswith(".pth"), f"the entry {name!r} is neither JSON nor tensors")
            tensors[name] = th.load(io.BytesIO(archive.read(name)), weights_only=True)
    expect("policy.pth" in tensors, f"the file has no policy.pth, only {sorted(tensors)}")


def check_load_model(task: Task) -> None:
    """`sb3_il_plus.load_model` knows the file's algorithm, and a damaged file is refused."""
    path = task.folder / "model.zip"
    task.model().save(path)
    loaded = load_model(path, **task.sources)
    expect(type(loaded) is task.cls, f"load_model() returned a {type(loaded).__name__}")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with expect_error(FileError, str(path).lower(), doing="loading half a file"):
        task.load(path)


def check_load_in_other_spaces(task: Task) -> None:
    """A model is not loaded into an environment of other spaces."""
    others = [name for name in task.spec.observation_spaces if name in CODES]
    others.remove(task.observation)
    if not others:
        return
    task.model().save(task.folder / "model.zip")
    env = task.within(observation=others[0]).env()
    with expect_error(ValueError, "space", doing=f"loading into {others[0]} observations"):
        task.cls.load(task.folder / "model.zip", env=env)


def check_parameters(task: Task) -> None:
    """`get_parameters` of one model, given to another by `set_parameters`, make them equal."""
    model, other = task.trained(), task.model(seed=task.seed + 1)
    expect(
        differing(model.get_parameters(), other.get_parameters()),
        "models of different seeds have equal parameters",
    )
    other.set_parameters(model.get_parameters())
    names = differing(model.get_parameters(), other.get_parameters())
    expect(not names, f"after set_parameters(get_parameters()), {names[:5]} differ")
    expect(
        same_actions(model, other, task.observations()),
        "after set_parameters(get_parameters()), the models choose different actions",
    )


def check_parameters_from_file(task: Task) -> None:
    """`set_parameters` reads a saved file, too."""
    model, other = task.trained(), task.model(seed=task.seed + 1)
    model.save(task.folder / "model.zip")
    other.set_parameters(str(task.folder / "model.zip"))
    names = differing(model.get_parameters(), other.get_parameters())
    expect(not names, f"after set_parameters(file), {names[:5]} differ")


CHECKS = (
    Check(check_save_load),
    Check(check_learning_goes_on),
    Check(check_resuming_is_exact, needs_no_environment),
    Check(check_file_is_inert, learns_from_demonstrator),
    Check(check_load_model, learns_from_demonstrator),
    Check(check_load_in_other_spaces),
    Check(check_parameters),
    Check(check_parameters_from_file),
)
