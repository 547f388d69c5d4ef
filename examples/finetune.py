"""From a clone of little data to a better PPO, in a file that SB3 loads alone."""

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from sb3_il_plus import BC, collect, evaluate, finetune


def expert(observation):
    """Push in the direction in which the pole falls."""
    return int(observation[2] + observation[3] > 0)


demonstrations = collect(expert, "CartPole-v1", n_episodes=2, seed=0)
clone = BC("MlpPolicy", gym.make("CartPole-v1"), demonstrations, seed=0, device="cpu")
clone.learn(100)
print("clone:     ", evaluate(clone, "CartPole-v1", 20, seed=1))

env = make_vec_env("CartPole-v1", n_envs=8, seed=0)
ppo = {"n_steps": 32, "batch_size": 256, "gamma": 0.98, "gae_lambda": 0.8, "n_epochs": 20}
model = finetune(clone, env, 12_000, PPO, anchor_weight=0.1, learning_rate=1e-3, **ppo)
print("fine-tuned:", evaluate(model, "CartPole-v1", 20, seed=1))

model.save("ppo_cartpole")  # a PPO like any other, for machines without this package, too
print(type(PPO.load("ppo_cartpole", device="cpu")))
