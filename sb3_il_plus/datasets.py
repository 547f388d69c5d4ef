"""`make_dataset`: data of graded quality from any experts, the way D4RL makes it.

    data = make_dataset("Pendulum-v1", "medium-expert", n_timesteps=20_000, expert="sac", seed=0)
    normalized_score(data.episode_returns, data)

A recipe (see `data.recipes`) names parts, and each part is recorded from an agent. Agents are found
or trained when a part first asks for them. The returns of random actions and of the expert are
measured and kept in the metadata, so that scores can be normalised.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.assembly import keep_steps
from sb3_il_plus.data.collect import collect_pieces, collecting
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.hints import warn
from sb3_il_plus.data.metadata import library_versions
from sb3_il_plus.data.recipes import Part, parse_recipe, shares
from sb3_il_plus.data.reference_scores import ReferenceScores
from sb3_il_plus.data.stream import in_pieces, joined, steps_per_piece
from sb3_il_plus.errors import UserError
from sb3_il_plus.experts.expert import Expert
from sb3_il_plus.experts.graded import GradedAgents
from sb3_il_plus.randomness import child_generator, child_seed

DEFAULT_TIMESTEPS = 100_000
"""Transitions of a data set whose size is not given."""

_PIECE_STEPS = 50_000


def make_dataset(env_id: str, recipe: str, **options: Any) -> Demonstrations:
    """Record a data set of the quality that a recipe names.

    :param env_id: id of the environment
    :param recipe: "random", "medium", "expert", "noisy(0.3)", "medium-replay", "medium-expert" or a
        mixture such as "0.9*random + 0.1*expert"; see `data.recipes`
    :param options: size, agents, reference scores and seed: see `dataset_pieces`
    :return: the parts one after the other. The metadata holds the recipe, its parts and the
        reference scores
    :raises UserError: an argument is wrong, or an agent that is needed is missing
    """
    return joined(dataset_pieces(env_id, recipe, **options))


def dataset_pieces(
    env_id: str,
    recipe: str,
    *,
    n_episodes: int | None = None,
    n_timesteps: int | None = None,
    expert: Any = "ppo",
    medium: Any = None,
    training: Mapping[str, Any] | None = None,
    reference: ReferenceScores | str | None = None,
    n_eval_episodes: int = 20,
    deterministic: bool = False,
    seed: int = 0,
    n_envs: int = 1,
    progress_bar: bool = False,
) -> Iterator[Demonstrations]:
    """`make_dataset` piece by piece: a stream, for data larger than memory.

    :param env_id: id of the environment
    :param recipe: as in `make_dataset`
    :param n_episodes: whole episodes to record, divided among the parts by their weights
    :param n_timesteps: transitions instead, exactly; the episode that is cut at the end of a part
        is a fragment. By default 100,000, or all there is where the recipe is "medium-replay"
    :param expert: name of an algorithm that trains one with `train_expert` unless it is cached,
        path of a saved agent, or what `collect` takes
    :param medium: the same. An algorithm is trained until its return is a third of the way from
        random actions to the expert; by default that is the expert's. "medium-replay" is what it
        saw until then, so it needs an algorithm
    :param training: arguments of `train_expert` for agents that are trained: `total_timesteps`,
        `hyperparameters`, `seed`, `cache_dir`
    :param reference: scores, or a name for which D4RL publishes some; by default those of random
        actions and of the expert are measured
    :param n_eval_episodes: episodes to measure them over, unless the expert's file holds them
    :param deterministic: record the agents' most likely actions; by default they are sampled, as in
        D4RL
    :param seed: of environments, sampled actions and noise; the same seed gives the same data
    :param n_envs: copies of the environment to run side by side; each can add a fragment
    :param progress_bar: show one
    :raises UserError: an argument is wrong, or an agent that is needed is missing
    """
    parts = parse_recipe(recipe)
    if n_episodes is not None and n_timesteps is not None:
        raise UserError("give either n_episodes=... or n_timesteps=...")
    for name, number in {
        "n_episodes": n_episodes,
        "n_timesteps": n_timesteps,
        "n_eval_episodes": n_eval_episodes,
        "n_envs": n_envs,
    }.items():
        if number is not None and number < 1:
            raise UserError(f"{name}={number} must be at least 1")
    training = {"progress_bar": progress_bar, **(training or {})}
    agents = GradedAgents(
        env_id, expert, medium, reference, training, n_eval_episodes, deterministic
    )
    recorders = _recorders(agents, parts, n_episodes, n_timesteps, seed)
    facts = {"recipe": recipe, "seed": seed}
    return _pieces(agents, recorders, facts, n_envs, progress_bar)


def _pieces(
    agents: GradedAgents,
    recorders: Iterable[_Recorder],
    facts: Mapping[str, Any],
    n_envs: int,
    progress_bar: bool,
) -> Iterator[Demonstrations]:
    """Find or train the agents, and record all parts."""
    recorders = list(recorders)
    metadata = {
        "env_id": agents.env_id,
        "expert": " + ".join(dict.fromkeys(recorder.agent for recorder in recorders)),
        **facts,
        "parts": [recorder.facts() for recorder in recorders],
        **agents.reference.metadata(),
        "deterministic": agents.deterministic,
        "versions": library_versions(),
    }
    total = sum(recorder.amount for recorder in recorders)
    with collecting(progress_bar, total, recorders[0].unit.removeprefix("n_")) as advance:
        for recorder in recorders:
            for piece in recorder.pieces(agents.env_id, agents.deterministic, n_envs, advance):
                yield dataclasses.replace(piece, metadata=metadata)


def _recorders(
    agents: GradedAgents,
    parts: tuple[Part, ...],
    n_episodes: int | None,
    n_timesteps: int | None,
    seed: int,
) -> Iterator[_Recorder]:
    """Divide the size among the parts."""
    unit, amount = "n_episodes", n_episodes
    if amount is None:
        unit, amount = "n_timesteps", n_timesteps
    if amount is None:
        only_replay = all(part.name == "medium-replay" for part in parts)
        amount = len(agents.replay) if only_replay else DEFAULT_TIMESTEPS
    for number, (part, share) in enumerate(zip(parts, shares(parts, amount), strict=True)):
        part_seed = child_seed(seed, f"part {number}")
        yield _Recorder.of(str(part), _source(agents, part, part_seed), share, unit, part_seed)


@dataclass(frozen=True)
class _Recorder:
    """Makes one part of a data set.

    :param name: of the part, as in the recipe
    :param source: who acts, or what was seen already
    :param amount: how much to record
    :param unit: of the amount: "n_episodes" or "n_timesteps"
    :param seed: of this part
    """

    name: str
    source: Expert | Demonstrations
    amount: int
    unit: str
    seed: int

    @classmethod
    def of(
        cls, name: str, source: Expert | Demonstrations, amount: int, unit: str, seed: int
    ) -> _Recorder:
        """Take what there is, where there is less than `amount`."""
        if isinstance(source, Demonstrations):
            available = source.n_episodes if unit == "n_episodes" else len(source)
            if available < amount:
                warn(f"{name} has only {available:,} of the {amount:,} {unit.removeprefix('n_')}")
                amount = available
        return cls(name, source, amount, unit, seed)

    @property
    def agent(self) -> str:
        """Who acted."""
        if isinstance(self.source, Expert):
            return self.source.name
        return f"training of {self.source.metadata['algorithm']}"

    def facts(self) -> dict[str, Any]:
        """What the metadata says of it."""
        measured = self.source.metadata.get("mean_return")
        known = {} if measured is None else {"agent_mean_return": measured}
        return {"recipe": self.name, "agent": self.agent, self.unit: self.amount, **known}

    def pieces(
        self, env_id: str, deterministic: bool, n_envs: int, advance: Callable[[int], None]
    ) -> Iterator[Demonstrations]:
        """Record it."""
        if isinstance(self.source, Demonstrations):
            yield from in_pieces(_some(self.source, self.amount, self.unit, self.seed))
            advance(self.amount)
            return
        yield from collect_pieces(
            self.source,
            env_id,
            **{self.unit: self.amount},
            deterministic=deterministic,
            seed=self.seed,
            n_envs=n_envs,
            piece_steps=_piece_steps(self.source),
            advance=advance,
        )


def _piece_steps(source: Expert) -> int:
    """How many steps to hold in memory before they are passed on; fewer of images."""
    entries = [entry for _, entry in col.named_spaces(source.observation_space)]
    n_bytes = sum(
        math.prod(entry.shape or ()) * np.dtype(entry.dtype).itemsize for entry in entries
    )
    return min(_PIECE_STEPS, steps_per_piece(n_bytes))


def _source(agents: GradedAgents, part: Part, seed: int) -> Expert | Demonstrations:
    match part.name:
        case "random":
            return agents.random(seed)
        case "medium":
            return agents.medium
        case "medium-replay":
            return agents.replay
        case "noisy":
            return agents.noisy(part.level, seed)
        case _:
            return agents.expert


def _some(data: Demonstrations, amount: int, unit: str, seed: int) -> Demonstrations:
    """Episodes drawn at random, in their order; the last one drawn may be cut."""
    if unit == "n_episodes":
        return data.sample_episodes(amount, seed)
    order = child_generator(seed, "episodes").permutation(data.n_episodes)
    before = np.cumsum(data.episode_lengths[order]) - data.episode_lengths[order]
    room = np.zeros(data.n_episodes, dtype=np.int64)
    room[order] = np.maximum(0, amount - before)
    step = np.arange(len(data)) - data.offsets[data.episode_index]
    return keep_steps(data, step < room[data.episode_index])
