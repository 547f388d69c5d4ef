"""Follow-ups: rows that begin where the training of another row ended.

    algorithms:
      bc: {}
      bc, then ppo: {algorithm: ppo, follows: {row: bc, by: finetune}}

`finetune` goes on with the policy that the other row has learned, `reward` trains a new agent on
the reward that it has learned.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sb3_il_plus import registry
from sb3_il_plus.adapters.reward_files import train_on_reward
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import UserError, suggest
from sb3_il_plus.finetuning.recipe import finetune
from sb3_il_plus.persistence import load_model
from sb3_il_plus.tables.jobs import Job
from sb3_il_plus.tables.runs import RunFolder

_PROCEDURES: Mapping[str, Callable[..., Any]] = {"finetune": finetune, "reward": train_on_reward}
"""How to go on: functions of the model, an environment, a budget and the class of the learner."""


def follow_up(job: Job, folder: RunFolder) -> Callable[[Any], Any]:
    """What is left to do for a row that follows another one, given a callback.

    :return: a function that trains, and gives the model
    """
    settings = job.settings
    first = load_model(folder.artifact_path("training", job.needs["training"]))
    venv = make_vec(settings["environment"], settings["n_envs"])
    procedure = _PROCEDURES[settings["follows"]["by"]]
    arguments = {**settings["hyperparameters"], **settings["follows"]["arguments"]}
    learner = registry.get(settings["algorithm"]).load()

    def train(callback: Any) -> Any:
        return procedure(
            first,
            venv,
            settings["timesteps"],
            learner,
            seed=settings["seed"],
            callback=callback,
            **arguments,
        )

    return train


def check_procedure(algorithm: str, by: str, arguments: Collection[str]) -> None:
    """Refuse what could not be trained after another row.

    :param algorithm: that shall follow
    :param arguments: names of those given to the procedure
    :raises UserError: the algorithm is none of SB3's, or an argument is unknown
    """
    registry.get_online(algorithm, "algorithm")
    known = inspect.signature(_PROCEDURES[by]).parameters
    for name in arguments:
        if name not in known:
            raise UserError(f"{by!r} has no argument {name!r}{suggest(name, sorted(known))}")
