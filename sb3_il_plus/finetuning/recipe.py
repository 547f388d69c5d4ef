"""`finetune`: from an imitator to reinforcement learning in one call, without a collapse.

What a cloned policy can do is usually lost in the first updates (Stable-Baselines3 issue 543): its
critic knows nothing yet, and off-policy algorithms begin with random actions and an empty replay
buffer. So here the critic learns first, from demonstrations and then with the actor frozen; the
actor is then held near the imitator, less and less; and all actions are the policy's own from the
beginning.
"""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback

from sb3_il_plus.data.replay_mixing import fill_replay_buffer
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import UserError
from sb3_il_plus.finetuning.callbacks import Anchor, CriticWarmup
from sb3_il_plus.finetuning.critic import can_fit_critic, fit_critic
from sb3_il_plus.handover.to_sb3 import HandsOver

WARMUP = 0.1
ANCHORED = 0.5
"""Shares of the training, where nothing else is asked for."""


def finetune(
    model: BaseAlgorithm,
    env: GymEnv | str | None,
    total_timesteps: int,
    algorithm_class: type[BaseAlgorithm] | str | None = None,
    *,
    warmup_timesteps: int | None = None,
    anchor_weight: float = 1.0,
    anchor_timesteps: int | None = None,
    demonstrations: Any = None,
    critic_updates: int = 2_000,
    initial_std: float | None = None,
    callback: MaybeCallback = None,
    learn_kwargs: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Go on with reinforcement learning from the environment's reward, and keep what was learned.

    :param model: any of our models with a policy (`BC`, `DAgger`, `GAIL`, `IQL`, ...), or a plain
        SB3 model that has such weights already
    :param env: to learn in; None for the model's own
    :param total_timesteps: environment steps
    :param algorithm_class: SB3's, see `to_sb3`
    :param warmup_timesteps: environment steps in which only the critic learns (`CriticWarmup`);
        None for a tenth of all, 0 for none
    :param anchor_weight: of the distance from the imitator in the actor's loss at first (`Anchor`);
        0 for none
    :param anchor_timesteps: environment steps after the warm-up over which it decays; None for half
        of all
    :param demonstrations: with rewards, for the replay buffer of an off-policy algorithm, whose
        critic then learns from the first step on, or for the critic of an on-policy one
        (`fit_critic`); None for those that `model` has
    :param critic_updates: of an on-policy critic on demonstrations, before the first step; 0 for
        none
    :param initial_std: standard deviation of actions at first, for on-policy algorithms and
        continuous actions; None for the imitator's
    :param callback: yours, as in SB3
    :param learn_kwargs: other arguments of `learn`, such as `{"progress_bar": True}`
    :param kwargs: of the constructor of `algorithm_class`
    :return: SB3's model, trained
    :raises InapplicableError: the algorithm cannot go on with this policy, or changes it by other
        means than an optimiser (TRPO)
    """
    if total_timesteps < 1:
        raise UserError(f"total_timesteps={total_timesteps} must be at least 1")
    if critic_updates < 0:
        raise UserError(f"critic_updates={critic_updates} must be at least 0")
    warmup = int(WARMUP * total_timesteps) if warmup_timesteps is None else warmup_timesteps
    decay = int(ANCHORED * total_timesteps) if anchor_timesteps is None else anchor_timesteps
    parts: list[Any] = [Anchor(anchor_weight, decay, delay=warmup), CriticWarmup(warmup)]
    learner = _prepare(model, env, algorithm_class, kwargs)
    if initial_std is not None:
        set_std(learner, initial_std)
    _show_demonstrations(learner, model, demonstrations, critic_updates)
    callbacks = CallbackList([*parts, *([] if callback is None else [_as_callback(callback)])])
    return learner.learn(total_timesteps, callback=callbacks, **(learn_kwargs or {}))


def set_std(model: Any, std: float) -> None:
    """Let an on-policy algorithm explore with a given deviation of its actions.

    Cloning an expert that does the same every time leaves next to no deviation to learn from.

    :raises UserError: the deviation is not positive, or is none that a number can set
    """
    log_std = getattr(model.policy, "log_std", None)
    if std <= 0 or not isinstance(log_std, th.nn.Parameter):
        raise UserError(
            f"initial_std={std} must be positive, and is for on-policy algorithms with continuous "
            f"actions; {type(model).__name__} acts here by a {type(model.policy).__name__}"
        )
    with th.no_grad():
        log_std.fill_(float(th.tensor(std).log()))


def _prepare(
    model: Any,
    env: GymEnv | str | None,
    algorithm_class: type[BaseAlgorithm] | str | None,
    kwargs: dict[str, Any],
) -> Any:
    if isinstance(model, HandsOver):
        return model.to_sb3(algorithm_class, env, **kwargs)
    if not isinstance(model, (OnPolicyAlgorithm, OffPolicyAlgorithm)):
        raise UserError(
            f"finetune() begins with one of our models or one of SB3's, not with {model!r}"
        )
    if kwargs or algorithm_class is not None:
        given = [*(["algorithm_class"] if algorithm_class is not None else []), *kwargs]
        raise UserError(
            f"{', '.join(given)}: a {type(model).__name__} of SB3 is fine-tuned as it is; build it "
            "with these arguments"
        )
    if env is not None:
        model.set_env(make_env(env) if isinstance(env, str) else env)
    return model


def _show_demonstrations(
    learner: Any, model: Any, demonstrations: Any, critic_updates: int
) -> None:
    """Let the critic learn from demonstrations, where there are any with rewards.

    The model's own do not go into a replay buffer that holds something already.
    """
    off_policy = isinstance(learner, OffPolicyAlgorithm)
    if demonstrations is None:
        own = getattr(model, "demonstrations", None)
        if own is None or own.rewards is None or (off_policy and learner.replay_buffer.size()):
            return
        demonstrations = own
    if off_policy:
        fill_replay_buffer(learner, demonstrations)
    elif critic_updates and can_fit_critic(learner):
        fit_critic(learner, demonstrations, critic_updates)


def _as_callback(callback: Any) -> BaseCallback:
    if isinstance(callback, BaseCallback):
        return callback
    return CallbackList(callback) if isinstance(callback, list) else ConvertCallback(callback)
