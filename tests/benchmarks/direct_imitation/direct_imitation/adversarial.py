"""GAIL and AIRL, called directly."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from imitation.algorithms.adversarial.airl import AIRL as UpstreamAIRL
from imitation.algorithms.adversarial.common import AdversarialTrainer
from imitation.algorithms.adversarial.gail import GAIL as UpstreamGAIL
from imitation.rewards.reward_nets import BasicRewardNet, BasicShapedRewardNet
from imitation.util.networks import RunningNorm
from stable_baselines3.common.policies import BasePolicy

from direct_imitation.upstream import DirectCall, quiet_logger
from sb3_il_plus import AIRL, GAIL, AlgorithmSpec
from sb3_il_plus.spec import AlgorithmSpec as Spec


class _Adversarial(DirectCall):
    upstream_class: type[AdversarialTrainer]

    def reward_net(self) -> BasicRewardNet | BasicShapedRewardNet:
        """Upstream's own choice for the trainer."""
        raise NotImplementedError

    def upstream_reward_net_kwargs(self) -> dict[str, Any]:
        """The adapter's, with upstream's running normalisation where the adapter has one."""
        kwargs = dict(self.reward_net_kwargs)
        if self.normalize_reward_inputs:
            kwargs["normalize_input_layer"] = RunningNorm
        return kwargs

    def call(self, total_timesteps: int) -> tuple[BasePolicy, int]:
        """Build the generator in the environment, and the trainer around both."""
        demonstrations = self.transitions()
        generator = self._generator_class(
            "MlpPolicy",
            self.env,
            learning_rate=self.learning_rate,
            policy_kwargs=self.upstream_policy_kwargs(),
            seed=self.seed,
            device="cpu",
            **self.generator_kwargs,
        )
        trainer = self.upstream_class(
            demonstrations=demonstrations,
            # Upstream refuses a batch that is larger than the data; the adapter does not.
            demo_batch_size=min(self.demo_batch_size, len(demonstrations)),
            venv=self.env,
            gen_algo=generator,
            reward_net=self.reward_net(),
            n_disc_updates_per_round=self.n_disc_updates_per_round,
            disc_opt_kwargs={"lr": self.disc_learning_rate},
            gen_train_timesteps=self.gen_train_timesteps,
            gen_replay_buffer_capacity=self.gen_replay_buffer_capacity,
            custom_logger=quiet_logger(),
            allow_variable_horizon=self.horizon == "allow",
        )
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            trainer.train(total_timesteps)
        return trainer.policy, generator.num_timesteps


class DirectGAIL(_Adversarial, GAIL):
    """`gail.GAIL(...).train(total_timesteps)`."""

    upstream_class = UpstreamGAIL
    spec: Spec = AlgorithmSpec(
        name="direct_gail",
        entry_point="direct_imitation.adversarial:DirectGAIL",
        family="direct",
        summary="imitation's GAIL, called directly",
        consumes=frozenset({"demonstrations", "environment"}),
        action_spaces=("Box", "Discrete"),
        timestep="environment step",
    )

    def reward_net(self) -> BasicRewardNet:
        """Its defaults."""
        return BasicRewardNet(
            self.observation_space, self.action_space, **self.upstream_reward_net_kwargs()
        )


class DirectAIRL(_Adversarial, AIRL):
    """`airl.AIRL(...).train(total_timesteps)`."""

    upstream_class = UpstreamAIRL
    spec: Spec = AlgorithmSpec(
        name="direct_airl",
        entry_point="direct_imitation.adversarial:DirectAIRL",
        family="direct",
        summary="imitation's AIRL, called directly",
        consumes=frozenset({"demonstrations", "environment"}),
        action_spaces=("Box", "Discrete"),
        timestep="environment step",
    )

    def reward_net(self) -> BasicShapedRewardNet:
        """Its defaults, shaped with the generator's discount."""
        return BasicShapedRewardNet(
            self.observation_space,
            self.action_space,
            discount_factor=self.generator_kwargs.get("gamma", 0.99),
            **self.upstream_reward_net_kwargs(),
        )
