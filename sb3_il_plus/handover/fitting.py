"""Which of SB3's algorithms can go on with a policy.

An algorithm's `policy_aliases` are the policies that it is made for. The nearest of a policy's
ancestors that any algorithm names decides: a recurrent policy is an `ActorCriticPolicy`, too, but
PPO cannot run it.
"""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.registry import registry

_FIRST = ("ppo", "td3")
"""What is taken by default where several fit."""


def find_algorithm(algorithm: type[BaseAlgorithm] | str) -> type[BaseAlgorithm]:
    """The class of an online RL algorithm, given by its name or as it is.

    :raises InapplicableError: it is no online RL algorithm
    """
    if isinstance(algorithm, str):
        return registry.get_online(algorithm, "algorithm_class").load()
    if not (isinstance(algorithm, type) and issubclass(algorithm, BaseAlgorithm)):
        raise InapplicableError(
            f"{algorithm!r} is no SB3 algorithm; pass a class such as PPO, or a name such as 'ppo'"
        )
    return algorithm


def fitting_names(policy_class: type[BasePolicy]) -> list[str]:
    """Names of the registered online RL algorithms that can go on with a policy."""
    distances: dict[str, int] = {}
    for spec in registry.list_algorithms(family="online_rl"):
        try:
            distance = _distance(spec.load(), policy_class)
        except ImportError:  # an extra that is not installed
            continue
        if distance is not None:
            distances[spec.name] = distance
    nearest = min(distances.values(), default=None)
    return [name for name, distance in distances.items() if distance == nearest]


def default_algorithm(policy_class: type[BasePolicy], model: Any) -> type[BaseAlgorithm]:
    """The algorithm that a policy was most probably made for.

    :param model: whose policy it is, for the message
    :raises InapplicableError: there is none
    """
    names = fitting_names(policy_class)
    if not names:
        raise InapplicableError(
            f"no SB3 algorithm can go on with the {policy_class.__name__} of "
            f"{type(model).__name__}; clone it with BC into a policy that one can"
        )
    return registry.get(next((name for name in _FIRST if name in names), names[0])).load()


def check_fits(algorithm: type[BaseAlgorithm], policy_class: type[BasePolicy], model: Any) -> None:
    """Refuse an algorithm that cannot go on with a policy.

    :param model: whose policy it is, for the message
    :raises InapplicableError: it cannot; the message names those that can
    """
    names = fitting_names(policy_class)
    distance = _distance(algorithm, policy_class)
    nearest = {_distance(registry.get(name).load(), policy_class) for name in names}
    if distance is not None and nearest <= {distance}:
        return
    wanted = f"{algorithm.__name__.lower()!r}"
    ways = {"policy_of": f"policy_of={wanted}", "generator": f"generator={wanted}"}
    hints = [f"; {way} makes one that does" for name, way in ways.items() if hasattr(model, name)]
    raise InapplicableError(
        f"{algorithm.__name__} cannot go on with the {policy_class.__name__} of "
        f"{type(model).__name__}; {', '.join(map(repr, names)) or 'no SB3 algorithm'} can"
        f"{''.join(hints)}"
    )


def _distance(algorithm: type[BaseAlgorithm], policy_class: type[BasePolicy]) -> int | None:
    """Generations between a policy and the nearest one that the algorithm names."""
    named = set(algorithm.policy_aliases.values())
    return next((i for i, each in enumerate(policy_class.__mro__) if each in named), None)
