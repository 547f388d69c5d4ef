"""Wall time of GAIL through the adapter against the same calls made directly to `imitation`.

python tests/benchmarks/bench_gail.py
"""

import tempfile

import numpy as np
from imitation.algorithms.adversarial.gail import GAIL as UpstreamGAIL
from imitation.data.rollout import flatten_trajectories
from imitation.rewards.reward_nets import BasicRewardNet, NormalizedRewardNet
from imitation.util.logger import configure
from imitation.util.networks import RunningNorm
from stable_baselines3 import PPO
from timing import alternate

from sb3_il_plus import GAIL, collect
from sb3_il_plus.environments import make_vec

ENV = "seals/CartPole-v0"
TIMESTEPS = 20_480
PPO_ARGUMENTS = {"n_steps": 128, "batch_size": 64, "n_epochs": 5, "gamma": 0.95}
BATCH, N_UPDATES = 256, 4


def main() -> None:
    rng = np.random.default_rng(0)
    demos = collect(lambda _: int(rng.integers(2)), make_vec(ENV, 5), n_episodes=10, seed=0)
    transitions = flatten_trajectories(demos.to_trajectories())

    def ours():
        model = GAIL(
            "MlpPolicy",
            make_vec(ENV, 8, seed=0),
            demos,
            generator_kwargs=PPO_ARGUMENTS,
            demo_batch_size=BATCH,
            n_disc_updates_per_round=N_UPDATES,
            seed=0,
            device="cpu",
        )
        return lambda: model.learn(TIMESTEPS)

    def theirs():
        venv = make_vec(ENV, 8, seed=0)
        net = BasicRewardNet(venv.observation_space, venv.action_space)
        trainer = UpstreamGAIL(
            demonstrations=transitions,
            demo_batch_size=BATCH,
            venv=venv,
            gen_algo=PPO("MlpPolicy", venv, seed=0, device="cpu", **PPO_ARGUMENTS),
            reward_net=net,
            n_disc_updates_per_round=N_UPDATES,
            custom_logger=configure(tempfile.mkdtemp(), ["csv"]),
        )
        # What normalize_rewards=True does, which is the adapter's default.
        normalized = NormalizedRewardNet(trainer.reward_train, RunningNorm)
        trainer.venv_wrapped.reward_fn = normalized.predict_processed
        return lambda: trainer.train(TIMESTEPS)

    our_seconds, their_seconds = alternate(ours, theirs)
    print(
        f"{TIMESTEPS} steps of {ENV}: {our_seconds:.2f} s through the adapter, "
        f"{their_seconds:.2f} s directly, ratio {our_seconds / their_seconds:.3f}"
    )


if __name__ == "__main__":
    main()
