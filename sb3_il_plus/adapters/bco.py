"""BCO, behavioural cloning from observation, as an SB3 algorithm.

The demonstrations' actions are not known. The learner finds them: from its own steps it learns
which action leads from one state to the next, and with that reads the expert's actions off its
states. What remains is behavioural cloning, by upstream's trainer as in `bc.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch as th
from imitation.algorithms import bc
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.adapters.inverse_dynamics import (
    Interactions,
    InverseDynamics,
    inverse_dynamics_loss,
)
from sb3_il_plus.adapters.rounds import RoundsAlgorithm
from sb3_il_plus.adapters.supervised import SupervisedArguments
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import ActionBatches
from sb3_il_plus.data.state_only import with_actions
from sb3_il_plus.errors import UserError
from sb3_il_plus.randomness import child_generator


class BCO(RoundsAlgorithm):
    """BCO(α) (Torabi, Warnell and Stone 2018, arXiv:1805.01954, Algorithm 1).

    One timestep is one environment step. In the first round, the learner acts at random for
    `pre_timesteps`; then, round by round, it acts as its policy samples for `alpha` times as long.
    After each round the inverse dynamics model is trained on all steps so far, and the policy on
    the actions that the model finds in the demonstrations. BCO(0) is `learn(pre_timesteps)`.

    :param policy: policy alias or class, of any SB3 algorithm without a memory and masks
    :param env: where the learner finds out what actions do; its rewards are never used
    :param demonstrations: the expert's states, with or without actions, which are never read
    :param pre_timesteps: environment steps before the first look at the demonstrations, |I^pre|
    :param alpha: steps of each later round, as a share of `pre_timesteps`
    :param n_epochs: passes over the demonstrations after each round
    :param inverse_learning_rate: of the inverse dynamics model's Adam
    :param inverse_batch_size: own steps in each of its gradient updates
    :param inverse_n_epochs: its passes over all own steps after each round
    :param inverse_hid_sizes: units of each of its hidden layers
    :param kwargs: see `RoundsAlgorithm`, `SupervisedAlgorithm` and `DemonstrationAlgorithm`
    """

    trainer: bc.BC

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        pre_timesteps: int = 2000,
        alpha: float = 0.5,
        n_epochs: int = 10,
        inverse_learning_rate: float = 1e-3,
        inverse_batch_size: int = 128,
        inverse_n_epochs: int = 10,
        inverse_hid_sizes: Sequence[int] = (64, 64),
        _init_setup_model: bool = True,
        **kwargs: Unpack[SupervisedArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, n_epochs=n_epochs, **kwargs)
        self.pre_timesteps = pre_timesteps
        self.alpha = alpha
        self.inverse_learning_rate = inverse_learning_rate
        self.inverse_batch_size = inverse_batch_size
        self.inverse_n_epochs = inverse_n_epochs
        self.inverse_hid_sizes = tuple(inverse_hid_sizes)
        self._check_arguments()
        if _init_setup_model:
            self._setup_model()

    def _check_arguments(self) -> None:
        for name in ("pre_timesteps", "inverse_batch_size", "inverse_n_epochs"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} must be at least 1")
        if self.alpha <= 0:
            raise UserError(
                f"alpha={self.alpha} must be positive; BCO(0), without later rounds, is "
                "learn(pre_timesteps)"
            )

    def _setup_model(self) -> None:
        self._build_policy()
        self.trainer = self._bc_trainer = self._build_bc_trainer(log_dumps=False)
        self.inverse_dynamics = InverseDynamics(self.policy, self.inverse_hid_sizes).to(self.device)
        self._set_observation_statistics(self.inverse_dynamics)
        self.inverse_optimizer = th.optim.Adam(
            self.inverse_dynamics.parameters(), lr=self.inverse_learning_rate
        )
        self.interactions = Interactions(self.observation_space, self.action_space)

    # -- acting ----------------------------------------------------------------------------------

    def _check_before_learning(self, total_timesteps: int) -> None:
        super()._check_before_learning(total_timesteps)
        self._require_demonstrations()

    def _actions(
        self, observations: Any, raw_observations: Any, episode_starts: np.ndarray
    ) -> np.ndarray:
        if self.round_num == 0:
            return np.stack([self.action_space.sample() for _ in range(self.n_envs)])
        return self.policy.predict(observations, deterministic=False)[0]

    def _round_is_over(self, n_steps: int, n_episodes: int) -> bool:
        share = 1.0 if self.round_num == 0 else self.alpha
        return n_steps >= share * self.pre_timesteps

    def _keep(self, gathered: Demonstrations) -> None:
        self.interactions.add(gathered)

    # -- learning --------------------------------------------------------------------------------

    def _train(self) -> None:
        self._train_inverse_dynamics()
        self._train_policy(self._labelled_demonstrations())

    def _run_trainer(self, arguments: dict[str, Any]) -> None:
        self.trainer.train(**arguments)

    def _train_inverse_dynamics(self) -> None:
        """Maximise the likelihood of the actions that led from each own state to the next."""
        data, model = self.interactions.data, self.inverse_dynamics
        assert data is not None
        batches = self._transitions(data, model.targets(data.actions))
        if self.round_num == 0:
            everything = batches.rows(np.arange(len(data)))
            model.fit_inputs(everything["obs"], everything["next_obs"])
        for _ in range(self.inverse_n_epochs):
            for batch in batches:
                losses = inverse_dynamics_loss(
                    model, batch["obs"], batch["next_obs"], batch["acts"]
                )
                self.inverse_optimizer.zero_grad()
                losses.neglogp.backward()
                self.inverse_optimizer.step()
        self.logger.record("train/inverse_neglogp", losses.neglogp.item())
        self.logger.record("train/inverse_prob_true_act", losses.prob_true_act.item())

    def _labelled_demonstrations(self) -> Demonstrations:
        """The demonstrations with the most likely actions between their states."""
        data = self._require_demonstrations()
        batches = self._transitions(data, data.actions)
        found = [
            self.inverse_dynamics.infer(batch["obs"], batch["next_obs"])
            for _, batch in batches.in_order()
        ]
        return with_actions(data, np.concatenate(found))

    def _transitions(self, data: Demonstrations, actions: np.ndarray) -> ActionBatches:
        """States, next states and actions, as the policy sees them and resident on the device."""
        index = np.arange(len(data))
        return ActionBatches(
            self._as_env_observes(data.observations_at(index)),
            actions,
            min(self.inverse_batch_size, len(data)),
            child_generator(self._base_seed, f"transitions {self.round_num}"),
            self.device,
            others={"next_obs": self._as_env_observes(data.next_observations_at(index))},
        )

    # -- saving ----------------------------------------------------------------------------------

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, variables = super()._get_torch_save_params()
        return [*modules, "inverse_dynamics", "inverse_optimizer", "interactions"], variables
