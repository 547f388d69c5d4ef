"""What each kind of job does, from its settings to the result that goes into its record.

Runs in a worker process, but needs none: `execute(job, folder)` is a plain function.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus import registry, serialization
from sb3_il_plus.conditional.environments.own import with_own_expert
from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.collect import collect
from sb3_il_plus.data.formats import load_for
from sb3_il_plus.datasets import make_dataset
from sb3_il_plus.environments import make_env, make_vec
from sb3_il_plus.errors import UserError
from sb3_il_plus.evaluation import Evaluation, evaluate, evaluate_random
from sb3_il_plus.experts.expert import Expert
from sb3_il_plus.experts.loading import load_expert
from sb3_il_plus.experts.training import train_expert
from sb3_il_plus.files import atomic_write
from sb3_il_plus.persistence import constructor_arguments
from sb3_il_plus.randomness import child_seed
from sb3_il_plus.tables.curve import MAX_COPIES, CurveCallback
from sb3_il_plus.tables.follow_up import follow_up
from sb3_il_plus.tables.jobs import Job, Kind, provenance
from sb3_il_plus.tables.measures import MEASURES, Subject
from sb3_il_plus.tables.runs import FAILED, FINISHED, RunFolder

_NOT_HYPERPARAMETERS = frozenset({"policy", "env", "demonstrations", "expert", "device"})


def execute(job: Job, folder: RunFolder, command: str = "") -> dict[str, Any]:
    """Do a job and write its record, be it of a result or of an error.

    :param command: what the user typed, kept in the record
    :return: the record
    """
    start = time.perf_counter()
    # Workers do many jobs: what one drew from a global generator must not matter to the next.
    set_random_seed(job.settings.get("seed", 0))
    outcome: dict[str, Any]
    try:
        outcome = {"status": FINISHED, "result": _WORK[job.kind](job, folder)}
    except Exception as error:  # an algorithm or environment of a stranger may raise anything
        traceback.print_exc()
        outcome = {"status": FAILED, "error": one_line(error), "traceback": traceback.format_exc()}
    record = {
        **job.to_json(),
        **outcome,
        "seconds": round(time.perf_counter() - start, 3),
        **provenance(command),
    }
    folder.write_record(record)
    return record


def one_line(error: BaseException) -> str:
    """An error in one line: the message of ours, and the type before a stranger's."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _make_expert(job: Job, folder: RunFolder) -> dict[str, Any]:
    settings = job.settings
    start = time.perf_counter()
    if "path" in job.inputs:
        env = make_env(settings["environment"])
        expert = load_expert(job.inputs["path"], env)
        env.close()
    else:
        expert = train_expert(
            settings["environment"],
            settings["algorithm"],
            total_timesteps=settings["timesteps"],
            hyperparameters=settings["hyperparameters"],
            seed=settings["seed"],
        )
    expert.save(folder.artifact_path(job.kind, job.id))
    return {
        "name": expert.name,
        "metadata": serialization.encode(expert.metadata),
        "loading_seconds": round(time.perf_counter() - start, 3),
    }


def _make_demonstrations(job: Job, folder: RunFolder) -> dict[str, Any]:
    settings = job.settings
    seed = settings["seed"]
    if "path" in job.inputs:
        data = load_for(job.inputs["path"], settings["environment"])
        if settings["n_episodes"] is not None:
            data = data.sample_episodes(settings["n_episodes"], seed)
    elif "recipe" in settings:
        data = _follow_recipe(job, folder)
    else:
        expert, env = _expert_and_env(job, folder)
        data = collect(
            expert,
            env,
            n_episodes=settings["n_episodes"],
            deterministic=settings["deterministic"],
            seed=seed,
        )
    if "subsample" in settings:
        data = data.subsample(settings["subsample"])
    if "corruption" in settings:
        data = data.corrupt(seed=child_seed(seed, "corruption"), **settings["corruption"])
    data.save(folder.artifact_path(job.kind, job.id))
    return {
        "n_episodes": data.n_episodes,
        "n_transitions": len(data),
        "returns": None if data.rewards is None else _finite(data.episode_returns),
    }


def _follow_recipe(job: Job, folder: RunFolder) -> Demonstrations:
    settings = job.settings
    medium = settings["medium"] or {}
    training = {
        "total_timesteps": medium.get("timesteps"),
        "hyperparameters": medium.get("hyperparameters"),
        "seed": medium.get("seed", 0),
    }
    return make_dataset(
        settings["environment"],
        settings["recipe"],
        n_episodes=settings["n_episodes"],
        n_timesteps=settings.get("n_timesteps"),
        expert=_expert_and_env(job, folder)[0],
        medium=medium.get("algorithm"),
        training=training,
        deterministic=settings["deterministic"],
        seed=settings["seed"],
    )


def _evaluate_expert(job: Job, folder: RunFolder) -> dict[str, Any]:
    settings = job.settings
    expert, env = _expert_and_env(job, folder)
    arguments = {**_evaluation_arguments(settings), "env": env}
    return _evaluation_result(evaluate(expert, **arguments), settings)


def _evaluate_random(job: Job, folder: RunFolder) -> dict[str, Any]:
    settings = job.settings
    return _evaluation_result(evaluate_random(**_evaluation_arguments(settings)), settings)


def _train(job: Job, folder: RunFolder) -> dict[str, Any]:
    settings, seed = job.settings, job.settings["seed"]
    timesteps = settings["timesteps"]
    learn = follow_up(job, folder) if "follows" in settings else _learning(job, folder)
    curve = CurveCallback(
        settings["environment"],
        timesteps,
        settings["n_curve_points"],
        settings["n_curve_episodes"],
        child_seed(seed, "learning curve"),
    )
    start = time.perf_counter()
    model = learn(curve)
    seconds = time.perf_counter() - start - curve.seconds
    final = evaluate(model, **_evaluation_arguments(settings))
    with atomic_write(folder.artifact_path(job.kind, job.id)) as file:
        model.save(file)
    points = [*curve.points, {"timesteps": model.num_timesteps, "returns": final.returns.tolist()}]
    spec = registry.get(settings["algorithm"])
    return {
        **_evaluation_result(final, settings),
        "curve": points if curve.points else [],
        "timestep": spec.timestep,
        "timesteps": model.num_timesteps,
        "environment_steps": model.num_timesteps if "environment" in spec.consumes else 0,
        "expert_queries": int(getattr(model, "n_expert_queries", 0)),
        "training_seconds": round(seconds, 3),
        "hyperparameters": effective_hyperparameters(model),
    }


def _learning(job: Job, folder: RunFolder) -> Callable[[Any], Any]:
    """What is left to do for a row that begins anew, given a callback."""
    model = _build_model(job, folder)
    return lambda callback: model.learn(job.settings["timesteps"], callback=callback)


def _build_model(job: Job, folder: RunFolder) -> Any:
    """Give an algorithm what its spec says that it consumes, and nothing else."""
    settings = job.settings
    consumes = registry.get(settings["algorithm"]).consumes
    given: dict[str, Any] = dict(settings["hyperparameters"])
    if "environment" in consumes:
        given["env"] = make_vec(settings["environment"], settings["n_envs"])
    if "expert" in consumes:
        given["expert"], env = _expert_and_env(job, folder)
        if isinstance(env, VecEnv):
            given["env"] = env
    if "demonstrations" in consumes:
        given["demonstrations"] = folder.artifact_path(
            "demonstrations", job.needs["demonstrations"]
        )
    return registry.make(settings["algorithm"], seed=settings["seed"], **given)


def _measure(job: Job, folder: RunFolder) -> dict[str, Any]:
    settings, expert = job.settings, _expert_and_env(job, folder)[0]
    agent = expert
    if "training" in job.needs:
        agent = _agent_of(job, folder, "training")
    data = Demonstrations.load(folder.artifact_path("demonstrations", job.needs["demonstrations"]))
    seed = child_seed(settings["seed"], settings["measure"])
    subject = Subject(
        agent, expert, data, settings["environment"], settings["n_eval_episodes"], seed
    )
    value = MEASURES[settings["measure"]](subject)
    if not np.isfinite(value):
        raise UserError(f"the {settings['measure']} is {value}, which is no number to compare")
    return {"value": value, "run": settings["run"], "seed": settings["seed"]}


def effective_hyperparameters(model: Any) -> dict[str, Any]:
    """The constructor's arguments as the model has them, defaults included, as plain JSON."""
    values = {}
    for name in sorted(constructor_arguments(type(model)) - _NOT_HYPERPARAMETERS):
        if hasattr(model, name):
            values[name] = serialization.encode(getattr(model, name))
    return values


def _expert_and_env(job: Job, folder: RunFolder) -> tuple[Expert, str | VecEnv]:
    """The expert, and where it acts: one that the environment brings, in the copy made for it."""
    environment = job.settings["environment"]
    if job.settings.get("own_expert"):
        return with_own_expert(environment, job.settings.get("n_envs", 1))
    return _agent_of(job, folder, "expert"), environment


def _agent_of(job: Job, folder: RunFolder, role: str) -> Expert:
    env = make_env(job.settings["environment"])
    try:
        return load_expert(folder.artifact_path(role, job.needs[role]), env)
    finally:
        env.close()


def _evaluation_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    n_episodes = settings["n_eval_episodes"]
    return {
        "env": settings["environment"],
        "n_episodes": n_episodes,
        "seed": child_seed(settings["seed"], "final evaluation"),
        "n_envs": min(MAX_COPIES, n_episodes),
    }


def _evaluation_result(evaluation: Evaluation, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "mean_return": evaluation.mean_return,
        "returns": _finite(evaluation.returns),
        "lengths": evaluation.lengths.tolist(),
        "run": settings["run"],
        "seed": settings["seed"],
    }


def _finite(returns: np.ndarray) -> list[float]:
    if not np.isfinite(returns).all():
        raise UserError("the environment gave a reward that is infinite or no number")
    values: list[float] = returns.tolist()
    return values


_WORK: dict[Kind, Callable[[Job, RunFolder], dict[str, Any]]] = {
    "expert": _make_expert,
    "demonstrations": _make_demonstrations,
    "expert evaluation": _evaluate_expert,
    "random evaluation": _evaluate_random,
    "training": _train,
    "measurement": _measure,
}
