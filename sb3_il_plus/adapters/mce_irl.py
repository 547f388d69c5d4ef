"""Maximum causal entropy IRL (`imitation.algorithms.mce_irl`) as an SB3 algorithm.

For tabular environments that say how they work. Upstream plans and updates the reward; this file
reads the model from the environment, makes each update a timestep that callbacks see, and turns the
planned table into an SB3 policy.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Self, Unpack

import numpy as np
import torch as th
from imitation.algorithms import mce_irl
from imitation.rewards.reward_nets import BasicRewardNet
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_il_plus.adapters.bridge import BridgeLogger, upstream_warnings_silenced
from sb3_il_plus.adapters.learned_reward import LearnedReward
from sb3_il_plus.adapters.tabular import TabularModel, TabularPolicy
from sb3_il_plus.algorithm import CommonArguments, DemonstrationAlgorithm
from sb3_il_plus.environments import is_placeholder
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.randomness import child_generator


class MCEIRL(LearnedReward, DemonstrationAlgorithm):
    """Maximum causal entropy inverse reinforcement learning (Ziebart 2010, Algorithms 9.1 to 9.3).

    Finds the reward r(s) whose soft-optimal policy visits each state as often as the expert does.
    One timestep is one gradient update of the reward, and a planning step; the environment is never
    stepped. The gradient is Σ_s (D_π(s) − D_E(s)) ∇r(s), with the expected (discounted) numbers of
    visits D of the present policy and of the expert. `train/linf_delta`, their largest difference,
    says how far it has come.

    :param policy: `"TabularPolicy"`; `"MlpPolicy"` means the same
    :param env: a tabular environment (see `TabularModel`), of which the model is read
    :param demonstrations: whole episodes, whose actions are not read; or the expert's D_E itself,
        an array of shape (states,). After `load`, give them again to learn on
    :param learning_rate: of the reward's Adam
    :param gamma: discount of visits and of planning
    :param reward_net_kwargs: arguments of `imitation`'s `BasicRewardNet`, which is given the
        observation of a state: `{"hid_sizes": ()}` is a linear reward
    :param kwargs: see `DemonstrationAlgorithm`
    :raises InapplicableError: the environment has no such model
    :raises DataError: the demonstrations are not episodes in this environment
    """

    # Whatever `make` and scripts ask for by the observations, there is only this one.
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = dict.fromkeys(
        ("TabularPolicy", *DemonstrationAlgorithm.policy_aliases), TabularPolicy
    )
    policy: TabularPolicy
    trainer: mce_irl.MCEIRL | None = None

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        learning_rate: float | Schedule = 1e-2,
        gamma: float = 1.0,
        reward_net_kwargs: dict[str, Any] | None = None,
        _init_setup_model: bool = True,
        **kwargs: Unpack[CommonArguments],
    ) -> None:
        self._occupancy: np.ndarray | None = None
        is_occupancy = isinstance(demonstrations, np.ndarray)
        data = None if is_occupancy else demonstrations
        super().__init__(policy, env, data, learning_rate=learning_rate, **kwargs)
        self.gamma = gamma
        self.reward_net_kwargs = {} if reward_net_kwargs is None else dict(reward_net_kwargs)
        self._check_arguments()
        if _init_setup_model:
            self._setup_model()
        if is_occupancy:
            self.set_demonstrations(demonstrations)

    def _check_arguments(self) -> None:
        if not issubclass(self.policy_class, TabularPolicy):
            raise InapplicableError(
                f"MCEIRL plans a table, not a {self.policy_class.__name__}: use 'TabularPolicy'"
            )
        if self.policy_kwargs or self.normalize_observations:
            raise InapplicableError(
                "MCEIRL's policy is a table, which takes no policy_kwargs and nothing normalised; "
                "arguments of the reward net go into reward_net_kwargs={...}"
            )
        if not 0 < self.gamma <= 1:
            raise UserError(f"gamma={self.gamma} must lie within (0, 1]")
        for name in ("use_action", "use_next_state", "use_done"):
            if name in self.reward_net_kwargs:
                raise InapplicableError(
                    f"reward_net_kwargs has {name!r}, but the reward is of the state alone"
                )

    # -- building --------------------------------------------------------------------------------

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        net = BasicRewardNet(
            self.observation_space, self.action_space, use_action=False, **self.reward_net_kwargs
        )
        self.reward_net = net.to(self.device)
        self.reward_optimizer = th.optim.Adam(net.parameters(), lr=self.lr_schedule(1))
        self.policy = TabularPolicy(self.observation_space, self.action_space).to(self.device)
        self.policy.set_training_mode(False)
        self._setup_trainer()

    def _setup_trainer(self) -> None:
        """Read the environment's model, and plan in it with the present reward."""
        if is_placeholder(self.env):
            return
        self.tabular_model = TabularModel.of(self.env)
        shown = th.as_tensor(self.tabular_model.observation_matrix)
        features = preprocess_obs(shown, self.observation_space, normalize_images=False)
        assert isinstance(features, th.Tensor)
        self._features = features.flatten(1).to(self.device)
        # Upstream forgets the discount in one of two places. To visit with a discount is to visit
        # without one while each step ends the episode with probability 1 − γ.
        planned = dataclasses.replace(
            self.tabular_model,
            transition_matrix=self.gamma * self.tabular_model.transition_matrix,
            observation_matrix=self._features.cpu().numpy(),
        )
        self.trainer = mce_irl.MCEIRL(
            demonstrations=None,
            env=planned,
            reward_net=self.reward_net,
            rng=child_generator(self._base_seed, "unused"),
            optimizer_cls=lambda parameters, **_: self.reward_optimizer,
            linf_eps=0.0,  # a callback stops training, not a threshold
            grad_l2_eps=0.0,
            log_interval=1,
            custom_logger=BridgeLogger(self),
        )
        self._plan()
        if self.demonstrations is not None:
            self._set_occupancy(self._visits_of_demonstrations())

    def set_env(self, env: GymEnv | str, force_reset: bool = True) -> None:
        """Replace the environment, and plan in it with the present reward."""
        super().set_env(env, force_reset)
        self._setup_trainer()

    def _plan(self) -> None:
        """Make the policy the soft-optimal one of the present reward."""
        assert self.trainer is not None
        with th.no_grad():
            reward = mce_irl.squeeze_r(self.reward_net(self._features, None, None, None))
        _, _, pi = mce_irl.mce_partition_fh(self.trainer.env, reward=reward.cpu().numpy())
        self.policy.set_table(pi, self.tabular_model.observation_matrix)

    # -- demonstrations --------------------------------------------------------------------------

    def set_demonstrations(self, demonstrations: Any) -> None:
        """Give the algorithm (other) demonstrations, or the expert's visits, shape (states,)."""
        if isinstance(demonstrations, np.ndarray):
            self._require_environment()
            self.demonstrations = None
            self._set_occupancy(demonstrations.astype(np.float64))
            return
        super().set_demonstrations(demonstrations)
        if self.trainer is not None:
            self._set_occupancy(self._visits_of_demonstrations())

    def _visits_of_demonstrations(self) -> np.ndarray:
        """D_E: the mean over episodes of Σ_t γ^t 1(s_t = s), the last state included."""
        data = self._require_demonstrations()
        shown = np.asarray(data.observations)
        states = self.policy.states_of(shown).cpu().numpy()
        known = self.tabular_model.observation_matrix[states]
        if not np.allclose(known, shown):
            row = int(np.flatnonzero(~np.isclose(known, shown).reshape(len(shown), -1).all(1))[0])
            episode = int(
                np.searchsorted(data.offsets + np.arange(len(data.offsets)), row, "right")
            )
            raise DataError(
                f"episode {episode - 1} of the demonstrations shows what no state of the model does"
            )
        wrong = np.flatnonzero(data.episode_lengths != self.tabular_model.horizon)
        if len(wrong):
            raise DataError(
                f"episode {wrong[0]} of the demonstrations has {data.episode_lengths[wrong[0]]} "
                f"steps; to count visits, whole episodes of {self.tabular_model.horizon} are needed"
            )
        steps = np.tile(np.arange(self.tabular_model.horizon + 1), data.n_episodes)
        visits = np.bincount(states, self.gamma**steps, minlength=self.tabular_model.state_dim)
        return visits / data.n_episodes

    def _set_occupancy(self, occupancy: np.ndarray) -> None:
        assert self.trainer is not None
        n_states, horizon = self.tabular_model.state_dim, self.tabular_model.horizon
        total = (self.gamma ** np.arange(horizon + 1)).sum()
        if occupancy.shape != (n_states,) or not np.isclose(occupancy.sum(), total):
            raise DataError(
                f"expected visits of shape {occupancy.shape} that sum to {occupancy.sum():.3f} do "
                f"not fit {n_states} states and {horizon} steps, which make {total:.3f} visits"
            )
        self._occupancy = occupancy
        self.trainer.set_demonstrations(occupancy)

    # -- acting and learning ---------------------------------------------------------------------

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose actions; see `TabularPolicy.predict`."""
        if self._vec_normalize_env is not None:  # the table is of what lies below
            observation = self._vec_normalize_env.unnormalize_obs(observation)
        return super().predict(observation, state, episode_start, deterministic)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "MCEIRL",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Make `total_timesteps` updates of the reward.

        :param log_interval: updates between two lines in the log
        """
        self._require_environment()
        if self._occupancy is None:
            self._require_demonstrations()
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        assert self.trainer is not None
        callback.on_training_start(locals(), globals())
        go_on = True
        while go_on and self.num_timesteps < total_timesteps:
            self._update_learning_rate(self.reward_optimizer)
            with upstream_warnings_silenced():
                self.trainer.train(max_iter=1)
            go_on = self._after_update(callback)
            if self.num_timesteps % log_interval == 0:
                self._dump_logs()
        self._plan()
        callback.on_training_end()
        return self

    def _finish_update(self) -> bool:
        assert self.trainer is not None
        self.policy.set_table(self.trainer.policy.pi, self.tabular_model.observation_matrix)
        return True

    # -- saving ----------------------------------------------------------------------------------

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "reward_net", "reward_optimizer"], []
