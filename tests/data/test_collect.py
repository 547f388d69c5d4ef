"""What an expert did is recorded completely, raw, without bias, and the same again for one seed."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
)

from sb3_il_plus import collect
from sb3_il_plus.data import columns
from sb3_il_plus.environments import make_env, make_vec
from sb3_il_plus.errors import DataError, InapplicableError, UnknownNameError, UserError
from sb3_il_plus.experts.expert import as_expert
from sb3_il_plus.testing.environments import HORIZON, echo_expert, make_echo


class Ledger(gym.Env):
    """Observations say which copy, episode and step they are; copy i has episodes of i + 2 steps.

    Even episodes terminate and odd ones are truncated.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, copy=0):
        self.copy, self.episode, self.seeds = copy, -1, []

    def observe(self):
        return np.array([self.copy, self.episode, self.steps], np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.episode, self.steps = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        over, even = self.steps == self.copy + 2, self.episode % 2 == 0
        return self.observe(), 100.0 + self.steps, over and even, over and not even, {}


class DictLedger(Ledger):
    observation_space = spaces.Dict(
        place=spaces.Box(-np.inf, np.inf, (3,), np.float32), parity=spaces.Discrete(2)
    )
    action_space = spaces.Discrete(3)

    def observe(self):
        return {"place": super().observe().astype(np.float32), "parity": self.steps % 2}


def ledgers(n, kind=Ledger):
    return DummyVecEnv([lambda copy=copy: kind(copy) for copy in range(n)])


def still(observation):
    """An expert for any Ledger."""
    return np.zeros(1)


class TestEpisodes:
    def test_each_copy_gives_its_share_in_turn(self):
        demos = collect(still, ledgers(3), n_episodes=7, seed=0)
        firsts = demos.observations[demos.offsets[:-1] + np.arange(7)]
        assert [row[:2] for row in firsts.tolist()] == [
            [0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1], [2, 2],
        ]  # fmt: skip
        assert demos.episode_lengths.tolist() == [2, 3, 4, 2, 3, 4, 4]

    def test_every_episode_is_whole(self):
        for episode in collect(still, ledgers(3), n_episodes=7, seed=0).episodes():
            copy, number = episode.observations[0, :2]
            assert len(episode) == copy + 2
            assert episode.observations[:, 2].tolist() == list(range(len(episode) + 1))
            assert (episode.observations[:, 1] == number).all()
            assert episode.rewards.tolist() == [101.0 + step for step in range(len(episode))]
            assert (episode.terminated, episode.truncated) == (number % 2 == 0, number % 2 == 1)

    def test_fewer_episodes_than_copies(self):
        assert collect(still, ledgers(3), n_episodes=2).n_episodes == 2

    def test_time_limits_are_truncations(self):
        demos = collect(lambda o: 1, "MountainCar-v0", n_episodes=2, seed=0)
        assert demos.episode_lengths.tolist() == [200, 200]
        assert not demos.terminations.any()
        assert np.flatnonzero(demos.truncations).tolist() == [199, 399]

    def test_falling_is_a_termination(self):
        demos = collect(lambda o: 0, "CartPole-v1", n_episodes=3, n_envs=2, seed=0)
        assert demos.terminations.sum() == 3 and not demos.truncations.any()
        lasts = demos.next_observations_at(demos.offsets[1:] - 1)
        assert (np.abs(lasts[:, 2]) > 0.2095).all()


class TestTimesteps:
    @pytest.mark.parametrize("n_timesteps", [1, 2, 7, 50])
    def test_their_number_is_exact(self, n_timesteps):
        demos = collect(still, ledgers(3), n_timesteps=n_timesteps, seed=0)
        assert len(demos) == n_timesteps

    def test_a_cut_episode_is_a_fragment_at_the_end(self):
        demos = collect(still, ledgers(2), n_timesteps=7, seed=0)
        ends = [(e.terminated, e.truncated) for e in demos.episodes()]
        assert demos.episode_lengths.tolist() == [2, 3, 1, 1]
        assert ends == [(True, False), (True, False), (False, False), (False, False)]
        assert demos.observations[-2:].tolist() == [[1, 1, 0], [1, 1, 1]]


class TestWhatIsRecorded:
    def test_observations_and_rewards_are_raw_below_vec_normalize(self):
        venv = VecNormalize(ledgers(2), clip_obs=0.5)
        venv.reset()
        for _ in range(20):
            venv.step(np.zeros((2, 1)))
        before = venv.obs_rms.mean.copy(), venv.obs_rms.count, venv.ret_rms.var, venv.training
        inner = venv.venv
        seen = []

        class Model:
            def predict(self, observation, state=None, episode_start=None, deterministic=True):
                seen.append(observation)
                return np.zeros((2, 1)), None

        demos = collect(Model(), venv, n_episodes=4, seed=0)
        # Raw to the last bit, final observations included; what the model saw was clipped.
        steps = [episode.observations[:, 2].tolist() for episode in demos.episodes()]
        assert steps == [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2], [0, 1, 2, 3]]
        assert demos.rewards[:2].tolist() == [101, 102]
        assert np.abs(seen).max() <= 0.5
        after = venv.obs_rms.mean, venv.obs_rms.count, venv.ret_rms.var, venv.training
        assert all(np.array_equal(x, y) for x, y in zip(before, after, strict=True))
        assert venv.venv is inner

    def test_experts_and_functions_see_raw_observations(self):
        for wrap in (lambda f, env: f, lambda f, env: as_expert(f, *env_spaces(env))):
            venv, seen = VecNormalize(ledgers(1), clip_obs=0.5), []

            def act(observation, seen=seen):
                seen.append(observation.copy())
                return np.zeros(1)

            demos = collect(wrap(act, venv), venv, n_episodes=2, seed=0)
            index = np.arange(len(demos))
            assert np.array_equal(seen, demos.observations_at(index))

    def test_a_model_in_its_own_normalised_environment(self):
        venv = VecNormalize(make_vec("Pendulum-v1", 2))
        model = PPO("MlpPolicy", venv, n_steps=8, batch_size=8, seed=0).learn(32)
        within = collect(model, venv, n_timesteps=60, seed=3)
        # Elsewhere, it brings its statistics along.
        outside = collect(model, "Pendulum-v1", n_timesteps=60, seed=3, n_envs=2)
        np.testing.assert_allclose(within.observations, outside.observations, atol=1e-4)
        np.testing.assert_allclose(within.actions, outside.actions, atol=1e-4)
        assert within.metadata["expert"] == outside.metadata["expert"] == "PPO"

    def test_dict_observations(self):
        demos = collect(lambda o: int(o["parity"]), ledgers(2, DictLedger), n_episodes=4, seed=0)
        index = np.arange(len(demos))
        assert np.array_equal(demos.actions, demos.observations_at(index)["parity"])
        for _, column in columns.named(demos.observations):
            assert len(column) == len(demos) + 4

    def test_images_are_recorded_as_the_environment_shows_them(self):
        env = VecTransposeImage(make_echo("Image", n_envs=2))
        data = collect(echo_expert("Image"), env, n_episodes=2, seed=0)
        assert env.observation_space.shape == (1, 36, 40)
        assert data.observations.shape == (2 * (HORIZON + 1), 36, 40, 1)
        assert data.observations.dtype == np.uint8
        again = collect(echo_expert("Image"), make_echo("Image", n_envs=2), n_episodes=2, seed=0)
        assert again.fingerprint() == data.fingerprint()

    def test_the_dtype_is_that_of_the_space(self):
        demos = collect(still, ledgers(1), n_episodes=1)
        assert demos.observations.dtype == demos.actions.dtype == np.float32

    def test_continuous_actions_are_clipped(self):
        class Generous:
            def predict(self, observation, state=None, episode_start=None, deterministic=True):
                return np.full((len(observation), 1), 1.000001), None

        assert (collect(Generous(), ledgers(1), n_episodes=1).actions <= 1.0).all()

    def test_metadata(self):
        demos = collect(still, "Pendulum-v1", n_timesteps=3, seed=5, deterministic=False)
        assert demos.metadata["env_id"] == "Pendulum-v1"
        assert demos.metadata["expert"] == "still"
        assert (demos.metadata["seed"], demos.metadata["deterministic"]) == (5, False)
        assert demos.metadata["versions"]["numpy"] == np.__version__
        by_env = collect(still, make_env("Pendulum-v1"), n_timesteps=3)
        assert by_env.metadata["env_id"] == "Pendulum-v1" and by_env.metadata["seed"] >= 0
        assert collect(still, ledgers(1), n_timesteps=3).metadata["env_id"] is None

    def test_saved_and_loaded(self, tmp_path):
        demos = collect(still, "Pendulum-v1", n_timesteps=3, seed=5)
        again = type(demos).load(demos.save(tmp_path / "demos.npz"))
        assert again.fingerprint() == demos.fingerprint()
        assert dict(again.metadata) == dict(demos.metadata)


def env_spaces(env):
    return env.observation_space, env.action_space


def test_state_and_episode_starts_reach_a_recurrent_expert():
    class Memory:
        def __init__(self):
            self.calls = []

        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            ages = np.zeros(len(observation)) if state is None else state[0]
            ages = np.where(episode_start, 0, ages + 1)
            self.calls.append((ages, observation[:, 2], deterministic))
            return np.zeros((len(observation), 1)), (ages,)

    expert = Memory()
    collect(expert, ledgers(3), n_episodes=6, deterministic=False)
    for ages, steps, deterministic in expert.calls:
        assert np.array_equal(ages, steps)
        assert deterministic is False


class TestSeeds:
    def test_the_same_seed_gives_the_same_data(self):
        model = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8)

        def run(seed):
            return collect(
                model, "CartPole-v1", n_episodes=3, seed=seed, deterministic=False, n_envs=2
            )

        first = run(7)
        assert first.fingerprint() == run(7).fingerprint()
        assert first.fingerprint() != run(8).fingerprint()
        drawn = run(None)
        assert drawn.fingerprint() == run(drawn.metadata["seed"]).fingerprint()

    def test_global_generators_stay_untouched(self):
        np.random.seed(1)
        th.manual_seed(1)
        before = np.random.get_state()[1].copy(), th.get_rng_state()
        model = PPO("MlpPolicy", make_env("CartPole-v1"), n_steps=8, batch_size=8)
        np.random.set_state(("MT19937", before[0], *np.random.get_state()[2:]))
        th.set_rng_state(before[1])
        collect(model, "CartPole-v1", n_timesteps=5, seed=0, deterministic=False)
        assert np.array_equal(np.random.get_state()[1], before[0])
        assert th.equal(th.get_rng_state(), before[1])

    def test_copies_are_seeded_apart_and_not_with_the_plain_seed(self):
        venv = ledgers(2)
        collect(still, venv, n_episodes=2, seed=0)
        (first, *_), (second, *_) = (env.seeds for env in venv.envs)
        assert second == first + 1 and 0 not in (first, second)


def test_processes_give_what_one_process_gives():
    def build():
        return make_env("CartPole-v1")

    seeds = {"n_episodes": 4, "seed": 1}
    here = collect(lambda o: int(o[2] > 0), DummyVecEnv([build] * 2), **seeds)
    venv = SubprocVecEnv([build] * 2, start_method="fork")
    try:
        there = collect(lambda o: int(o[2] > 0), venv, **seeds)
        venv.reset()  # it is left open
    finally:
        venv.close()
    assert here.fingerprint() == there.fingerprint()
    assert there.metadata["env_id"] == "CartPole-v1"


def test_wrappers_around_the_environment_are_recorded_as_they_are():
    demos = collect(still, VecFrameStack(ledgers(2), 2), n_episodes=2, seed=0)
    assert demos.observations.shape[1:] == (6,)
    assert demos.episode(0).observations[-1].tolist() == [0, 0, 1, 0, 0, 2]


@pytest.mark.parametrize("shown", [True, False])
def test_the_progress_bar_is_shown_only_when_asked(shown, capfd):
    collect(still, "Pendulum-v1", n_timesteps=10, progress_bar=shown)
    written = "".join(capfd.readouterr())
    assert ("Collecting steps" in written and "10/10" in written) == shown


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, UserError, r"give either n_episodes=\.\.\. or n_timesteps=\.\.\."),
        ({"n_episodes": 1, "n_timesteps": 1}, UserError, "give either n_episodes"),
        ({"n_episodes": 0}, UserError, "n_episodes=0 must be at least 1"),
        ({"n_timesteps": -1}, UserError, "n_timesteps=-1 must be at least 1"),
        ({"env": "Pendulun-v1"}, UnknownNameError, "did you mean 'Pendulum-v1'"),
        ({"env": 5}, UserError, "env=5 is neither an environment id"),
        ({"env": Ledger(), "n_envs": 2}, UserError, "n_envs=2 needs an environment id"),
        ({"expert": 5}, InapplicableError, "a demonstrator must have SB3's predict"),
        ({"expert": lambda o: 5.0}, DataError, "needs numbers of shape"),
        ({"expert": lambda o: np.full(1, 7.0)}, DataError, "outside the action space Box"),
        ({"expert": lambda o: np.full(1, np.nan)}, DataError, "outside the action space Box"),
        (
            {"env": ledgers(1, DictLedger), "expert": lambda o: "left"},
            DataError,
            r"the action space Discrete\(3\) needs integers",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    defaults = {"expert": still, "env": "Pendulum-v1"}
    if not arguments.keys() <= {"n_episodes", "n_timesteps"}:
        defaults["n_timesteps"] = 3
    with pytest.raises(error, match=message):
        collect(**{**defaults, **arguments})


def test_an_expert_of_another_environment():
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8)
    with pytest.raises(InapplicableError, match="was made for the observation space"):
        collect(model, "Pendulum-v1", n_episodes=1)


def test_an_environment_that_hides_its_last_observations():
    class Hiding(DummyVecEnv):
        def step_wait(self):
            *step, infos = super().step_wait()
            return *step, [{} for _ in infos]

    with pytest.raises(DataError, match=r"without info\['terminal_observation'\]"):
        collect(still, Hiding([Ledger]), n_episodes=1)
