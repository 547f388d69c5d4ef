"""Which algorithm of d3rlpy is which of ours, with the same hyperparameters on both sides.

`PAIRS` is the table; the rest builds, trains and wraps d3rlpy's side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import zip_longest
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium import spaces
from offline_data import MIXED, cartpole, pendulum

from sb3_il_plus import Demonstrations

N_UPDATES, N_TRANSITIONS, N_EPISODES = 1000, 10_000, 20
BATCH, LEARNING_RATE, GAMMA, TAU, REWARD_SCALE = 128, 3e-3, 0.95, 0.02, 0.1
NET_ARCH = [64, 64]

SHARED = {
    "learning_rate": LEARNING_RATE,
    "batch_size": BATCH,
    "gamma": GAMMA,
    "tau": TAU,
    "reward_scale": REWARD_SCALE,
}

Settings = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Pair:
    """One algorithm in one environment.

    :param ours: its registered name
    :param settings: ours, beside those that all share
    :param theirs: d3rlpy's class; empty where it has none
    :param their_settings: the same hyperparameters in d3rlpy's names
    :param shared: what of ours all share
    """

    env_id: str
    ours: str
    settings: Settings
    theirs: str = ""
    their_settings: Settings = dataclasses.field(default_factory=dict)
    shared: tuple[str, ...] = ("learning_rate", "batch_size", "gamma", "tau", "reward_scale")

    def our_settings(self) -> Settings:
        """All of ours."""
        networks = {"policy_kwargs": {"net_arch": NET_ARCH}}
        return networks | {name: SHARED[name] for name in self.shared} | self.settings


CONTINUOUS, DISCRETE = "Pendulum-v1", "CartPole-v1"
DATA: dict[str, Callable[..., Demonstrations]] = {CONTINUOUS: pendulum, DISCRETE: cartpole}
QUALITIES = {"random": "random", "medium": "medium", "expert": "expert", "mixed": MIXED}
SUPERVISED = ("learning_rate", "batch_size")
CLONING = {"l2_weight": 0.0, "ent_weight": 0.0}
COPYING = {"tau": 1.0, "target_update_interval": 50}
"""d3rlpy's target networks of choices are copied now and then."""
THEIR_COPYING = {"target_update_interval": 50}
TRANSFORMER = {
    "context_length": 10,
    "learning_rate": 1e-3,
    "batch_size": 64,
    "warmup_steps": 100,
    "policy_kwargs": {"embed_dim": 64, "n_layers": 2},
}

CONTINUOUS_PAIRS = [
    Pair(
        CONTINUOUS,
        "td3_bc",
        {"alpha": 10.0, "policy_delay": 1, "normalize_observations": False},
        "TD3PlusBC",
        {"alpha": 10.0, "update_actor_interval": 1},
    ),
    Pair(
        CONTINUOUS,
        "iql",
        {"beta": 10.0, "decay_actor_learning_rate": False},
        "IQL",
        {"weight_temp": 10.0},
    ),
    Pair(
        CONTINUOUS,
        "cql",
        {"cql_alpha": 0.2, "cql_n_actions": 3, "actor_learning_rate": None},
        "CQL",
        {"conservative_weight": 0.2, "n_action_samples": 3, "alpha_learning_rate": 0.0},
    ),
    Pair(CONTINUOUS, "bc", {"policy_of": "td3", "loss": "mse"} | CLONING, "BC", {}, SUPERVISED),
    Pair(CONTINUOUS, "awac", {"lam": 0.1, "actor_weight_decay": 0.0}, "AWAC", {"lam": 0.1}),
    Pair(
        CONTINUOUS,
        "rebrac",
        {"beta1": 0.1, "beta2": 0.01, "policy_delay": 1},
        "ReBRAC",
        {"actor_beta": 0.1, "critic_beta": 0.01, "update_actor_interval": 1},
    ),
    Pair(CONTINUOUS, "offline_td3", {"policy_delay": 1}, "TD3", {"update_actor_interval": 1}),
    Pair(CONTINUOUS, "offline_sac", {}, "SAC"),
    Pair(
        CONTINUOUS,
        "crr",
        {"beta": 0.1, "target_update_interval": 1},
        "CRR",
        {"beta": 0.1, "target_update_type": "soft"},
    ),
    Pair(
        CONTINUOUS,
        "bcq",
        {
            "n_action_samples": 10,
            "policy_kwargs": {"net_arch": NET_ARCH, "vae_arch": NET_ARCH},
        },
        "BCQ",
        {"n_action_samples": 10},
    ),
    Pair(
        CONTINUOUS,
        "cal_ql",
        {"cql_alpha": 0.2, "cql_n_actions": 3, "actor_learning_rate": None},
        "CalQL",
        {"conservative_weight": 0.2, "n_action_samples": 3, "alpha_learning_rate": 0.0},
    ),
    Pair(CONTINUOUS, "sac_n", {}),
    Pair(CONTINUOUS, "edac", {}),
    Pair(
        CONTINUOUS,
        "xql",
        {"loss_temp": 0.1, "beta": 10.0, "decay_actor_learning_rate": False},
    ),
    Pair(
        CONTINUOUS,
        "percentile_bc",
        {"percentage": 10.0, "policy_of": "td3", "loss": "mse"} | CLONING,
        shared=SUPERVISED,
    ),
    Pair(CONTINUOUS, "decision_transformer", TRANSFORMER, shared=()),
]
DISCRETE_PAIRS = [
    Pair(DISCRETE, "bc", CLONING, "DiscreteBC", {"beta": 0.0}, SUPERVISED),
    Pair(DISCRETE, "discrete_iql", {"beta": 10.0, "decay_actor_learning_rate": False}),
    Pair(
        DISCRETE,
        "discrete_cql",
        {"alpha": 0.5} | COPYING,
        "DiscreteCQL",
        {"alpha": 0.5} | THEIR_COPYING,
    ),
    Pair(
        DISCRETE,
        "discrete_bcq",
        {"logit_weight": 0.01} | COPYING,
        "DiscreteBCQ",
        {"beta": 0.01, "share_encoder": False} | THEIR_COPYING,
    ),
    Pair(DISCRETE, "offline_dqn", COPYING, "DoubleDQN", THEIR_COPYING),
    Pair(DISCRETE, "discrete_awac", {"lam": 0.1}),
    Pair(DISCRETE, "discrete_crr", {"beta": 0.1} | COPYING),
    Pair(DISCRETE, "percentile_bc", {"percentage": 10.0} | CLONING, shared=SUPERVISED),
    Pair(DISCRETE, "decision_transformer", TRANSFORMER, shared=()),
]
PAIRS = [
    pair
    for both in zip_longest(CONTINUOUS_PAIRS, DISCRETE_PAIRS)
    for pair in both
    if pair is not None
]
"""Those of both environments in turn."""


class Peer:
    """An algorithm of d3rlpy that is trained on our data and acts as an SB3 model does.

    :param pair: says which
    :param data: what it learns from
    :param seed: of its weights and batches
    """

    def __init__(self, pair: Pair, data: Demonstrations, seed: int) -> None:
        import d3rlpy

        d3rlpy.seed(seed)
        self.observation_space, self.action_space = data.observation_space, data.action_space
        self._algorithm = their_config(pair).create(device="cpu:0")
        n_actions = getattr(data.action_space, "n", None)
        size = int(n_actions) if n_actions else data.action_space.shape[0]  # type: ignore[index]
        self._algorithm.create_impl(data.observation_space.shape, size)
        self._batch = batches(data, REWARD_SCALE, np.random.default_rng(seed))

    def learn(self, n_updates: int) -> Peer:
        """Make gradient updates."""
        for _ in range(n_updates):
            self._algorithm.update(self._batch())
        return self

    def predict(self, observation: np.ndarray, **_: Any) -> tuple[np.ndarray, None]:
        """Its best actions, for a batch of observations."""
        actions = self._algorithm.predict(np.asarray(observation, dtype=np.float32))
        if isinstance(self.action_space, spaces.Box):
            low, high = self.action_space.low, self.action_space.high
            actions = low + (np.clip(actions, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
        return actions, None


def their_config(pair: Pair) -> Any:
    """d3rlpy's configuration, with our networks, rates and discounts wherever it has such."""
    import d3rlpy

    kind = getattr(d3rlpy.algos, f"{pair.theirs}Config")
    shared = {"batch_size": BATCH, "gamma": GAMMA, "tau": TAU}
    given: Settings = {}
    for field in dataclasses.fields(kind):
        if field.name.endswith("encoder_factory"):
            normed = pair.theirs == "ReBRAC" and field.name == "critic_encoder_factory"
            given[field.name] = d3rlpy.models.VectorEncoderFactory(
                list(NET_ARCH), use_layer_norm=normed
            )
        elif field.name.endswith("learning_rate"):
            given[field.name] = LEARNING_RATE
        elif field.name in shared:
            given[field.name] = shared[field.name]
    return kind(**given | pair.their_settings)


def batches(data: Demonstrations, scale: float, rng: np.random.Generator) -> Callable[[], Any]:
    """Random mini-batches in d3rlpy's form, of the transitions that ours learn from.

    d3rlpy's own sampling leaves out the last step before a time limit, and takes longer than the
    update does.
    """
    from d3rlpy.dataset import TransitionMiniBatch

    columns = transitions(data, scale)
    n = len(data)

    def draw() -> Any:
        index = rng.integers(n, size=BATCH)
        found = {name: column[index] for name, column in columns.items()}
        returns = found.pop("returns_to_go")
        rest = [SimpleNamespace(rewards_to_go=value) for value in returns]
        return TransitionMiniBatch(**found, transitions=rest)

    return draw


def transitions(data: Demonstrations, scale: float) -> dict[str, np.ndarray]:
    """All transitions, with actions in [-1, 1] and the discounted rewards that followed."""
    n = len(data)
    lasts = data.offsets[1:] - 1
    actions = np.asarray(data.actions)
    if isinstance(data.action_space, spaces.Box):
        low, high = data.action_space.low, data.action_space.high
        actions = 2.0 * (actions - low) / (high - low) - 1.0
    actions = actions.reshape(n, -1).astype(np.float32)
    next_actions = np.roll(actions, -1, axis=0)
    next_actions[lasts] = actions[lasts]
    rewards = np.asarray(data.rewards, dtype=np.float32)[:, None] * scale
    returns = rewards.copy()
    ends = set(lasts.tolist())
    for step in reversed(range(n)):
        if step not in ends:
            returns[step] += GAMMA * returns[step + 1]
    return {
        "observations": data.observations_at(np.arange(n)),
        "actions": actions,
        "rewards": rewards,
        "next_observations": data.next_observations_at(np.arange(n)),
        "next_actions": next_actions,
        "returns_to_go": returns,
        "terminals": data.terminations[:, None].astype(np.float32),
        "intervals": np.ones((n, 1), dtype=np.float32),
    }
