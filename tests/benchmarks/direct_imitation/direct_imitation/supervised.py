"""BC and DAgger, called directly."""

from __future__ import annotations

import tempfile

import torch as th
from imitation.algorithms import bc, dagger
from stable_baselines3.common.policies import BasePolicy

from direct_imitation.upstream import DirectCall, ExpertPolicy, quiet_logger
from sb3_il_plus import BC, AlgorithmSpec, DAgger
from sb3_il_plus.spec import AlgorithmSpec as Spec

_VECTORS = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")


class _Supervised(DirectCall):
    def _upstream_bc(self, **kwargs: object) -> bc.BC:
        policy = self.policy_class(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            **self.upstream_policy_kwargs(),
        )
        return bc.BC(
            observation_space=self.observation_space,
            action_space=self.action_space,
            rng=self.rng(),
            policy=policy,
            batch_size=self.batch_size,
            optimizer_cls=th.optim.Adam,
            optimizer_kwargs={"lr": self.lr_schedule(1)},
            ent_weight=self.ent_weight,
            l2_weight=self.l2_weight,
            device="cpu",
            custom_logger=quiet_logger(),
            **kwargs,
        )


class DirectBC(_Supervised, BC):
    """`bc.BC(...).train(n_batches=...)`."""

    spec: Spec = AlgorithmSpec(
        name="direct_bc",
        entry_point="direct_imitation.supervised:DirectBC",
        family="direct",
        summary="imitation's BC, called directly",
        consumes=frozenset({"demonstrations"}),
        action_spaces=_VECTORS,
        timestep="gradient update",
    )

    def call(self, total_timesteps: int) -> tuple[BasePolicy, int]:
        """One timestep is one batch."""
        trainer = self._upstream_bc(demonstrations=self.transitions())
        trainer.train(n_batches=total_timesteps, log_interval=500, progress_bar=False)
        return trainer.policy, total_timesteps


class DirectDAgger(_Supervised, DAgger):
    """`dagger.SimpleDAggerTrainer(...).train(total_timesteps)`."""

    spec: Spec = AlgorithmSpec(
        name="direct_dagger",
        entry_point="direct_imitation.supervised:DirectDAgger",
        family="direct",
        summary="imitation's DAgger, called directly",
        consumes=frozenset({"environment", "expert"}),
        action_spaces=_VECTORS,
        timestep="environment step",
    )

    def call(self, total_timesteps: int) -> tuple[BasePolicy, int]:
        """Every step is labelled by the expert."""
        assert self.expert is not None
        trainer = dagger.SimpleDAggerTrainer(
            venv=self.env,
            scratch_dir=tempfile.mkdtemp(prefix="direct_imitation_"),
            expert_policy=ExpertPolicy(self.expert),
            rng=self.rng(),
            beta_schedule=self._make_beta_schedule(),
            bc_trainer=self._upstream_bc(),
            custom_logger=quiet_logger(),
        )
        trainer.train(
            total_timesteps,
            rollout_round_min_episodes=self.rollout_round_min_episodes,
            rollout_round_min_timesteps=self.rollout_round_min_timesteps,
            bc_train_kwargs={
                "n_epochs": self.n_epochs,
                "log_rollouts_venv": None,
                "progress_bar": False,
            },
        )
        return trainer.policy, total_timesteps
