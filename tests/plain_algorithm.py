"""The smallest algorithm that can extend the base class, for the tests of the latter."""

import numpy as np
import torch as th
from stable_baselines3.common.torch_layers import FlattenExtractor

from sb3_il_plus import DemonstrationAlgorithm


class Plain(DemonstrationAlgorithm):
    """Moves its policy's weights a little in each update."""

    def __init__(
        self, policy, env, demonstrations=None, *, strength=1.0, _init_setup_model=True, **kwargs
    ):
        super().__init__(policy, env, demonstrations, **kwargs)
        self.strength = strength
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self):
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        arguments = self._build_policy_kwargs()
        self.policy = self.policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **arguments
        )
        self._set_observation_statistics()

    def learn(
        self, total_timesteps, callback=None, log_interval=1, tb_log_name="Plain",
        reset_num_timesteps=True, progress_bar=False,
    ):  # fmt: skip
        self._require_demonstrations()
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        go_on = True
        while go_on and self.num_timesteps < total_timesteps:
            with th.no_grad():
                next(self.policy.parameters()).add_(0.01 * self.strength)
            self._update_learning_rate(self.policy.optimizer)
            self.logger.record("train/loss", np.float32(1.0))
            go_on = self._after_update(callback)
            if self.num_timesteps % log_interval == 0:
                self._dump_logs()
        callback.on_training_end()
        return self


class OwnExtractor(FlattenExtractor):
    """A features extractor from outside the ecosystem's packages."""


def weights(model) -> np.ndarray:
    """All weights of a model's policy in one vector."""
    return th.nn.utils.parameters_to_vector(model.policy.parameters()).detach().numpy()
