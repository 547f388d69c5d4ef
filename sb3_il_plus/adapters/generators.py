"""Which RL algorithms can be generators: those that learn from whatever reward they are given."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_il_plus.environments import is_placeholder
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.registry import registry


def generator_class(generator: str | type[BaseAlgorithm]) -> type[BaseAlgorithm]:
    """Find the class of a generator by its registered name; a class is returned as it is.

    :raises InapplicableError: the name is not that of an online RL algorithm
    """
    if not isinstance(generator, str):
        return generator
    return registry.get_online(generator, "generator").load()


def check_generator(
    generator: type[BaseAlgorithm], generator_kwargs: dict[str, Any], env: VecEnv
) -> None:
    """Refuse what would not learn from the reward that it is given, or not in this environment.

    :param generator_kwargs: the user's arguments of the generator
    :raises InapplicableError: the reason
    """
    name = generator.__name__
    if not issubclass(generator, (OnPolicyAlgorithm, OffPolicyAlgorithm)):
        raise InapplicableError(
            f"{name} cannot be the generator: it learns neither from a rollout nor from a replay "
            "buffer. (ARS plays episodes with evaluate_policy, whose returns are the environment's "
            "own where there is a Monitor.) Use 'ppo', 'trpo', 'sac', ..."
        )
    buffer = generator_kwargs.get("replay_buffer_class")
    if isinstance(buffer, type) and issubclass(buffer, HerReplayBuffer):
        raise InapplicableError(
            f"{name} with a HerReplayBuffer cannot be the generator: it takes its rewards from the "
            "environment's compute_reward()"
        )
    if generator.__module__.startswith("sb3_contrib.ppo_mask") and not is_placeholder(env):
        from sb3_contrib.common.maskable.utils import is_masking_supported

        if not is_masking_supported(env):
            raise InapplicableError(
                f"{name} cannot be the generator here: the environment has no action_masks() "
                "method that says which actions are allowed; 'ppo' allows all of them"
            )
