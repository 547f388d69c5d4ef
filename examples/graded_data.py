"""Data sets of graded quality, as D4RL makes them, from two controllers; then flawed ones."""

from sb3_il_plus import make_dataset, normalized_score


def balance(observation):
    position, velocity, angle, turning = observation
    return int(0.1 * position + 0.3 * velocity + 2 * angle + turning > 0)


def lean(observation):
    _, _, angle, turning = observation
    return int(angle + 0.3 * turning > 0.05)


# expert="sac" or a saved agent's path would do as well; "sac" would also train the medium agent.
agents = {"expert": balance, "medium": lean}
for recipe in ("random", "medium", "noisy(0.5)", "medium-expert", "expert"):
    data = make_dataset("CartPole-v1", recipe, n_timesteps=2000, seed=0, **agents)
    print(f"{recipe:14} {normalized_score(data.episode_returns, data).mean():5.1f}")

flawed = data.corrupt(seed=0, observation_noise=0.1, wrong_actions=0.3, dropped_episodes=2)
print(flawed, flawed.metadata["corruption"])
