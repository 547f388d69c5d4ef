"""Labels that conditional DAgger and conditional BC need for 90 % success on the driving task.

python tests/benchmarks/bench_conditional_dagger.py --seeds 0 1 2

The expert labels every step of BC's demonstrations, and every step that is driven for DAgger: in
its first round by the expert, from then on by the learner. Both train the same branched network,
with the same loss, on batches that are balanced over commands: BC anew with each number of labels,
DAgger from where it was, with a third as many updates in each round. Routes go left, straight on
and right in turn: else the labels that are needed say how long a command did not come up by chance.
"""

import argparse
import itertools
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_il_plus import ConditionalBC, DAgger, collect, evaluate
from sb3_il_plus.conditional import BranchedPolicy
from sb3_il_plus.conditional.driving import DrivingEnv, DrivingExpert, DrivingVecEnv
from sb3_il_plus.conditional.driving.simulation import JUNCTION_COMMANDS

SUCCESS = 0.9
ROUND = 3
"""Episodes of a round of DAgger, and by which BC is given more."""


class InTurn(gym.Wrapper):
    """Gives the commands of the junctions one after the other."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._commands = itertools.cycle(JUNCTION_COMMANDS)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(**{**kwargs, "options": {"commands": [next(self._commands)]}})


def training_env() -> DummyVecEnv:
    return DummyVecEnv([lambda: InTurn(DrivingEnv())])


def success(model: Any, seed: int) -> float:
    """Share of 200 episodes on unseen seeds that succeed."""
    return evaluate(model, DrivingVecEnv(50), 200, seed=10_000 + seed).mean_return


def with_bc(seed: int, n_updates: int, most: int) -> Iterator[tuple[int, float]]:
    """Labels, and the success of a model that is trained anew on so many."""
    data = collect(DrivingExpert(), training_env(), n_episodes=most // 50, seed=seed)
    for n_episodes in range(ROUND, data.n_episodes + 1, ROUND):
        known = data[:n_episodes]
        model = ConditionalBC(BranchedPolicy, None, known, batch_size=60, seed=seed, device="cpu")
        yield len(known), success(model.learn(n_updates), seed)


class EachRound(BaseCallback):
    """Tests the learner before each round but the first, and stops where it is good enough."""

    def __init__(self, seed: int, n_updates: int) -> None:
        super().__init__()
        self._seed, self._n_updates = seed, n_updates
        self.found: list[tuple[int, float]] = []

    def _on_rollout_start(self) -> None:
        n_labels = self.model.num_timesteps
        if n_labels:
            self.found.append((n_labels, success(self.model, self._seed)))
        n_updates_per_epoch = max(n_labels, 1) // self.model.batch_size + ROUND
        self.model.n_epochs = max(1, self._n_updates // 3 // n_updates_per_epoch)

    def _on_step(self) -> bool:
        return not self.found or self.found[-1][1] < SUCCESS


def with_dagger(seed: int, n_updates: int, most: int) -> list[tuple[int, float]]:
    """Labels and success after each round."""
    model = DAgger(
        BranchedPolicy,
        training_env(),
        expert=DrivingExpert(),
        loss="mse",
        batch_size=60,
        balance_over="command",
        rollout_round_min_timesteps=1,
        rollout_round_min_episodes=ROUND,
        beta_schedule=lambda round_num: float(round_num == 0),
        seed=seed,
        device="cpu",
    )
    after_rounds = EachRound(seed, n_updates)
    model.learn(most, callback=after_rounds)
    return after_rounds.found


METHODS = {"dagger": with_dagger, "bc": with_bc}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--most", type=int, default=4000)
    arguments = parser.parse_args()
    th.set_num_threads(1)
    for method in arguments.methods:
        for seed in arguments.seeds:
            for n_labels, rate in METHODS[method](seed, arguments.updates, arguments.most):
                print(
                    f"{method}, seed {seed}: {n_labels:5} labels, {100 * rate:5.1f} %",
                    flush=True,
                )
                if rate >= SUCCESS:
                    break


if __name__ == "__main__":
    main()
