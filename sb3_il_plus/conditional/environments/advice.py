"""An expert that the environment itself knows, because it sees more than an observation shows.

    env = BotAdvice(gymnasium.make("BabyAI-GoToLocal-v0"))  # any wrapper with `expert_action`
    data = collect(EnvironmentExpert(env), env, n_episodes=100)

Planners look into the simulator, and so have no function of an observation. They are a method
`expert_action` of a wrapper instead, and `EnvironmentExpert` asks it.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_il_plus.errors import InapplicableError

METHOD = "expert_action"


class EnvironmentExpert:
    """Does what the environment's method `expert_action` says; it has SB3's `predict`.

    It is an expert of that one environment, in the state in which this is: record it there, or have
    DAgger ask it there.

    :param env: an `Env`, or a `VecEnv`, that it will act in
    :raises InapplicableError: the environment has no method `expert_action`
    """

    def __init__(self, env: gym.Env | VecEnv) -> None:
        venv = env if isinstance(env, VecEnv) else DummyVecEnv([lambda: env])
        try:
            venv.get_attr(METHOD, indices=[0])
        except AttributeError as error:
            raise InapplicableError(
                f"{env} has no method {METHOD!r}, which EnvironmentExpert asks for its actions; "
                "the wrappers in sb3_il_plus.conditional.environments have one"
            ) from error
        self._venv = venv
        self.observation_space, self.action_space = venv.observation_space, venv.action_space

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """What every copy's method says, whatever is observed.

        :return: actions, shape (n_envs, *action shape), and the state, which there is none
        """
        return np.asarray(self._venv.env_method(METHOD)), state


class SuccessReturn(gym.Wrapper):
    """The return of an episode is 1 where it succeeds and 0 where it does not, as in `DrivingEnv`.

    The last step has it as its reward, and in `info["is_success"]`, where SB3's callbacks look.

    :param env: the environment
    :param key: entry of its info that says whether it has succeeded; None for environments whose
        rewards are positive just there
    """

    def __init__(self, env: gym.Env, key: str | None = None) -> None:
        super().__init__(env)
        self._key = key

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Make a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        ended = terminated or truncated
        success = ended and bool(float(reward) > 0 if self._key is None else info[self._key])
        return observation, float(success), terminated, truncated, {**info, "is_success": success}
