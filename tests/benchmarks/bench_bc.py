"""BC's batches per second against `imitation` fed with `Transitions`, same policy and batches.

python tests/benchmarks/bench_bc.py
"""

import tempfile

import numpy as np
import torch as th
from gymnasium import spaces
from imitation.algorithms import bc
from imitation.data.types import Transitions
from imitation.util.logger import configure
from stable_baselines3.common.policies import ActorCriticPolicy
from timing import alternate

from sb3_il_plus import BC, Demonstrations

N_TRANSITIONS, OBSERVATION, ACTION = 5000, 17, 6
OBSERVATION_SPACE = spaces.Box(-np.inf, np.inf, (OBSERVATION,), np.float32)
ACTION_SPACE = spaces.Box(-1, 1, (ACTION,), np.float32)


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(N_TRANSITIONS, OBSERVATION)).astype(np.float32)
    weights = rng.normal(size=(OBSERVATION, ACTION))
    return observations, np.tanh(observations @ weights / 4).astype(np.float32)


def final_loss(trainer: bc.BC) -> float:
    observations, actions = map(th.as_tensor, data())
    with th.no_grad():
        return float(trainer.loss_calculator(trainer.policy, observations, actions).neglogp)


def compare(batch_size: int, n_batches: int) -> None:
    observations, actions = data()
    losses: dict[str, list[float]] = {"ours": [], "imitation": []}

    def ours():
        demos = Demonstrations.from_arrays(
            observations,
            actions,
            episode_lengths=[1000] * 5,
            observation_space=OBSERVATION_SPACE,
            action_space=ACTION_SPACE,
        )
        model = BC(ActorCriticPolicy, None, demos, batch_size=batch_size, seed=0, device="cpu")

        def run():
            model.learn(n_batches)
            losses["ours"].append(final_loss(model.trainer))

        return run

    def theirs():
        th.manual_seed(0)
        policy = ActorCriticPolicy(OBSERVATION_SPACE, ACTION_SPACE, lambda _: 1e-3)
        transitions = Transitions(
            obs=observations,
            acts=actions,
            infos=np.array([{}] * N_TRANSITIONS),
            next_obs=np.roll(observations, -1, axis=0),
            dones=np.zeros(N_TRANSITIONS, dtype=bool),
        )
        trainer = bc.BC(
            observation_space=OBSERVATION_SPACE,
            action_space=ACTION_SPACE,
            rng=np.random.default_rng(0),
            policy=policy,
            demonstrations=transitions,
            batch_size=batch_size,
            optimizer_kwargs={"lr": 1e-3, "eps": 1e-5},
            device="cpu",
            custom_logger=configure(tempfile.mkdtemp(), ["csv"]),
        )

        def run():
            trainer.train(n_batches=n_batches, progress_bar=False)
            losses["imitation"].append(final_loss(trainer))

        return run

    our_seconds, their_seconds = alternate(ours, theirs)
    print(
        f"batch {batch_size:4d}: {n_batches / our_seconds:6.0f} batches/s, "
        f"imitation {n_batches / their_seconds:6.0f}/s, ratio {their_seconds / our_seconds:.2f}; "
        f"final loss {np.mean(losses['ours']):.3f}, imitation {np.mean(losses['imitation']):.3f}"
    )


if __name__ == "__main__":
    compare(batch_size=256, n_batches=1000)
    compare(batch_size=32, n_batches=2000)
