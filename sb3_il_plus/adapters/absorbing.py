"""Absorbing states: for `horizon="pad"`, an episode that ends goes on in a state of its own.

When an episode ends tells a learner about the reward: one that is paid in each step is paid for
surviving, whatever the expert did. Discriminator-actor-critic (Kostrikov et al. 2019,
arXiv:1809.02925, section 4.2) lets a terminal state lead to an absorbing one, s_a, that leads to
itself for ever. The reward net judges it like any other, and no episode ends early any more:

    R_T = r(s_T, a_T, s_a) + γ r(s_a) / (1 − γ)        the return of the last step, there and here

The authors' code has the critic learn the second term; here it is computed. So policies and critics
never see s_a, and observation space, policy, episodes and timesteps stay the environment's own.
Only the reward net knows s_a, by one more feature. Elsewhere, s_a is the observation that is NaN in
every place, which no environment shows. An episode cut by a time limit has not ended, and its value
is the critic's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from imitation.rewards.reward_nets import PredictProcessedWrapper, RewardNet, RewardNetWrapper
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_il_plus.errors import InapplicableError

ABSORBING = np.nan
"""Each entry of the absorbing state's observation."""


def check_absorbing(observation_space: spaces.Space) -> None:
    """Refuse observations to which no absorbing state can be added.

    :raises InapplicableError: they are not vectors of floating-point numbers
    """
    if (
        not isinstance(observation_space, spaces.Box)
        or len(observation_space.shape) != 1
        or np.dtype(observation_space.dtype).kind != "f"
    ):
        raise InapplicableError(
            "horizon='pad' adds a feature to the reward net's observation, which has to be a "
            f"vector of floating-point numbers; here it is {observation_space}. "
            "horizon='allow' accepts episodes of different length as they are"
        )


def is_absorbing(observations: np.ndarray) -> np.ndarray:
    """Which of n observations, shape (n, d), are the absorbing state; shape (n,)."""
    return np.isnan(observations).any(axis=1)


class AbsorbingEnds(VecEnvWrapper):
    """Let episodes end in the absorbing state; those cut by a time limit stay as they are.

    It is the `terminal_observation` of a step that ended an episode, which is where SB3 and
    `imitation` look for the last observation.
    """

    def reset(self) -> VecEnvObs:
        """Begin an episode in each copy."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Step, with terminal observations replaced."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for i in np.flatnonzero(dones):
            if not infos[i].get("TimeLimit.truncated", False):
                last = np.full_like(infos[i]["terminal_observation"], ABSORBING)
                infos[i] = {**infos[i], "terminal_observation": last}
        return observations, rewards, dones, infos


class AbsorbingRewardNet(RewardNet):
    """A reward net that sees the absorbing state as zeros, and one more feature that marks it.

    There, no action matters: it is zero as well.

    :param observation_space: without the feature
    :param action_space: of the environment
    :param build: makes the net around which this one is, from the observation space with the
        feature and the action space
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        build: Callable[[spaces.Space, spaces.Space], RewardNet],
    ) -> None:
        super().__init__(observation_space, action_space)
        assert isinstance(observation_space, spaces.Box)
        self.base = build(_with_feature(observation_space), action_space)

    def preprocess(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, done: np.ndarray
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
        """Make tensors of n transitions; those of the observations have shape (n, d + 1)."""
        now, act, after, over = super().preprocess(state, action, next_state, done)
        elsewhere = ~now.isnan().any(dim=1, keepdim=True)
        # No episode is over any more, and those that a time limit cut are not to be told apart.
        return _marked(now), act.where(elsewhere, 0.0), _marked(after), th.zeros_like(over)

    def forward(
        self, state: th.Tensor, action: th.Tensor, next_state: th.Tensor, done: th.Tensor
    ) -> th.Tensor:
        """Rewards of preprocessed transitions, shape (n,)."""
        return self.base(state, action, next_state, done)

    def unshaped(self) -> AbsorbingRewardNet:
        """The same without the wrappers around the innermost net: AIRL's r without its shaping."""
        net = self.base
        while isinstance(net, RewardNetWrapper):
            net = net.base
        innermost = net
        return AbsorbingRewardNet(self.observation_space, self.action_space, lambda *_: innermost)


class LaterRewards(PredictProcessedWrapper):
    """Add γ r(s_a) / (1 − γ) to the processed reward of each step that leads to s_a.

    :param base: the reward of single steps
    :param gamma: the discount of whoever learns from it
    :raises InapplicableError: the sum is not finite
    """

    def __init__(self, base: RewardNet, gamma: float) -> None:
        super().__init__(base)
        if gamma >= 1:
            raise InapplicableError(
                f"gamma={gamma}: with horizon='pad' rewards go on for ever, and their sum is "
                "finite for a discount below 1 only; set one in generator_kwargs"
            )
        self.gamma = gamma

    def predict_processed(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        done: np.ndarray,
        **kwargs: Any,
    ) -> np.ndarray:
        """Rewards of n transitions, shape (n,)."""
        rewards = self.base.predict_processed(state, action, next_state, done, **kwargs)
        ends = is_absorbing(next_state)
        if not ends.any():
            return rewards
        staying = _staying(1, state, action).values()
        later = self.base.predict_processed(*staying, **{**kwargs, "update_stats": False})
        return rewards + ends * np.float32(self.gamma / (1 - self.gamma)) * later


def add_absorbing(batch: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A batch of the same size in which each end is followed by one transition from s_a to itself.

    One for each end, for expert and learner alike, as in the authors' code: how many there are on
    either side tells the reward net who ends episodes.

    :param batch: transitions, drawn independently, under `imitation`'s names
    """
    n, ends = len(batch["obs"]), is_absorbing(batch["next_obs"])
    added = _staying(int(ends.sum()), batch["obs"], batch["acts"])
    kept = rng.choice(n + len(added["obs"]), n, replace=False)
    return {name: np.concatenate([batch[name], column])[kept] for name, column in added.items()}


def without_absorbing(observations: Any) -> Any:
    """Finite next observations for a critic, which multiplies what it says of an end by zero."""
    if isinstance(observations, dict):
        return observations
    return observations.where(~observations.isnan(), 0.0)


def _staying(n: int, obs: np.ndarray, acts: np.ndarray) -> dict[str, np.ndarray]:
    """`n` transitions from s_a to itself, in the shapes of given ones."""
    state = np.full((n, *obs.shape[1:]), ABSORBING, dtype=obs.dtype)
    return {
        "obs": state,
        "acts": np.zeros((n, *acts.shape[1:]), dtype=acts.dtype),
        "next_obs": state,
        "dones": np.zeros(n, dtype=bool),
    }


def _marked(state: th.Tensor) -> th.Tensor:
    over = state.isnan().any(dim=1, keepdim=True)
    return th.cat([state.where(~over, 0.0), over.to(state.dtype)], dim=1)


def _with_feature(space: spaces.Box) -> spaces.Box:
    return spaces.Box(np.append(space.low, 0), np.append(space.high, 1), dtype=np.float32)
