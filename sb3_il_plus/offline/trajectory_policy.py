"""`TrajectoryPolicy`: a causal transformer that reads returns-to-go, observations and actions.

It acts as SB3's recurrent policies do: `predict` returns a state, which is the episode so far, and
takes it again with the next observation. Rewards are the one thing that `predict` is not told; a
`RewardReporter` around the environment brings them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, unwrap_vec_normalize
from torch import nn

from sb3_il_plus.errors import UserError


class History(NamedTuple):
    """The last K steps of n episodes, the newest one in the row of its number or in the last one.

    It is what `predict` returns as the state.
    """

    features: np.ndarray
    """Shape (n, K, features)."""
    actions: np.ndarray
    """Shape (n, K, action inputs)."""
    returns: np.ndarray
    """Returns-to-go, shape (n, K)."""
    wanted: np.ndarray
    """Return-to-go of the newest step, shape (n,)."""
    n_steps: np.ndarray
    """Steps of the episode so far, shape (n,)."""


class TrajectoryPolicy(BasePolicy):
    """The network of the Decision Transformer (Chen et al. 2021, section 3 and appendix A).

    Each step is three tokens: return-to-go, observation, action. The action is read off where the
    observation stands. Numbers are those of the authors' Gym experiments.

    :param observation_space: what it observes
    :param action_space: `Box` or `Discrete`
    :param lr_schedule: of the optimiser
    :param context_length: K, the steps that it sees
    :param target_return: what it is asked for; None for the largest return in the data
    :param embed_dim: size of a token; 128
    :param n_layers: blocks; 3
    :param n_heads: attention heads; 1
    :param dropout: 0.1
    :param max_timestep: steps of the longest episode, each of which has an embedding, as in the
        paper; 0 for none, where the time says nothing about what to do
    :param features_extractor_class: what makes features of observations
    :param features_extractor_kwargs: its arguments
    :param optimizer_class: AdamW
    :param optimizer_kwargs: its arguments
    """

    remembers = True
    """That `predict` needs its state back, as an `Expert` wants to know."""
    best_return: th.Tensor
    """The largest return in the first data."""
    return_scale: th.Tensor
    """What returns are divided by."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        context_length: int = 20,
        target_return: float | None = None,
        embed_dim: int = 128,
        n_layers: int = 3,
        n_heads: int = 1,
        dropout: float = 0.1,
        max_timestep: int = 1000,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        optimizer_class: type[th.optim.Optimizer] = th.optim.AdamW,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            squash_output=isinstance(action_space, spaces.Box),
        )
        if embed_dim % n_heads:
            raise UserError(f"n_heads={n_heads} must be a divisor of embed_dim={embed_dim}")
        self.context_length = context_length
        self.target_return = target_return
        self.max_timestep = max_timestep
        self.n_choices = int(action_space.n) if isinstance(action_space, spaces.Discrete) else 0
        self.features_extractor = self.make_features_extractor()
        n_actions = self.n_choices or spaces.flatdim(action_space)
        self.embed_return = nn.Linear(1, embed_dim)
        self.embed_observation = nn.Linear(self.features_extractor.features_dim, embed_dim)
        self.embed_action = nn.Linear(n_actions, embed_dim)
        if max_timestep:
            self.embed_time = nn.Embedding(max_timestep, embed_dim)
        self.embed_norm = nn.LayerNorm(embed_dim)
        block = nn.TransformerEncoderLayer(
            embed_dim, n_heads, 4 * embed_dim, dropout, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(
            block, n_layers, nn.LayerNorm(embed_dim), enable_nested_tensor=False
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(embed_dim, n_actions)
        self.apply(_initialize)
        self.register_buffer("best_return", th.tensor(th.nan))
        self.register_buffer("return_scale", th.tensor(th.nan))
        self.optimizer = optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]  # every optimiser but the base has one
            **self.optimizer_kwargs,
        )
        self.reported_rewards: np.ndarray | None = None
        self._history: History | None = None

    # -- the network ---------------------------------------------------------------------------

    def forward(
        self, features: th.Tensor, actions: th.Tensor, returns: th.Tensor, timesteps: th.Tensor
    ) -> th.Tensor:
        """What to do in each step: actions in [-1, 1], or the logits of choices.

        Later steps have no influence on earlier ones, so sequences may be padded at their end.

        :param features: shape (B, T, features)
        :param actions: as `encode_actions` gives them; that of a step is not seen in it
        :param returns: returns-to-go, shape (B, T)
        :param timesteps: steps since the episode began, shape (B, T)
        :return: shape (B, T, action dimension or number of choices)
        """
        tokens = th.stack(
            [
                self.embed_return((returns / self.return_scale)[..., None]),
                self.embed_observation(features),
                self.embed_action(actions),
            ],
            2,
        )
        if self.max_timestep:
            time = self.embed_time(timesteps.clamp(max=self.max_timestep - 1))
            tokens = tokens + time[:, :, None]
        tokens = self.dropout(self.embed_norm(tokens.flatten(1, 2)))
        n_tokens = tokens.shape[1]
        later = th.ones(n_tokens, n_tokens, dtype=th.bool, device=tokens.device).triu(1)
        read = self.blocks(tokens, mask=later, is_causal=True)[:, 1::3]
        outputs: th.Tensor = self.head(read)
        return outputs if self.n_choices else outputs.tanh()

    def features_of(self, observations: th.Tensor) -> th.Tensor:
        """Features of sequences of observations, shape (B, T, features)."""
        flat = self.extract_features(observations.flatten(0, 1), self.features_extractor)
        return flat.unflatten(0, observations.shape[:2])

    def encode_actions(self, actions: th.Tensor) -> th.Tensor:
        """Actions as the network reads them: scaled to [-1, 1], or one-hot.

        :param actions: of the environment, shape (B, T, *action shape)
        """
        if self.n_choices:
            start = int(self.action_space.start)  # type: ignore[attr-defined]
            return nn.functional.one_hot(actions.long() - start, self.n_choices).float()
        low, high = (
            th.as_tensor(np.asarray(bound), dtype=th.float32, device=self.device).flatten()
            for bound in (self.action_space.low, self.action_space.high)  # type: ignore[attr-defined]
        )
        return 2.0 * (actions.flatten(2) - low) / (high - low) - 1.0

    # -- acting --------------------------------------------------------------------------------

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Choose actions, as SB3's recurrent policies do.

        :param observation: one, or a batch of n
        :param state: what the last call returned; None begins all episodes
        :param episode_start: shape (n,), where an episode begins
        :param deterministic: the most likely choice instead of a sampled one; continuous actions
            are always the same
        :return: actions, and the state for the next call
        """
        rewards, self.reported_rewards = self.reported_rewards, None
        if state is not None:
            state = _continued(History(*state), rewards, episode_start)
        self._history = state
        actions, _ = super().predict(observation, None, None, deterministic)
        history, self._history = self._history, None
        return actions, history

    def _predict(self, observation: Any, deterministic: bool = False) -> th.Tensor:
        features = self.extract_features(observation, self.features_extractor)
        history, newest = self._with_observation(features.cpu().numpy())
        rows = np.arange(len(newest))
        first = history.n_steps - newest
        inputs = [history.features, history.actions, history.returns]
        tensors = [th.as_tensor(array, device=self.device) for array in inputs]
        times = first[:, None] + np.arange(self.context_length)
        outputs = self(*tensors, th.as_tensor(times, device=self.device))[rows, newest]
        if not self.n_choices:
            history.actions[rows, newest] = outputs.cpu().numpy()
        elif deterministic:
            outputs = outputs.argmax(-1)
        else:
            outputs = th.distributions.Categorical(logits=outputs).sample()
        if self.n_choices:
            history.actions[rows, newest] = np.eye(self.n_choices)[outputs.cpu().numpy()]
            outputs = outputs + int(self.action_space.start)  # type: ignore[attr-defined]
        self._history = history._replace(n_steps=history.n_steps + 1)
        return outputs

    def _with_observation(self, features: np.ndarray) -> tuple[History, np.ndarray]:
        """The history with the step that is to be decided, and the row in which that stands."""
        n, length = len(features), self.context_length
        target = self._target()
        old = self._history
        if old is None:
            old = History(
                np.zeros((n, length, features.shape[-1]), dtype=np.float32),
                np.zeros((n, length, self.embed_action.in_features), dtype=np.float32),
                np.zeros((n, length), dtype=np.float32),
                np.full(n, target, dtype=np.float32),
                np.zeros(n, dtype=np.int64),
            )
        wanted = np.where(old.n_steps == 0, np.float32(target), old.wanted)
        new = History(*(array.copy() for array in old))._replace(wanted=wanted)
        full = new.n_steps >= length
        for array in new[:3]:
            array[full] = np.roll(array[full], -1, axis=1)
        newest = np.minimum(new.n_steps, length - 1)
        rows = np.arange(n)
        new.features[rows, newest] = features
        new.actions[rows, newest] = 0.0
        new.returns[rows, newest] = wanted
        return new, newest

    def _target(self) -> float:
        if self.target_return is not None:
            return self.target_return
        best = float(self.best_return)
        return 0.0 if np.isnan(best) else best


def _continued(
    history: History, rewards: np.ndarray | None, episode_start: np.ndarray | None
) -> History:
    """Take what was earned off what is wanted, and forget episodes that are over."""
    wanted, n_steps = history.wanted, history.n_steps
    if rewards is not None and len(rewards) == len(wanted):
        wanted = wanted - rewards.astype(np.float32)
    if episode_start is not None:
        n_steps = np.where(np.asarray(episode_start, dtype=bool), 0, n_steps)
    return history._replace(wanted=wanted, n_steps=n_steps)


class RewardReporter(VecEnvWrapper):
    """Tells a `TrajectoryPolicy` the rewards of each step, which `predict` is not given.

    Those of a `VecNormalize` are told as they were before it.

    :param venv: what is acted in
    :param policy: whose next `predict` is about this environment
    """

    def __init__(self, venv: VecEnv, policy: TrajectoryPolicy) -> None:
        super().__init__(venv)
        self._policy = policy

    def reset(self) -> Any:
        """Begin all episodes."""
        self._policy.reported_rewards = None
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Make a step, and report what it earned."""
        result = self.venv.step_wait()
        normalized = unwrap_vec_normalize(self.venv)
        self._policy.reported_rewards = (
            np.array(result[1]) if normalized is None else normalized.get_original_reward()
        )
        return result


def _initialize(module: nn.Module) -> None:
    """Weights as GPT-2 has them in the beginning."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        nn.init.normal_(module.in_proj_weight, std=0.02)
