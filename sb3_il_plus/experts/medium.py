"""`train_medium`: an agent stopped half-way, and all that it saw until then.

D4RL's "medium" data comes from an agent whose training was stopped at about a third of the expert's
performance, and its "medium-replay" data is the replay buffer up to that point. Every algorithm of
the registry can be stopped so: what it saw is recorded in its environment, so that on-policy ones,
which keep no buffer, have their past, too. Both are kept in the cache of `train_expert`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.vec_env import VecEnvRecorder
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import UserError
from sb3_il_plus.evaluation import evaluate
from sb3_il_plus.experts.expert import Expert, as_expert
from sb3_il_plus.experts.training import Training, cache_folder, cached, locked, measure, train

_N_EVALUATIONS, _N_EPISODES = 200, 10
"""The agent is evaluated so many times over the whole budget, on so many episodes."""


def train_medium(
    env_id: str,
    algorithm: str = "ppo",
    *,
    target_return: float,
    total_timesteps: int | None = None,
    seed: int = 0,
    hyperparameters: Mapping[str, Any] | None = None,
    cache_dir: str | Path | None = None,
    n_eval_episodes: int = 20,
    deterministic: bool = False,
    progress_bar: bool = False,
) -> tuple[Expert, Demonstrations]:
    """Train an agent until its mean return reaches a target, or take it from the cache.

    With the seed and settings of `train_expert`, it is that very expert at an earlier time (but
    always trained in `env_id` itself).

    :param env_id: id of the environment
    :param algorithm: a reinforcement-learning algorithm of the registry
    :param target_return: at the first evaluation that reaches it, the training ends; it is
        evaluated 200 times over the whole budget, on 10 episodes each time
    :param total_timesteps: environment steps at most; by default as many as RL Zoo
    :param seed: of the training and of the evaluations
    :param hyperparameters: changes to RL Zoo's, as in `train_expert`
    :param cache_dir: folder to keep agents in
    :param n_eval_episodes: episodes to measure the return with at the end
    :param deterministic: whether returns are those of the agent's most likely actions, or of
        sampled ones, which an agent that has not finished learning often needs
    :param progress_bar: show one while training
    :return: the agent, whose `metadata` says what it reaches, and all steps of its training
    :raises UserError: as `train_expert`, or the target is not reached
    """
    training = Training.tuned(
        env_id,
        algorithm,
        total_timesteps,
        seed,
        hyperparameters,
        stopped_at=target_return,
        deterministic=deterministic,
    )
    path = cache_folder(cache_dir) / training.file_name()
    replay_path = path.with_suffix(".mapped")
    with locked(path):
        agent = cached(path)
        if agent is None or not replay_path.exists():
            agent, replay = _train(training, progress_bar)
            measure(agent, training, n_eval_episodes)
            replay.save(replay_path)  # before the agent, whose file says that both are there
            agent.save(path)
    return agent, Demonstrations.load(replay_path)


def _train(training: Training, progress_bar: bool) -> tuple[Expert, Demonstrations]:
    budget = training.hyperparameters.total_timesteps
    stop = _StopAtReturn(training, eval_freq=max(1, budget // _N_EVALUATIONS))
    with closing(VecEnvRecorder(training.make_vec())) as venv:
        agent = train(training, venv, callback=stop, progress_bar=progress_bar)
        replay = venv.demonstrations(metadata=training.facts())
    if not stop.reached:
        raise UserError(
            f"{training.algorithm} reached a return of {stop.best:.1f} in {training.env_id} after "
            f"{budget} steps, less than the {training.stopped_at:.1f} at which it counts as "
            "medium: train it for longer, with another algorithm, or name an agent"
        )
    return agent, replay


class _StopAtReturn(BaseCallback):
    """Ends the training at the first evaluation that reaches the target.

    :param eval_freq: environment steps between evaluations, of which those are left out that would
        see the agent of the one before
    """

    def __init__(self, training: Training, eval_freq: int) -> None:
        super().__init__()
        assert training.stopped_at is not None
        self.target, self.best, self.reached = training.stopped_at, float("-inf"), False
        self._training, self._eval_freq = training, eval_freq
        self._next, self._n_updates = eval_freq, 0
        env = make_env(training.env_id)
        env.close()
        self._spaces = env.observation_space, env.action_space

    def _on_step(self) -> bool:
        n_updates = getattr(self.model, "_n_updates", self.num_timesteps)
        if self.num_timesteps < self._next or n_updates == self._n_updates:
            return True
        self._next, self._n_updates = self.num_timesteps + self._eval_freq, n_updates
        found = evaluate(
            as_expert(self.model, *self._spaces),
            self._training.env_id,
            _N_EPISODES,
            seed=self._training.seed,
            deterministic=self._training.deterministic,
            n_envs=_N_EPISODES,
        )
        self.best = max(self.best, found.mean_return)
        self.reached = found.mean_return >= self.target
        return not self.reached
