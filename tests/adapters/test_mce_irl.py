"""MCE-IRL: gradients against plain NumPy, policies recovered on CliffWorld, exact resuming."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from doc_pages import run_page
from gymnasium import spaces
from imitation.algorithms import mce_irl
from scipy.special import logsumexp
from seals.base_envs import ExposePOMDPStateWrapper
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

from sb3_il_plus import collect
from sb3_il_plus.adapters.mce_irl import MCEIRL
from sb3_il_plus.adapters.tabular import TabularModel, TabularPolicy
from sb3_il_plus.environments import make_env, make_vec
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.testing.task import differing

CLIFF = "seals/CliffWorld7x4-v0"
RING = np.zeros((3, 2, 3))
RING[range(3), 0, [1, 2, 0]] = 0.9
RING[range(3), 0, [0, 1, 2]] = 0.1
RING[range(3), 1, [2, 0, 1]] = 1.0


class Ring(gym.Env):
    """Three states in a ring; action 0 goes on (and fails at times), action 1 back."""

    transition_matrix, initial_state_dist, horizon = RING, np.array([0.5, 0.5, 0.0]), 4
    observation_space, action_space = spaces.Discrete(3), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = self.np_random.choice(3, p=self.initial_state_dist), 0
        return self.state, {}

    def step(self, action):
        self.state = self.np_random.choice(3, p=RING[self.state, action])
        self.steps += 1
        return self.state, float(self.state == 2), False, self.steps == self.horizon, {}


def visits(reward, gamma, horizon=4):
    """Discounted visits of the soft-optimal policy, by recursion over time, in plain NumPy."""
    value, policies = np.zeros(3), []
    for step in range(horizon):
        q = np.array([[reward[s] + gamma * RING[s, a] @ value for a in range(2)] for s in range(3)])
        if step == 0:
            q = np.repeat(reward[:, None], 2, axis=1)
        value = logsumexp(q, axis=1)
        policies.insert(0, np.exp(q - value[:, None]))
    here = Ring.initial_state_dist
    total = here.copy()
    for step, policy in enumerate(policies, start=1):
        here = np.einsum("s,sa,sat->t", here, policy, RING)
        total += gamma**step * here
    return total


@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_gradient_is_the_difference_of_expected_visits(gamma):
    demos = collect(lambda state: 0, Ring(), n_episodes=6, seed=0)
    kwargs = {"reward_net_kwargs": {"hid_sizes": ()}, "seed": 3}
    model = MCEIRL("TabularPolicy", Ring(), demos, gamma=gamma, **kwargs)
    (linear,) = (
        module for module in model.reward_net.modules() if isinstance(module, th.nn.Linear)
    )
    weight = linear.weight[0].detach().numpy().copy()
    reward = weight.astype(np.float64) + linear.bias.item()
    expert = np.zeros(3)
    for episode in demos.episodes():
        for step, state in enumerate(episode.observations):
            expert[state] += gamma**step / 6
    model.learn(1, log_interval=1)
    expected = visits(reward, gamma) - expert
    np.testing.assert_allclose(linear.weight.grad[0], expected, atol=1e-6)
    assert model.history[-1]["train/linf_delta"] == pytest.approx(np.abs(expected).max(), abs=1e-6)
    # Adam's first step is the learning rate, against the sign of each gradient.
    moved = linear.weight[0].detach().numpy() - weight
    np.testing.assert_allclose(moved, -1e-2 * np.sign(expected), atol=1e-4)


def test_visits_are_counted_as_upstream_counts_them():
    demos = collect(lambda state: 0, Ring(), n_episodes=5, seed=0)
    model = MCEIRL("TabularPolicy", Ring(), demos)
    ours = model.trainer.demo_state_om.copy()
    model.trainer.set_demonstrations(demos.to_trajectories())
    np.testing.assert_allclose(ours, model.trainer.demo_state_om)
    assert ours.sum() == pytest.approx(5)


class MCEExpert:
    """The soft-optimal policy of an environment's own reward."""

    def __init__(self, env_id):
        self.env = make_env(env_id)
        self.inner = self.env.unwrapped
        _, _, self.pi = mce_irl.mce_partition_fh(self.inner)
        self.visits = self.visits_of(self.pi)
        self.policy = TabularPolicy(self.env.observation_space, self.env.action_space)
        self.policy.set_table(self.pi, self.inner.observation_matrix)

    def visits_of(self, pi):
        return mce_irl.mce_occupancy_measures(self.inner, pi=pi)[1]

    def mean_return(self, pi):
        by_step, _ = mce_irl.mce_occupancy_measures(self.inner, pi=pi)
        return float((by_step[:-1] @ self.inner.reward_matrix).sum())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_recovers_the_experts_policy_on_cliff_world(seed):
    expert = MCEExpert(CLIFF)
    th.manual_seed(seed)
    demos = collect(
        expert.policy, make_vec(CLIFF, 5), n_episodes=300, seed=seed, deterministic=False
    )
    model = MCEIRL("TabularPolicy", CLIFF, demos, learning_rate=3e-3, seed=seed).learn(120)
    pi = model.policy.pi.numpy()
    best, random = expert.mean_return(expert.pi), expert.mean_return(np.full_like(pi, 0.25))
    # Over four seeds, visits differed by at most 0.08 from the expert's, and the return by 4 % of
    # the way from the random policy (-32.3) to the expert (15.9).
    assert np.abs(expert.visits_of(pi) - expert.visits).max() < 0.2
    assert expert.mean_return(pi) > best - 0.1 * (best - random)
    returns, lengths = evaluate_policy(
        model, make_vec(CLIFF, 5), 200, deterministic=False, return_episode_rewards=True
    )
    assert set(lengths) == {9}
    assert np.mean(returns) == pytest.approx(expert.mean_return(pi), abs=2.5)


def test_learns_from_the_experts_visits_alone():
    expert = MCEExpert("seals/Random-v0")
    model = MCEIRL("TabularPolicy", expert.env, expert.visits, learning_rate=0.03, seed=0)
    assert model.demonstrations is None
    model.learn(200)
    np.testing.assert_allclose(expert.visits_of(model.policy.pi.numpy()), expert.visits, atol=0.2)


def test_killed_and_resumed_equals_never_stopped(tmp_path):
    expert = MCEExpert(CLIFF)
    kwargs = {"learning_rate": lambda remaining: 0.02 * remaining, "seed": 5}
    whole = MCEIRL("TabularPolicy", CLIFF, expert.visits, **kwargs).learn(60)
    checkpoints = CheckpointCallback(20, str(tmp_path), "mce")
    MCEIRL("TabularPolicy", CLIFF, expert.visits, **kwargs).learn(60, callback=checkpoints)
    with pytest.warns(UserWarning, match="learning_rate was a function"):
        resumed = MCEIRL.load(tmp_path / "mce_20_steps", env=CLIFF, demonstrations=expert.visits)
    schedule = kwargs["learning_rate"]
    resumed = MCEIRL.load(
        tmp_path / "mce_20_steps", env=CLIFF, demonstrations=expert.visits, learning_rate=schedule
    )
    resumed.learn(40, reset_num_timesteps=False)
    assert resumed.num_timesteps == 60
    assert differing(whole.get_parameters(), resumed.get_parameters()) == []


def test_a_file_predicts_and_pays_without_the_environment(tmp_path):
    expert = MCEExpert(CLIFF)
    model = MCEIRL("TabularPolicy", CLIFF, expert.visits, seed=0).learn(50)
    model.save(tmp_path / "mce")
    loaded = MCEIRL.load(tmp_path / "mce")
    rows = expert.inner.observation_matrix
    for steps in (None, (np.full(len(rows), 5),)):
        actions = [each.predict(rows, steps, deterministic=True)[0] for each in (model, loaded)]
        np.testing.assert_array_equal(*actions)
    no = np.zeros(len(rows), dtype=np.int64)
    rewards = [each.predict_reward(rows, no, rows, no > 0) for each in (model, loaded)]
    np.testing.assert_array_equal(*rewards)
    with pytest.raises(UserError, match="learns in an environment and has none"):
        loaded.learn(10)
    with pytest.raises(UserError, match="MCEIRL has no demonstrations to learn from"):
        MCEIRL.load(tmp_path / "mce", env=CLIFF).learn(10)


def test_the_policy_keeps_time_and_forgets_it_when_an_episode_begins():
    expert = MCEExpert(CLIFF)
    model = MCEIRL("TabularPolicy", CLIFF, expert.visits, seed=0)
    table = np.tile([0.0, 0.0, 0.0, 1.0], (9, 28, 1))
    table[3:] = [0.0, 1.0, 0.0, 0.0]
    model.policy.set_table(table, expert.inner.observation_matrix)
    rows, state, chosen = expert.inner.observation_matrix[:2], None, []
    for step in range(12):
        starts = np.array([step == 0, step in (0, 2)])
        actions, state = model.predict(rows, state, starts, deterministic=True)
        chosen.append(actions.tolist())
    assert chosen[:6] == [[3, 3], [3, 3], [3, 3], [1, 3], [1, 3], [1, 1]]
    assert chosen[-1] == [1, 1], "beyond the horizon, the last step's choice"
    single, _ = model.predict(rows[0], deterministic=True)
    assert single.shape == () and model.action_space.contains(single)


@pytest.mark.parametrize(
    "build",
    [
        lambda: ExposePOMDPStateWrapper(make_env(CLIFF).unwrapped),
        lambda: make_env("seals/CliffWorld7x4XY-v0"),
        lambda: SubprocVecEnv([Ring], start_method="fork"),
        lambda: VecNormalize(make_vec(CLIFF, 2)),
    ],
    ids=["states", "coordinates", "subprocess", "normalised"],
)
def test_the_model_is_read_below_all_wrappers(build):
    env = build()
    demos = collect(lambda observation: 0, env, n_episodes=3, seed=0)
    model = MCEIRL("TabularPolicy", env, demos, seed=0).learn(20)
    assert model.trainer.demo_state_om.sum() == pytest.approx(model.tabular_model.horizon + 1)
    _, lengths = evaluate_policy(model, model.get_env(), 4, return_episode_rewards=True, warn=False)
    assert set(lengths) == {model.tabular_model.horizon}
    if isinstance(env, VecNormalize):
        env.obs_rms.mean[:], env.obs_rms.var[:] = 0.3, 0.2
        rows = model.tabular_model.observation_matrix
        shown = env.normalize_obs(rows)
        inner = model.policy.predict(rows, deterministic=True)[0]
        np.testing.assert_array_equal(model.predict(shown, deterministic=True)[0], inner)
    env.close()


def test_another_environment_is_planned_in_with_the_same_reward():
    expert = MCEExpert(CLIFF)
    model = MCEIRL("TabularPolicy", CLIFF, expert.visits, seed=0).learn(100)
    before = {name: value.clone() for name, value in model.reward_net.state_dict().items()}
    windless = make_env(CLIFF)
    windless.unwrapped.transition_matrix = np.round(windless.unwrapped.transition_matrix)
    model.set_env(windless)
    assert all(th.equal(before[name], model.reward_net.state_dict()[name]) for name in before)
    rows = expert.inner.observation_matrix
    reward = model.predict_reward(rows, np.zeros(28, int), rows, np.zeros(28, bool))
    _, _, pi = mce_irl.mce_partition_fh(windless.unwrapped, reward=reward)
    np.testing.assert_allclose(model.policy.pi, pi, atol=1e-6)


def test_a_fresh_agent_learns_on_the_reward():
    expert = MCEExpert(CLIFF)
    model = MCEIRL("TabularPolicy", CLIFF, expert.visits, seed=0).learn(150)
    rows = expert.inner.observation_matrix
    reward = model.predict_reward(rows, np.zeros(28, int), rows, np.zeros(28, bool))
    assert reward[6] > reward.mean() > reward[1:6].max()  # the goal, and the cliff before it
    venv = model.as_reward_wrapper(make_vec(CLIFF, 2))
    agent = PPO("MlpPolicy", venv, n_steps=18, batch_size=36, n_epochs=1).learn(36)
    assert agent.num_timesteps == 36


def test_bad_input_is_named():
    demos = collect(lambda state: 0, Ring(), n_episodes=3, seed=0)
    with pytest.raises(InapplicableError, match="CartPole is not a tabular environment with a f"):
        MCEIRL("MlpPolicy", "seals/CartPole-v0")
    endless = Ring()
    endless.horizon = None
    with pytest.raises(InapplicableError, match=r"Ring is not a tabular .* it has no horizon"):
        MCEIRL("MlpPolicy", endless)
    unsound = Ring()
    unsound.transition_matrix = RING / 2
    with pytest.raises(InapplicableError, match="probabilities in transition_matrix do not sum"):
        MCEIRL("MlpPolicy", unsound)
    alike = make_env(CLIFF)
    alike.unwrapped.observation_matrix = np.zeros((28, 28), dtype=np.float32)
    with pytest.raises(InapplicableError, match=r"some states .* look alike"):
        MCEIRL("MlpPolicy", alike)
    with pytest.raises(DataError, match=r"episode 0 .* has 1 steps; .* whole episodes of 4"):
        MCEIRL("MlpPolicy", Ring(), demos.subsample(2))
    with pytest.raises(DataError, match=r"shape \(2,\) .* do not fit 3 states and 4 steps, which"):
        MCEIRL("MlpPolicy", Ring(), np.array([1.0, 2.0]))
    with pytest.raises(InapplicableError, match="plans a table, not a ActorCriticPolicy"):
        MCEIRL(PPO("MlpPolicy", "CartPole-v1").policy_class, Ring(), demos)
    for kwargs, reason in (
        ({"policy_kwargs": {"net_arch": [8]}}, "takes no policy_kwargs and nothing normalised"),
        ({"normalize_observations": True}, "takes no policy_kwargs and nothing normalised"),
        ({"reward_net_kwargs": {"use_action": True}}, "'use_action', but the reward is of the sta"),
        ({"gamma": 0}, "gamma=0 must lie within"),
    ):
        with pytest.raises(UserError, match=reason):
            MCEIRL("MlpPolicy", Ring(), demos, **kwargs)


def test_observations_that_are_no_state_are_named():
    demos = collect(lambda observation: 0, make_env(CLIFF), n_episodes=2, seed=0)
    bits = np.array(demos.observations)
    bits[7] = 0.5
    wrong = type(demos).from_columns(
        {**demos.columns(), "observations": bits}, demos.observation_space, demos.action_space
    )
    with pytest.raises(DataError, match="episode 0 of the demonstrations shows what no sta"):
        MCEIRL("MlpPolicy", CLIFF, wrong)


def test_a_model_of_an_environment():
    model = TabularModel.of(make_vec(CLIFF))
    assert (model.state_dim, model.action_dim, model.horizon) == (28, 4, 9)
    assert model.state_space == spaces.Discrete(28) and model.action_space == spaces.Discrete(4)


def test_the_code_of_its_page_runs():
    shown = run_page("mce_irl", {"learn(500)": "learn(5)"})
    assert shown["env"].action_space.contains(shown["action"]) and shown["step"][0] == 1
