"""SQIL and the density baseline, called directly."""

from __future__ import annotations

from imitation.algorithms import density, sqil
from imitation.data.rollout import flatten_trajectories
from stable_baselines3.common.policies import BasePolicy

from direct_imitation.upstream import DirectCall, quiet_logger
from sb3_il_plus import SQIL, AlgorithmSpec
from sb3_il_plus.adapters.density import Density
from sb3_il_plus.spec import AlgorithmSpec as Spec


class DirectSQIL(DirectCall, SQIL):
    """`sqil.SQIL(...).train(total_timesteps=...)`."""

    spec: Spec = AlgorithmSpec(
        name="direct_sqil",
        entry_point="direct_imitation.others:DirectSQIL",
        family="direct",
        summary="imitation's SQIL, called directly",
        consumes=frozenset({"demonstrations", "environment"}),
        timestep="environment step",
    )

    def call(self, total_timesteps: int) -> tuple[BasePolicy, int]:
        """With the same off-policy algorithm."""
        trainer = sqil.SQIL(
            venv=self.env,
            demonstrations=self.transitions(),
            policy="MlpPolicy",
            custom_logger=quiet_logger(),
            rl_algo_class=self._generator_class,
            rl_kwargs={
                "learning_rate": self.learning_rate,
                "policy_kwargs": self.upstream_policy_kwargs(),
                "seed": self.seed,
                "device": "cpu",
                **self.generator_kwargs,
            },
        )
        trainer.train(total_timesteps=total_timesteps)
        return trainer.policy, trainer.rl_algo.num_timesteps


class DirectDensity(DirectCall, Density):
    """`density.DensityAlgorithm(...)`: `train()`, then `train_policy(n_timesteps)`."""

    spec: Spec = AlgorithmSpec(
        name="direct_density",
        entry_point="direct_imitation.others:DirectDensity",
        family="direct",
        summary="imitation's density baseline, called directly",
        consumes=frozenset({"demonstrations", "environment"}),
        timestep="environment step",
    )

    def call(self, total_timesteps: int) -> tuple[BasePolicy, int]:
        """With the same generator on the same kind of density."""
        generator = self._generator_class(
            "MlpPolicy",
            self.env,
            learning_rate=self.learning_rate,
            policy_kwargs=self.upstream_policy_kwargs(),
            seed=self.seed,
            device="cpu",
            **self.generator_kwargs,
        )
        trainer = density.DensityAlgorithm(
            venv=self.env,
            rng=self.rng(),
            demonstrations=flatten_trajectories(self.demonstrations.to_trajectories()),
            density_type=self.trainer.density_type,
            kernel=self.kernel,
            kernel_bandwidth=self.kernel_bandwidth,
            rl_algo=generator,
            is_stationary=self.is_stationary,
            standardise_inputs=self.standardise_inputs,
            custom_logger=quiet_logger(),
            allow_variable_horizon=self.horizon == "allow",
        )
        trainer.train()
        trainer.train_policy(total_timesteps)
        return trainer.policy, generator.num_timesteps
