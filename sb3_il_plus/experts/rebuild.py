"""Building a policy, and only the policy, from its class, arguments and weights.

An expert acts and never learns, so no algorithm, environment, optimizer setting or schedule is
needed. Whatever reads a file of some format ends here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch as th
from gymnasium import spaces
from sb3_contrib.ars.policies import ARSLinearPolicy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecTransposeImage

from sb3_il_plus.errors import FileError

_OF_LEARNING = frozenset({"self", "lr_schedule", "optimizer_class", "optimizer_kwargs"})
"""Arguments of a policy that have no influence on how it acts."""


def build_policy(
    policy_class: type[BasePolicy],
    observation_space: spaces.Space,
    action_space: spaces.Space,
    arguments: Mapping[str, Any],
    weights: Mapping[str, th.Tensor],
    where: str,
) -> BasePolicy:
    """Return a policy that acts as the saved one did.

    :param observation_space: as the policy sees it (image channels first)
    :param arguments: of its constructor; those that today's class lacks are left out, which the
        comparison of the weights makes safe
    :param weights: its state dict
    :param where: the file's name, for messages
    :raises FileError: arguments or weights do not fit the class and the spaces
    """
    parameters = inspect.signature(policy_class).parameters
    kept = {key: item for key, item in arguments.items() if key in parameters}
    kept = {key: item for key, item in kept.items() if key not in _OF_LEARNING}
    if "net_arch" in kept:
        kept["net_arch"] = _separate_net_arch(kept["net_arch"])
    if "lr_schedule" in parameters:
        kept["lr_schedule"] = _no_learning
    kept |= {"observation_space": observation_space, "action_space": action_space}
    with th.random.fork_rng(devices=[]):  # the initial weights are overwritten at once
        try:
            policy = policy_class(**kept)
            todays = _with_todays_names(weights, policy)
            _check_numbers(todays, policy, where)
            policy.load_state_dict(todays)
        except FileError:
            raise
        except (
            AssertionError,
            AttributeError,
            NotImplementedError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            raise FileError(
                f"{where}: the saved weights do not fit a {policy_class.__name__} for observations "
                f"{observation_space} and actions {action_space}; is it an expert of another "
                f"environment, or does the environment lack a wrapper? ({_first_lines(error)})"
            ) from error
        policy.to(get_device("auto"))
        _sample_exploration(policy)
    policy.set_training_mode(False)
    return policy


def policy_arguments(policy: BasePolicy) -> dict[str, Any]:
    """The constructor arguments with which `build_policy` makes an equal policy.

    Spaces are not among them.
    """
    arguments: dict[str, Any] = dict(policy._get_constructor_parameters())
    # SB3 and sb3-contrib leave some out, which the policy keeps as attributes.
    for name in inspect.signature(type(policy)).parameters:
        if name not in arguments and hasattr(policy, name):
            arguments[name] = getattr(policy, name)
    lstm = getattr(policy, "lstm_actor", None)
    if lstm is not None:
        arguments |= {"lstm_hidden_size": lstm.hidden_size, "n_lstm_layers": lstm.num_layers}
    unused = {*_OF_LEARNING, "observation_space", "action_space"}
    return {key: item for key, item in arguments.items() if key not in unused}


def space_of_policy(space: spaces.Space) -> spaces.Space:
    """The observation space as SB3's policies see it: image channels first."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: space_of_policy(inner) for key, inner in space.spaces.items()})
    if is_image_space(space) and not is_image_space_channels_first(space):  # type: ignore[arg-type]
        return VecTransposeImage.transpose_space(space)  # type: ignore[arg-type]
    return space


def _no_learning(progress_remaining: float) -> float:
    return 0.0


def _separate_net_arch(net_arch: Any) -> Any:
    """Today's form of an actor-critic architecture: `[dict(pi=…, vf=…)]` until SB3 1.8."""
    if not isinstance(net_arch, list) or not any(isinstance(item, dict) for item in net_arch):
        return net_arch
    if len(net_arch) > 1:
        raise FileError(
            f"its net_arch {net_arch} has layers shared between actor and critic, which "
            "stable-baselines3 1.8 removed"
        )
    return net_arch[0]


def _with_todays_names(
    weights: Mapping[str, th.Tensor], policy: BasePolicy
) -> dict[str, th.Tensor]:
    """Name the weights of files from before SB3 1.7 and sb3-contrib 1.5 as they are named now."""
    completed = dict(weights)
    linear = completed.pop("action_net.weight", None) if type(policy) is ARSLinearPolicy else None
    if linear is not None:
        completed["action_net.0.weight"] = linear
    for name in policy.state_dict():
        # One and the same features extractor is stored under three names.
        source = name.removeprefix("pi_").removeprefix("vf_")
        if name not in completed and source in completed:
            completed[name] = completed[source]
    return completed


def _check_numbers(weights: Mapping[str, Any], policy: BasePolicy, where: str) -> None:
    """Refuse what PyTorch would copy all the same: NaN, and numbers of another kind."""
    for name, own in policy.state_dict().items():
        given = weights.get(name)
        if not isinstance(given, th.Tensor):
            continue
        if given.is_floating_point() != own.is_floating_point() or given.is_complex():
            raise FileError(
                f"{where}: the weights {name} have dtype {given.dtype}, not {own.dtype}"
            )
        if not given.isfinite().all():
            raise FileError(
                f"{where}: the weights {name} are not all finite; the file is damaged, or the "
                "agent's training diverged"
            )


def _sample_exploration(policy: BasePolicy) -> None:
    """Draw the noise of gSDE again, now that its scale is the learned one (as SB3's `load`)."""
    actor: Any = getattr(policy, "actor", None) or policy
    if getattr(actor, "use_sde", False):
        actor.reset_noise()


def _first_lines(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:3])
