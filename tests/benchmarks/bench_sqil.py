"""Returns of SQIL on Pendulum-v1 against the same calls made directly to `imitation`.

    python tests/benchmarks/bench_sqil.py

Upstream puts the expert's actions into the replay buffer as they are, in [-2, 2], where SB3 stores
the learner's scaled to [-1, 1].
"""

import sys
import tempfile
from pathlib import Path

from imitation.algorithms.sqil import SQIL as UpstreamSQIL
from imitation.util.logger import configure
from stable_baselines3 import SAC

from sb3_il_plus import SQIL, collect, evaluate
from sb3_il_plus.environments import make_vec

sys.path.append(str(Path(__file__).parents[1]))
from scripted_experts import PENDULUM, swing_up

STEPS = 3_000
LEARNING_RATE = 2e-3
KWARGS = {"learning_starts": 200, "buffer_size": 50_000, "batch_size": 64, "gamma": 0.95}
POLICY_KWARGS = {"net_arch": [64, 64]}


def ours(demonstrations, seed):
    model = SQIL(
        "MlpPolicy",
        make_vec(PENDULUM, seed=seed),
        demonstrations,
        learning_rate=LEARNING_RATE,
        generator_kwargs=KWARGS,
        policy_kwargs=POLICY_KWARGS,
        seed=seed,
    )
    return model.learn(STEPS)


def directly(demonstrations, seed):
    with tempfile.TemporaryDirectory() as folder:
        trainer = UpstreamSQIL(
            venv=make_vec(PENDULUM, seed=seed),
            demonstrations=demonstrations.to_trajectories(),
            policy="MlpPolicy",
            rl_algo_class=SAC,
            rl_kwargs={
                **KWARGS,
                "learning_rate": LEARNING_RATE,
                "policy_kwargs": dict(POLICY_KWARGS),
                "seed": seed,
            },
            custom_logger=configure(folder, []),
        )
        trainer.train(total_timesteps=STEPS)
    return trainer.rl_algo


def main():
    demonstrations = collect(swing_up, make_vec(PENDULUM, 5), n_episodes=10, seed=0)
    print(f"expert: {demonstrations.episode_returns.mean():.0f}")
    for name, train in (("sb3_il_plus", ours), ("imitation", directly)):
        models = [train(demonstrations, seed) for seed in range(3)]
        returns = [evaluate(m, make_vec(PENDULUM, 5), 10, seed=100).mean_return for m in models]
        print(f"{name}: {', '.join(f'{value:.0f}' for value in returns)}")


if __name__ == "__main__":
    main()
