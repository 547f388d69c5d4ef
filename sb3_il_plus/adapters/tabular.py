"""Tabular environments, which say how they work, and policies that are a table.

`TabularModel` is what an algorithm that plans reads of an environment, in the form that
`imitation`'s planner wants it. It is read below all wrappers, through which newer versions of
gymnasium no longer show attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.errors import InapplicableError

_NEEDED = ("transition_matrix", "initial_state_dist", "horizon")


@dataclass(frozen=True)
class TabularModel:
    """A finite Markov decision process of S states, A actions and H steps.

    The names are those of `seals.base_envs.TabularModelPOMDP`.
    """

    transition_matrix: np.ndarray
    """Shape (S, A, S): probability of the next state."""
    initial_state_dist: np.ndarray
    """Shape (S,): probability of beginning in a state."""
    observation_matrix: np.ndarray
    """Shape (S, *observation shape): what the environment shows in each state."""
    horizon: int
    """H, the steps of every episode."""

    @classmethod
    def of(cls, venv: VecEnv) -> TabularModel:
        """Read the model of an environment.

        :raises InapplicableError: it has none, it is infinite, or its observations do not tell the
            states apart
        """
        env = venv.get_attr("unwrapped", 0)[0]
        missing = [name for name in _NEEDED if getattr(env, name, None) is None]
        if missing:
            raise InapplicableError(
                f"{type(env).__name__} is not a tabular environment with a finite horizon: it has "
                f"no {' and no '.join(missing)}. seals' TabularModelPOMDP (such as "
                "seals/CliffWorld7x4-v0) shows what is needed"
            )
        model = cls(
            transition_matrix=np.asarray(env.transition_matrix, dtype=np.float64),
            initial_state_dist=np.asarray(env.initial_state_dist, dtype=np.float64),
            observation_matrix=_observations(env, venv.observation_space),
            horizon=int(env.horizon),
        )
        model._check()
        return model

    def _check(self) -> None:
        for name in ("transition_matrix", "initial_state_dist"):
            if not np.allclose(getattr(self, name).sum(axis=-1), 1, atol=1e-4):
                raise InapplicableError(f"the probabilities in {name} do not sum to 1")
        rows = self.observation_matrix.reshape(self.state_dim, -1)
        if len(np.unique(rows, axis=0)) < self.state_dim:
            raise InapplicableError(
                "some states of this environment look alike: wrap it in seals' "
                "ExposePOMDPStateWrapper, whose observation is the state"
            )

    @property
    def state_dim(self) -> int:
        """S, the number of states."""
        return self.transition_matrix.shape[0]

    @property
    def action_dim(self) -> int:
        """A, the number of actions."""
        return self.transition_matrix.shape[1]

    @property
    def state_space(self) -> spaces.Discrete:
        """The states, as upstream asks for them."""
        return spaces.Discrete(self.state_dim)

    @property
    def action_space(self) -> spaces.Discrete:
        """The actions, as upstream asks for them."""
        return spaces.Discrete(self.action_dim)


def _observations(env: Any, shown: spaces.Space) -> np.ndarray:
    """What an environment shows in each of its states: the state's number, or a row."""
    n = len(env.transition_matrix)
    if isinstance(shown, spaces.Discrete):
        rows = np.arange(n) + shown.start
    else:
        rows = np.asarray(getattr(env, "observation_matrix", None))
    if rows.shape != (n, *(shown.shape or ())) or (
        isinstance(shown, spaces.Discrete) and shown.n != n
    ):
        raise InapplicableError(
            f"{type(env).__name__} has {n} states; its observations {shown} are neither their "
            "numbers nor the rows of its observation_matrix"
        )
    return rows


class TabularPolicy(BasePolicy):
    """A probability for each step of an episode, state and action: π[t, s, a].

    Which step it is, is the policy's memory, as in a recurrent policy: `predict` returns it as
    `state`, and SB3's `evaluate_policy` hands it back. Without it, an episode begins.
    """

    pi: th.Tensor
    """Shape (H, S, A)."""
    observations: th.Tensor
    """Shape (S, F): the flattened observation of each state."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        super().__init__(observation_space, action_space)
        self.register_buffer("pi", th.ones(1, 1, 1))
        self.register_buffer("observations", th.zeros(1, 1))

    def set_table(self, pi: np.ndarray, observations: np.ndarray) -> None:
        """Replace the table.

        :param pi: shape (H, S, A)
        :param observations: shape (S, *observation shape)
        """
        flat = observations.reshape(len(observations), -1)
        self.pi = th.as_tensor(pi, dtype=th.float64, device=self.pi.device)
        self.observations = th.as_tensor(flat, dtype=th.float64, device=self.pi.device)

    def states_of(self, observations: np.ndarray) -> th.Tensor:
        """The states that look most like the observations, shape (n,).

        :param observations: shape (n, *observation shape)
        """
        shown = th.tensor(np.asarray(observations), dtype=th.float64, device=self.pi.device)
        known = self.observations
        # |x - y|² without |x|², which is the same for every state y.
        distance = known.square().sum(dim=1) - 2 * shown.reshape(len(shown), -1) @ known.T
        return distance.argmin(dim=1)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose actions; see SB3's `predict`.

        :param state: one array: the steps since each episode began, shape (n,)
        """
        shown = np.asarray(observation)
        is_batch = self.is_vectorized_observation(shown)
        states = self.states_of(shown if is_batch else shown[None])
        steps = np.zeros(len(states), dtype=np.int64) if state is None else state[0].copy()
        if episode_start is not None:
            steps[np.asarray(episode_start, dtype=bool)] = 0
        at = th.as_tensor(steps, device=self.pi.device).clamp(max=len(self.pi) - 1)
        probabilities = self.pi[at, states]
        chosen = probabilities.argmax(1) if deterministic else probabilities.multinomial(1)[:, 0]
        actions = chosen.cpu().numpy()
        return actions if is_batch else actions[0], (steps + 1,)

    def _predict(self, observation: Any, deterministic: bool = False) -> th.Tensor:
        return th.as_tensor(self.predict(observation.cpu().numpy(), None, None, deterministic)[0])

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # A model that is loaded without its environment takes the sizes from the file.
        for name in ("pi", "observations"):
            if f"{prefix}{name}" in state_dict:
                setattr(self, name, th.empty_like(state_dict[f"{prefix}{name}"]))
        super()._load_from_state_dict(state_dict, prefix, *args)
