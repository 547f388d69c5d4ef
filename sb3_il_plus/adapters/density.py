"""Density-based reward modelling (`imitation.algorithms.density`) as an SB3 algorithm.

A kernel density of the demonstrations is fitted once, and a generator is trained on its logarithm:
it is paid for being where the expert often was. Upstream's trainer fits and scores, through
`density_reward.py`; this file has the arguments and drives the generator.
"""

from __future__ import annotations

from typing import Any, Literal, Unpack

from imitation.algorithms import density
from imitation.rewards.reward_wrapper import RewardVecEnvWrapper
from imitation.util.networks import RunningNorm
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.adapters.bridge import BridgeLogger
from sb3_il_plus.adapters.density_reward import (
    DensityReward,
    DensityTrainer,
    DensityVecEnvWrapper,
)
from sb3_il_plus.adapters.generator import (
    ForwardCallback,
    GeneratorAlgorithm,
    GeneratorArguments,
)
from sb3_il_plus.adapters.horizon import check_horizon
from sb3_il_plus.adapters.learned_reward import LearnedReward
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.randomness import child_generator

_TYPES = {
    "state": density.DensityType.STATE_DENSITY,
    "state-action": density.DensityType.STATE_ACTION_DENSITY,
    "state-state": density.DensityType.STATE_STATE_DENSITY,
}
_KERNELS = ("gaussian", "exponential")


class Density(LearnedReward, GeneratorAlgorithm):
    """RL on the logarithm of a kernel density of the demonstrations, r(s, a, s') = log p̂(s, a).

    A baseline that needs no second network and cannot collapse: the reward is fixed before the
    first step. One timestep is one environment step. `reward_net` is the density.

    :param policy: policy alias or class of the generator
    :param env: where the generator acts; its own rewards are never used
    :param demonstrations: what the density is of; whole episodes where `is_stationary` is False
    :param density_type: what of a transition counts: `"state"`, `"state-action"` or `"state-state"`
        (a state and the next one)
    :param kernel: `"gaussian"`, or the heavier-tailed `"exponential"`; scikit-learn's others are
        zero beyond the bandwidth, where there is no logarithm
    :param kernel_bandwidth: width of the kernel around each transition, in standard deviations of
        the data where `standardise_inputs` is set
    :param is_stationary: one density for all steps; False for one for each step of an episode,
        which rewards following the demonstrations in time
    :param standardise_inputs: scale each number of a transition to mean 0 and variance 1
    :param normalize_rewards: standardise the generator's rewards with running statistics
    :param horizon: what to do when episodes differ in length, which tells the learner about the
        reward: `"error"`, or `"allow"` it
    :param kwargs: see `GeneratorAlgorithm` and `DemonstrationAlgorithm`
    :raises InapplicableError: the generator does not suit the algorithm or the spaces
    """

    trainer: DensityTrainer
    reward_net: DensityReward
    """The learned reward: `predict(observations, actions, next_observations, dones)`."""

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        density_type: Literal["state", "state-action", "state-state"] = "state-action",
        kernel: Literal["gaussian", "exponential"] = "gaussian",
        kernel_bandwidth: float = 0.5,
        is_stationary: bool = True,
        standardise_inputs: bool = True,
        normalize_rewards: bool = True,
        horizon: Literal["error", "allow"] = "error",
        _init_setup_model: bool = True,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        for name, value, choices in (
            ("density_type", density_type, tuple(_TYPES)),
            ("kernel", kernel, _KERNELS),
            ("horizon", horizon, ("error", "allow")),
        ):
            if value not in choices:
                raise UserError(f"{name}={value!r} must be one of {', '.join(map(repr, choices))}")
        if not kernel_bandwidth > 0:
            raise UserError(f"kernel_bandwidth={kernel_bandwidth} must be greater than 0")
        self.density_type = density_type
        self.kernel = kernel
        self.kernel_bandwidth = kernel_bandwidth
        self.is_stationary = is_stationary
        self.standardise_inputs = standardise_inputs
        self.normalize_rewards = normalize_rewards
        self.horizon = horizon
        if _init_setup_model:
            self._setup_model()

    def set_demonstrations(self, demonstrations: Any) -> None:
        """Fit the density to (other) demonstrations."""
        super().set_demonstrations(demonstrations)
        if hasattr(self, "trainer"):
            self._fit()

    # -- building --------------------------------------------------------------------------------

    def _build_generator(self, **arguments: Any) -> BaseAlgorithm:
        generator = super()._build_generator(**arguments)
        if isinstance(generator, OffPolicyAlgorithm) and self._vec_normalize_env is not None:
            raise InapplicableError(
                f"inside VecNormalize, SB3's {type(generator).__name__} stores the environment's "
                "own rewards, not the density's; use normalize_observations=True instead of "
                "VecNormalize, or an on-policy generator"
            )
        return generator

    def _setup_trainer(self) -> None:
        self.trainer = DensityTrainer(
            demonstrations=None,
            venv=self.env,
            rng=child_generator(self._base_seed, "unused"),
            density_type=_TYPES[self.density_type],
            kernel=self.kernel,
            kernel_bandwidth=self.kernel_bandwidth,
            rl_algo=self.generator_model,
            is_stationary=self.is_stationary,
            standardise_inputs=self.standardise_inputs,
            custom_logger=BridgeLogger(self),
            allow_variable_horizon=self.horizon == "allow",
        )
        self.reward_net = DensityReward(self.trainer)
        self.reward_normalizer = RunningNorm(1)
        venv = DensityVecEnvWrapper(
            self.env, self.reward_net, self.reward_normalizer if self.normalize_rewards else None
        )
        self.trainer.venv_wrapped = venv
        self.trainer.wrapper_callback = venv.make_log_callback()
        self.generator_model.set_env(venv)
        self.generator_model.set_logger(self.trainer.logger)
        if self.demonstrations is not None:
            self._fit()

    def _fit(self) -> None:
        self.trainer.set_demonstrations(self._require_demonstrations().to_trajectories())
        self.trainer.train()

    # -- learning --------------------------------------------------------------------------------

    def _check_before_learning(self) -> None:
        self._require_environment()
        if not self.trainer.transitions:  # a loaded model has them from its file
            self._require_demonstrations()
        if self.horizon == "error" and self.demonstrations is not None:
            check_horizon(self.demonstrations, self.env, type(self).__name__)

    def _train_round(self, n_timesteps: int, callback: ForwardCallback) -> None:
        # Upstream's train_policy would reset the environment, and so never finish long episodes.
        self.generator_model.learn(
            n_timesteps,
            callback=CallbackList([self.trainer.wrapper_callback, callback]),
            reset_num_timesteps=False,
        )

    # -- the learned reward ----------------------------------------------------------------------

    def _reward_wrapper(self, venv: VecEnv) -> RewardVecEnvWrapper:
        return DensityVecEnvWrapper(venv, self.reward_net)

    # -- saving ----------------------------------------------------------------------------------

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, variables = super()._get_torch_save_params()
        return [*modules, "reward_net", "reward_normalizer"], variables
