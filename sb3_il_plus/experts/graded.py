"""`GradedAgents`: the agents of one environment, from random actions to the expert.

Each is found, trained or measured when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gymnasium import spaces

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.hints import warn
from sb3_il_plus.data.reference_scores import ReferenceScores
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import UserError
from sb3_il_plus.evaluation import evaluate, evaluate_random
from sb3_il_plus.experts.behaviours import noisy_expert, random_expert
from sb3_il_plus.experts.expert import Expert, as_expert
from sb3_il_plus.experts.loading import load_expert
from sb3_il_plus.experts.medium import train_medium
from sb3_il_plus.experts.training import train_expert
from sb3_il_plus.registry import registry

MEDIUM = 1 / 3
"""Where a medium agent stands on the way from random actions to the expert, as in D4RL."""

_TOO_GOOD = 75.0
"""Normalised score of a medium agent from which a warning is worth while."""

_MEASURED = ("random_return", "mean_return", "n_eval_episodes")
"""What `train_expert` notes of an expert in its metadata."""


@dataclass(frozen=True)
class GradedAgents:
    """Where the agents come from.

    :param env_id: id of the environment
    :param expert_source: an algorithm's name, a path, or what `collect` takes
    :param medium_source: the same; None for the expert's algorithm
    :param reference_source: scores, or a name for which D4RL publishes some; None to measure them
    :param training: arguments of `train_expert`, for agents that are trained
    :param n_eval_episodes: episodes over which the reference scores are measured
    :param deterministic: whether the medium agent shall be one in its most likely actions, or in
        sampled ones
    """

    env_id: str
    expert_source: Any = "ppo"
    medium_source: Any = None
    reference_source: ReferenceScores | str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    n_eval_episodes: int = 20
    deterministic: bool = False

    @cached_property
    def spaces(self) -> tuple[spaces.Space, spaces.Space]:
        """Observation and action space of the environment."""
        env = make_env(self.env_id)
        env.close()
        return env.observation_space, env.action_space

    @cached_property
    def expert(self) -> Expert:
        """The expert."""
        if _is_algorithm(self.expert_source):
            return train_expert(self.env_id, self.expert_source, **self.training)
        return self._found(self.expert_source)

    @cached_property
    def reference(self) -> ReferenceScores:
        """Mean returns of random actions and of the expert."""
        if isinstance(self.reference_source, str):
            return ReferenceScores.d4rl(self.reference_source)
        if self.reference_source is not None:
            return self.reference_source
        facts = self.expert.metadata
        if facts.get("env_id") == self.env_id and facts.keys() >= set(_MEASURED):
            return ReferenceScores(*(facts[name] for name in _MEASURED))
        n = self.n_eval_episodes
        own = evaluate(self.expert, self.env_id, n, seed=0, n_envs=min(n, 10))
        random = evaluate_random(self.env_id, n, seed=0, n_envs=min(n, 10))
        return ReferenceScores(random.mean_return, own.mean_return, n)

    @property
    def medium(self) -> Expert:
        """An agent of medium quality.

        :raises UserError: none was named, and the expert was not trained here
        """
        return self._medium[0]

    @property
    def replay(self) -> Demonstrations:
        """All that the medium agent saw in its training.

        :raises UserError: as `medium`, or it was not trained here
        """
        replay = self._medium[1]
        if replay is None:
            raise UserError(
                "'medium-replay' is what an agent saw in its training, which a finished agent does "
                "not hold; name an algorithm for the medium agent, such as medium='sac' (--medium "
                "sac)"
            )
        return replay

    def random(self, seed: int) -> Expert:
        """Uniformly random actions."""
        return random_expert(*self.spaces, seed)

    def noisy(self, level: float, seed: int) -> Expert:
        """The expert with noise."""
        return noisy_expert(self.expert, level, seed)

    @cached_property
    def _medium(self) -> tuple[Expert, Demonstrations | None]:
        source = self.medium_source
        if source is None and _is_algorithm(self.expert_source):
            source = self.expert_source
        if source is None:
            raise UserError(
                "the recipe needs an agent of medium quality: name a saved one, or an algorithm "
                "that is trained until a third of the expert's performance, with medium= (--medium)"
            )
        if not _is_algorithm(source):
            return self._found(source), None
        reference = self.reference
        target = reference.random + MEDIUM * (reference.expert - reference.random)
        agent, replay = train_medium(
            self.env_id,
            source,
            target_return=target,
            deterministic=self.deterministic,
            **self.training,
        )
        score = float(reference.normalize(agent.metadata["mean_return"]))
        if score > _TOO_GOOD:
            warn(
                f"the medium agent already has {score:.0f} % of the expert's performance: "
                f"{source} learned too fast to be stopped at a third; name another with medium="
            )
        return agent, replay

    def _found(self, source: Any) -> Expert:
        if isinstance(source, (str, Path)):
            return load_expert(source, self.env_id)
        return as_expert(source, *self.spaces)


def _is_algorithm(source: Any) -> bool:
    """Whether it is meant as an algorithm's name.

    :raises UnknownNameError: it is neither that nor a path; the message names the nearest
    """
    if not isinstance(source, str):
        return False
    is_path = "/" in source or "." in source or Path(source).exists()
    if source not in registry.names() and is_path:
        return False
    return bool(registry.get(source))
