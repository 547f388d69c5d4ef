"""An SB3 script in which PPO became GAIL, and nothing else changed."""

import seals  # noqa: F401  (registers seals/CartPole-v0)
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_il_plus import GAIL, collect, train_expert

expert = train_expert("seals/CartPole-v0")  # a PPO agent, trained once and then cached
demonstrations = collect(expert, "seals/CartPole-v0", n_episodes=10, seed=0)

env = make_vec_env("seals/CartPole-v0", n_envs=4, seed=0)
eval_env = make_vec_env("seals/CartPole-v0", seed=1)

ppo = {"n_steps": 500, "batch_size": 50, "gamma": 0.98, "ent_coef": 0.05}
# was: PPO("MlpPolicy", env, learning_rate=1e-3, **ppo)
model = GAIL("MlpPolicy", env, demonstrations, learning_rate=1e-3, generator_kwargs=ppo)
model.learn(100_000, callback=EvalCallback(eval_env, eval_freq=2_500), progress_bar=True)
model.save("gail_cartpole")

model = GAIL.load("gail_cartpole", env=env)
print(evaluate_policy(model, eval_env))
