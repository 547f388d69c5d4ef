"""The generator of an adversarial algorithm: finding its class, and showing its steps as ours."""

from __future__ import annotations

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.registry import registry


class ForwardCallback(BaseCallback):
    """Shows the generator's steps to the user's callback as steps of our model.

    :param model: whose steps and progress they count as
    :param callback: the user's, already initialised with `model`
    """

    def __init__(self, model: BaseAlgorithm, callback: BaseCallback) -> None:
        super().__init__()
        self.outer = model
        self.callback = callback
        self.go_on = True

    def _on_rollout_start(self) -> None:
        self.callback.on_rollout_start()

    def _on_step(self) -> bool:
        outer = self.outer
        outer.num_timesteps = self.num_timesteps
        outer._update_current_progress_remaining(self.num_timesteps, outer._total_timesteps)
        self.callback.update_locals(self.locals)
        self.go_on = self.callback.on_step()
        return self.go_on

    def _on_rollout_end(self) -> None:
        self.callback.update_locals(self.locals)
        self.callback.on_rollout_end()


def generator_class(generator: str | type[BaseAlgorithm]) -> type[BaseAlgorithm]:
    """Find the class of a generator by its registered name; a class is returned as it is.

    :raises InapplicableError: the name is not that of an online RL algorithm
    """
    if not isinstance(generator, str):
        return generator
    spec = registry.get(generator)
    if spec.family != "online_rl":
        raise InapplicableError(
            f"generator={generator!r} is of the family {spec.family!r}; a generator is an online "
            "RL algorithm such as 'ppo', 'trpo' or 'sac'"
        )
    return spec.load()


def own_name(name: str) -> str:
    """Name of a generator's part within our model, whose `policy` is the generator's."""
    return name if name.startswith("policy") else f"generator_model.{name}"
