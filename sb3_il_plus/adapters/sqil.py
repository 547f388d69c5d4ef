"""SQIL (`imitation.algorithms.sqil`) as an SB3 algorithm.

Any off-policy algorithm of SB3 imitates, unchanged, when half of each batch that it draws from its
replay buffer is the expert's with reward 1, and the other half its own with reward 0. Upstream's
trainer and buffer do that; this file fills the buffer, and mends four things about it from outside.
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from gymnasium import spaces
from imitation.algorithms import sqil
from imitation.util.util import split_in_half
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, ReplayBufferSamples, Schedule
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.adapters.bridge import BridgeLogger
from sb3_il_plus.adapters.generator import ForwardCallback, GeneratorAlgorithm
from sb3_il_plus.algorithm import CommonArguments
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.replay_mixing import concatenate
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import InapplicableError


class SQIL(GeneratorAlgorithm):
    """Soft Q imitation learning (Reddy, Dragan and Levine 2020, Algorithm 1).

    One timestep is one environment step. The reward is 1 for the demonstrations and 0 for whatever
    the learner does itself, and no reward is learned. With `"sac"` this is the paper's method for
    continuous actions. For discrete ones the paper backs up the soft maximum of the Q values, and
    `"dqn"`, upstream's choice, their maximum.

    As all rewards are positive or zero, episodes that can end early teach to survive (or to end);
    prefer environments of a fixed horizon.

    :param policy: policy alias or class of the generator
    :param env: where the learner acts; its own rewards are never used
    :param demonstrations: the expert's transitions; where a time limit cut an episode, its last
        state keeps a value, on both sides
    :param learning_rate: of the generator
    :param generator: name or class of an off-policy algorithm; None for `"dqn"` where actions are
        discrete, and `"sac"` where they are continuous
    :param generator_kwargs: its other arguments (`buffer_size`, `learning_starts`, ...)
    :param bc_warm_start: see `GeneratorAlgorithm`
    :param kwargs: see `DemonstrationAlgorithm`
    :raises InapplicableError: the generator has no replay buffer, or does not suit the spaces
    """

    trainer: sqil.SQIL
    generator_model: OffPolicyAlgorithm

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        learning_rate: float | Schedule = 3e-4,
        generator: str | type[BaseAlgorithm] | None = None,
        generator_kwargs: dict[str, Any] | None = None,
        bc_warm_start: int | bool | None = None,
        _init_setup_model: bool = True,
        **kwargs: Unpack[CommonArguments],
    ) -> None:
        env = make_env(env) if isinstance(env, str) else env
        if demonstrations is not None:
            demonstrations = Demonstrations.coerce(demonstrations, env=env)
        if generator is None:
            space = getattr(demonstrations if env is None else env, "action_space", None)
            generator = "dqn" if isinstance(space, spaces.Discrete) else "sac"
        super().__init__(
            policy,
            env,
            demonstrations,
            learning_rate=learning_rate,
            generator=generator,
            generator_kwargs=generator_kwargs,
            bc_warm_start=bc_warm_start,
            **kwargs,
        )
        if _init_setup_model:
            self._setup_model()

    def set_demonstrations(self, demonstrations: Any) -> None:
        """Give the algorithm (other) demonstrations to imitate."""
        super().set_demonstrations(demonstrations)
        if hasattr(self, "trainer"):
            self._fill_expert_buffer()

    # -- building --------------------------------------------------------------------------------

    def _build_generator(self, **arguments: Any) -> BaseAlgorithm:
        name = self._generator_class.__name__
        if not issubclass(self._generator_class, OffPolicyAlgorithm):
            raise InapplicableError(
                f"SQIL puts the demonstrations into a replay buffer, which {name} does not have; "
                "use an off-policy generator: 'dqn' or 'qrdqn' for discrete actions, 'sac', 'td3', "
                "'ddpg' or 'tqc' for continuous ones"
            )
        for taken in ("replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage"):
            if taken in self.generator_kwargs:
                raise InapplicableError(
                    f"generator_kwargs has {taken!r}, but SQIL's replay buffer is its own"
                )
        return super()._build_generator(replay_buffer_class=SQILReplayBuffer, **arguments)

    def _setup_trainer(self) -> None:
        self.trainer = sqil.SQIL(
            venv=self.env,
            demonstrations=None,  # the buffer has them
            policy=self.policy_class,
            custom_logger=BridgeLogger(self),
            rl_algo_class=lambda **_: self.generator_model,
        )
        self.generator_model.set_env(self.env)
        self.generator_model.set_logger(self.trainer.logger)
        if self.demonstrations is not None:
            self._fill_expert_buffer()

    def _fill_expert_buffer(self) -> None:
        data = self._require_demonstrations()
        index = np.arange(len(data))
        actions = data.actions
        if isinstance(self.action_space, spaces.Box):
            actions = self.policy.scale_action(actions)  # as SB3 stores the learner's
        buffer = self.generator_model.replay_buffer
        assert isinstance(buffer, SQILReplayBuffer)
        buffer.set_expert_transitions(
            data.observations_at(index),
            actions,
            data.next_observations_at(index),
            data.terminations,
        )

    # -- learning --------------------------------------------------------------------------------

    def _train_round(self, n_timesteps: int, callback: ForwardCallback) -> None:
        self.trainer.train(
            total_timesteps=n_timesteps, callback=callback, reset_num_timesteps=False
        )


class SQILReplayBuffer(sqil.SQILReplayBuffer):
    """Upstream's buffer, which adds the learner's steps with reward 0, mended from outside.

    Expert transitions are on the learner's device, and their reward stays 1 inside `VecNormalize`;
    a time limit ends an episode without making its last state worthless; and batches may have empty
    fields, as newer versions of SB3 give them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, demonstrations=None, **kwargs)
        self.handle_timeout_termination = True

    def set_demonstrations(self, demonstrations: None) -> None:
        """Begin without demonstrations; `set_expert_transitions` brings them."""

    def set_expert_transitions(
        self,
        observations: Any,
        actions: np.ndarray,
        next_observations: Any,
        terminations: np.ndarray,
    ) -> None:
        """Replace the expert's half.

        :param observations: shape (N, *observation shape), not normalised
        :param actions: shape (N, *action shape), scaled to [-1, 1] where they are continuous
        :param next_observations: shape (N, *observation shape)
        :param terminations: shape (N,), whether the next state is terminal
        """
        n = len(actions)
        # As if N copies of an environment had taken one step each: a single call adds all.
        self.expert_buffer = _ExpertBuffer(
            n, self.observation_space, self.action_space, self.device, n_envs=n
        )
        self.expert_buffer.add(
            observations, next_observations, actions, np.ones(n), terminations, [{}] * n
        )

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw half of a batch from the learner's transitions and half from the expert's."""
        n_own, n_expert = split_in_half(batch_size)
        own = ReplayBuffer.sample(self, n_own, env)
        expert = self.expert_buffer.sample(n_expert, env)
        return concatenate(own, expert)


class _ExpertBuffer(ReplayBuffer):
    """A buffer whose rewards are not the environment's: `VecNormalize` must not scale them."""

    @staticmethod
    def _normalize_reward(reward: np.ndarray, env: VecNormalize | None = None) -> np.ndarray:
        return reward
