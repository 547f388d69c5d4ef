"""Checks: counting, learning, repeating and logging."""

from __future__ import annotations

import csv
import importlib.util
import json
import math

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.testing.check import (
    Check,
    acts_in_environment,
    expect,
    learns_from_demonstrator,
    observes_vectors,
)
from sb3_il_plus.testing.environments import HORIZON, steps_taken
from sb3_il_plus.testing.task import Task, differing, named_tensors


def check_timesteps_counted(task: Task) -> None:
    """`num_timesteps` is what the environment counted itself, or the number of updates."""
    for n_envs in (1, 2):
        env = task.env(n_envs)
        model = task.trained(env)
        before, model = model.num_timesteps, model.learn(task.timesteps, reset_num_timesteps=False)
        expect(
            before >= task.timesteps and model.num_timesteps >= before + task.timesteps,
            f"num_timesteps is {before} after learn({task.timesteps}) and {model.num_timesteps} "
            "after the same again with reset_num_timesteps=False",
        )
        if acts_in_environment(task.spec):
            taken = steps_taken(env)
            expect(
                model.num_timesteps == taken,
                f"num_timesteps is {model.num_timesteps}, {n_envs} environments counted {taken}",
            )
        else:
            expect(
                model.num_timesteps == model._n_updates == 2 * task.timesteps,
                f"num_timesteps is {model.num_timesteps} and _n_updates {model._n_updates} after "
                f"{2 * task.timesteps} gradient updates",
            )


def check_timesteps_reset(task: Task) -> None:
    """By default, `learn` counts from zero again."""
    model = task.trained()
    first = model.num_timesteps
    model.learn(task.timesteps)
    expect(
        model.num_timesteps == first,
        f"num_timesteps is {first} after learn() and {model.num_timesteps} after another one",
    )


def check_policy_changes(task: Task) -> None:
    """Learning changes the policy and leaves it finite."""
    model = task.model()
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(2 * task.timesteps)
    after = model.policy.state_dict()
    expect(differing(before, after), f"learn({2 * task.timesteps}) changed no weight of the policy")
    bad = [name for name, value in named_tensors(after) if not th.isfinite(value).all()]
    expect(not bad, f"after learning, {bad} are not finite")


def check_learns(task: Task) -> None:
    """Given some time, it plays the echo task far better than chance (half the expert's return)."""
    model, mean = task.model(learning_rate=3e-3), -math.inf
    for _ in range(20):
        model.learn(4 * task.timesteps, reset_num_timesteps=False)
        returns, _ = evaluate_policy(
            model, task.env(), n_eval_episodes=8, return_episode_rewards=True, warn=False
        )
        mean = float(np.mean(returns))
        if mean >= 0.75 * HORIZON:
            break
    expect(
        mean >= 0.75 * HORIZON,
        f"after {model.num_timesteps} timesteps the mean return is {mean:.2f}; "
        f"the expert's is {HORIZON}, that of random actions about {HORIZON / 2}",
    )


def check_seed(task: Task) -> None:
    """The same seed gives the same model, bit for bit; another seed another one."""
    first, again, other = (
        task.trained(seed=seed).get_parameters() for seed in (task.seed, task.seed, task.seed + 1)
    )
    expect(
        not (names := differing(first, again)), f"two trainings with one seed differ in {names[:5]}"
    )
    expect(differing(first["policy"], other["policy"]), "the seed changes nothing")


def check_set_random_seed(task: Task) -> None:
    """`set_random_seed` makes sampled actions repeatable."""
    model = task.model()
    observations, sampled = task.observations(), []
    for _ in range(2):
        model.set_random_seed(task.seed + 7)
        sampled.append(model.predict(observations, deterministic=False)[0])
    expect(
        np.array_equal(*sampled),
        f"after set_random_seed() the same observations led to {sampled[0]} and {sampled[1]}",
    )


def check_set_env(task: Task) -> None:
    """After `set_env`, it goes on in the new environment and nowhere else."""
    old, new = task.env(), task.env()
    model = task.trained(old)
    before, counted = model.num_timesteps, steps_taken(old)
    model.set_env(new)
    expect(model.get_env().unwrapped is new.unwrapped, "get_env() is not what set_env() was given")
    model.learn(task.timesteps, reset_num_timesteps=False)
    done = model.num_timesteps - before
    if acts_in_environment(task.spec):
        expect(
            steps_taken(new) == done and steps_taken(old) == counted,
            f"of {done} steps after set_env(), {steps_taken(new)} were taken in the new "
            f"environment and {steps_taken(old) - counted} in the old one",
        )


def check_monitor(task: Task) -> None:
    """Episodes seen by `Monitor` arrive in `ep_info_buffer`, with the environment's own reward."""
    model = task.trained()
    episodes = list(model.ep_info_buffer)
    expect(episodes, f"ep_info_buffer is empty after {model.num_timesteps} steps")
    lengths, returns = {info["l"] for info in episodes}, [info["r"] for info in episodes]
    expect(
        lengths == {HORIZON} and 0 <= min(returns) <= max(returns) <= HORIZON,
        f"ep_info_buffer holds episodes of length {lengths} with returns {returns}; all episodes "
        f"have {HORIZON} steps and returns within 0 and {HORIZON}",
    )


def check_vec_normalize(task: Task) -> None:
    """It learns, is evaluated and predicts inside `VecNormalize`, which sees what it is shown."""
    entries = ["bit"] if task.observation == "Dict" else None
    env = VecNormalize(task.env(2), norm_obs_keys=entries)
    other = VecNormalize(task.env(), norm_obs_keys=entries, training=False)
    model = task.model(env)
    model.learn(task.timesteps, callback=EvalCallback(other, eval_freq=10, verbose=0, warn=False))
    expect(model.get_vec_normalize_env() is env, "get_vec_normalize_env() is not the wrapper")
    seen, synchronised = (_statistics(wrapper, entries) for wrapper in (env, other))
    if acts_in_environment(task.spec):
        expect(
            seen.count >= model.num_timesteps,
            f"VecNormalize has seen {seen.count:.0f} of {model.num_timesteps} observations",
        )
        expect(synchronised.count > 1, "EvalCallback did not hand its environment the statistics")
    returns, _ = evaluate_policy(model, other, 2, return_episode_rewards=True, warn=False)
    expect(np.isfinite(returns).all(), f"evaluate_policy() in VecNormalize returns {returns}")


def _statistics(env: VecNormalize, entries: list[str] | None) -> RunningMeanStd:
    statistics = (
        env.obs_rms[entries[0]] if entries and isinstance(env.obs_rms, dict) else env.obs_rms
    )
    assert isinstance(statistics, RunningMeanStd)
    return statistics


def check_evaluate_policy(task: Task) -> None:
    """SB3's `evaluate_policy` plays whole episodes, single and vectorised."""
    model = task.model()
    for n_envs in (1, 2):
        returns, lengths = evaluate_policy(
            model, task.env(n_envs), n_eval_episodes=4, return_episode_rewards=True
        )
        expect(
            lengths == [HORIZON] * 4 and np.isfinite(returns).all(),
            f"evaluate_policy() returns {returns} with lengths {lengths} of {n_envs} environments",
        )


def check_set_logger(task: Task) -> None:
    """A logger made by SB3's `configure` receives everything."""
    model = task.model()
    model.set_logger(configure(str(task.folder), ["csv"]))
    model.learn(task.timesteps, log_interval=1)
    model.logger.close()
    with (task.folder / "progress.csv").open(newline="") as written:
        columns = next(csv.reader(written))
    expect("time/total_timesteps" in columns, f"progress.csv lacks time/total_timesteps: {columns}")
    expect(
        any(name.startswith("train/") for name in columns),
        f"progress.csv has no column train/...: {columns}",
    )


def check_tensorboard(task: Task) -> None:
    """`tensorboard_log=` and `tb_log_name=` write curves where SB3 would."""
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    model = task.model(tensorboard_log=str(task.folder))
    model.learn(task.timesteps, log_interval=1, tb_log_name="named")
    model.logger.close()
    expect(
        (task.folder / "named_1").is_dir(),
        f"no folder named_1 in tensorboard_log, but {[p.name for p in task.folder.iterdir()]}",
    )
    events = EventAccumulator(str(task.folder / "named_1")).Reload()
    tags = events.Tags()["scalars"]
    expect(any(tag.startswith("train/") for tag in tags), f"no curve train/... among {tags}")


def check_history(task: Task) -> None:
    """`model.history` holds everything logged, as JSON-like rows."""
    model = task.model()
    model.learn(task.timesteps, log_interval=1)
    rows = json.loads(json.dumps(model.history))
    expect(rows == model.history and rows, f"history does not survive JSON: {model.history[:2]}")
    names = {name for row in rows for name in row}
    expect(any(name.startswith("train/") for name in names), f"history has no train/...: {names}")
    steps = [row["timesteps"] for row in rows]
    expect(
        steps == sorted(steps) and steps[-1] <= model.num_timesteps,
        f"the timesteps of history are {steps}; num_timesteps is {model.num_timesteps}",
    )


def _logs_to_tensorboard(spec: AlgorithmSpec) -> bool:
    return importlib.util.find_spec("tensorboard") is not None


CHECKS = (
    Check(check_timesteps_counted),
    Check(check_timesteps_reset),
    Check(check_policy_changes),
    Check(check_learns, learns_from_demonstrator),
    Check(check_seed),
    Check(check_set_random_seed),
    Check(check_set_env),
    Check(check_monitor, acts_in_environment),
    Check(check_vec_normalize, observes_vectors),
    Check(check_evaluate_policy),
    Check(check_set_logger),
    Check(check_tensorboard, _logs_to_tensorboard),
    Check(check_history, learns_from_demonstrator),
)
