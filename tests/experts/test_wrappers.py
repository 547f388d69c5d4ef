"""What wrappers did in training, an expert does again: compared with the wrappers themselves."""

from copy import deepcopy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation
from sb3_contrib.common.wrappers import TimeFeatureWrapper
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from sb3_il_plus import collect, load_expert
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import FileError, InapplicableError
from sb3_il_plus.evaluation import evaluate
from sb3_il_plus.experts.expert import Expert, as_expert
from sb3_il_plus.experts.wrappers import (
    Flatten,
    FrameStack,
    LeaveOut,
    MaskVelocity,
    ObservationStatistics,
    TimeFeature,
    wrapper_named,
)

STEPS = 5


class Counting(gym.Env):
    """Random observations of a space, in episodes of different lengths."""

    def __init__(self, observation_space, number=0):
        self.observation_space, self.action_space = observation_space, spaces.Discrete(3)
        self.source = deepcopy(observation_space)  # sb3-contrib's wrapper changes the other one
        self.source.seed(number)
        self.number, self.episode, self.step_number = number, 0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.step_number = self.episode + 1, 0
        return self.source.sample(), {}

    def step(self, action):
        self.step_number += 1
        done = self.step_number == 2 + (self.episode + self.number) % 4
        return self.source.sample(), float(action), done, False, {}


class Tape:
    """An actor that notes what it sees."""

    def __init__(self):
        self.seen = []

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        self.seen.append(observation)
        first = next(iter(observation.values())) if isinstance(observation, dict) else observation
        return np.zeros(len(first), int), state


VECTOR = spaces.Box(-1, 1, (3,))
IMAGE = spaces.Box(0, 255, (4, 4, 1), np.uint8)
CHANNELS_FIRST = spaces.Box(0, 255, (3, 36, 36), np.uint8)
GOAL = spaces.Dict({"observation": VECTOR, "goal": spaces.Box(-1, 1, (2,))})


def steps_of(venv, n=12):
    """Observations of a `VecEnv`, and where episodes begin."""
    observation, starts = venv.reset(), np.ones(venv.num_envs, bool)
    for _ in range(n):
        yield observation, starts
        observation, _, starts, _ = venv.step(np.zeros(venv.num_envs, int))


def twins(space, wrap_each=lambda env: env, wrap_all=lambda venv: venv):
    """The same two environments raw, and wrapped."""

    def copies(wrap):
        return DummyVecEnv([lambda i=i: wrap(Counting(deepcopy(space), i)) for i in range(2)])

    return copies(lambda env: env), wrap_all(copies(wrap_each))


def assert_sees_the_same(expert, raw, reference):
    state = None
    for (observation, starts), (expected, _) in zip(
        steps_of(raw), steps_of(reference), strict=True
    ):
        _, state = expert.predict(observation, state, starts)
        seen = expert.actor.seen[-1]
        if not isinstance(expected, dict):
            expected, seen = {"": expected}, {"": seen}
        assert seen.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(seen[key], value)
            assert seen[key].dtype == value.dtype


@pytest.mark.parametrize("space", [VECTOR, GOAL], ids=["Box", "Dict"])
@pytest.mark.parametrize("test_mode", [False, True])
def test_time_features(space, test_mode):
    raw, reference = twins(space, lambda env: TimeFeatureWrapper(env, STEPS, test_mode))
    stage = TimeFeature(STEPS, test_mode)
    expert = Expert(Tape(), space, spaces.Discrete(3), wrappers=[stage])
    assert stage.output_space(space) == reference.observation_space
    assert_sees_the_same(expert, raw, reference)


@pytest.mark.parametrize(
    "space", [VECTOR, IMAGE, CHANNELS_FIRST, GOAL], ids=["Box", "image", "channels first", "Dict"]
)
def test_stacked_frames(space):
    raw, reference = twins(space, wrap_all=lambda venv: VecFrameStack(venv, 3))
    expert = Expert(Tape(), space, spaces.Discrete(3), frame_stack=3)
    assert FrameStack(3).output_space(space) == reference.observation_space
    assert_sees_the_same(expert, raw, reference)


def test_flattening():
    raw, reference = twins(GOAL, FlattenObservation)
    expert = Expert(Tape(), GOAL, spaces.Discrete(3), wrappers=[Flatten()])
    assert Flatten().output_space(GOAL) == reference.observation_space
    assert_sees_the_same(expert, raw, reference)


def test_the_order_is_wrappers_then_normalisation_then_frames():
    def stacked(venv):
        normalized = VecNormalize(venv, clip_obs=2.0)
        for _ in steps_of(normalized, 30):
            pass
        normalized.training = False
        return VecFrameStack(normalized, 2)

    raw, reference = twins(VECTOR, lambda env: TimeFeatureWrapper(env, STEPS), stacked)
    for _ in steps_of(raw, 30):
        pass
    expert = Expert(
        Tape(),
        VECTOR,
        spaces.Discrete(3),
        wrappers=[TimeFeature(STEPS)],
        statistics=ObservationStatistics.from_vec_normalize(reference.venv),
        frame_stack=2,
    )
    assert_sees_the_same(expert, raw, reference)


def test_masked_velocities():
    seen = MaskVelocity((1, 2)).apply(np.ones((2, 3)), None, np.ones(2, bool), VECTOR)[0]
    np.testing.assert_array_equal(seen, [[1, 0, 0], [1, 0, 0]])
    with pytest.raises(InapplicableError, match=r"has no velocities at \[3\]"):
        MaskVelocity((3,)).output_space(VECTOR)


def test_a_single_observation_and_no_state_begin_an_episode():
    expert = Expert(Tape(), VECTOR, spaces.Discrete(3), wrappers=[TimeFeature(STEPS)])
    expert.actor.predict = lambda observation, state=None, **_: (int(observation[3] < 1), state)
    action, state = expert.predict(np.zeros(3, np.float32))
    assert action == 0 and expert.remembers
    assert expert.predict(np.zeros(3, np.float32), state)[0] == 1  # the second step
    assert expert.predict(np.zeros(3, np.float32))[0] == 0
    assert expert.predict(np.zeros(3, np.float32), state, np.array([True]))[0] == 0


@pytest.mark.parametrize(
    ("stage", "space"), [(TimeFeature(5), IMAGE), (FrameStack(2), spaces.Discrete(3))]
)
def test_spaces_that_cannot_be_wrapped(stage, space):
    with pytest.raises(InapplicableError, match="cannot be"):
        stage.output_space(space)


# -- what RL Zoo's config.yml names ----------------------------------------------------------------


def test_names():
    assert wrapper_named("utils.wrappers.TimeFeatureWrapper", {}, "A-v0", 50) == TimeFeature(50)
    named = wrapper_named("TimeFeatureWrapper", {"max_steps": 7, "test_mode": True}, None, None)
    assert named == TimeFeature(7, test_mode=True)
    masked = wrapper_named("rl_zoo3.wrappers.MaskVelocityWrapper", {}, "PendulumNoVel-v1", 200)
    assert masked == MaskVelocity((2,))
    assert wrapper_named("rl_zoo3.wrappers.DelayedRewardWrapper", {"delay": 3}, None, None) is None
    for name in ("rl_zoo3.wrappers.HistoryWrapper", "os.system", "AtariWrapper"):
        with pytest.raises(FileError, match=rf"wrapper {name}, .*wrappers=False"):
            wrapper_named(name, {"horizon": 2}, "A-v0", 50)
    with pytest.raises(FileError, match="not understood"):
        wrapper_named("MaskVelocityWrapper", {}, "Hopper-v4", None)


# -- from training to demonstrations ---------------------------------------------------------------

CONFIG = """!!python/object/apply:collections.OrderedDict
- - - env_wrapper
    - - sb3_contrib.common.wrappers.TimeFeatureWrapper
      - rl_zoo3.wrappers.TruncatedOnSuccessWrapper:
          reward_offset: 1.0
  - - frame_stack
    - 3
  - - normalize
    - "{'norm_obs': True, 'norm_reward': False}"
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """An agent trained through a time feature, normalisation and stacked frames."""
    folder = tmp_path_factory.mktemp("ppo") / "CartPole-v1_1"
    (folder / "CartPole-v1").mkdir(parents=True)
    venv = DummyVecEnv([lambda: Monitor(TimeFeatureWrapper(gym.make("CartPole-v1")))] * 2)
    venv = VecFrameStack(VecNormalize(venv), 3)
    model = PPO("MlpPolicy", venv, n_steps=64, batch_size=64, n_epochs=2, seed=0, device="cpu")
    model.learn(256)
    model.save(folder / "CartPole-v1.zip")
    venv.venv.save(str(folder / "CartPole-v1" / "vecnormalize.pkl"))
    (folder / "CartPole-v1" / "config.yml").write_text(CONFIG)
    venv.venv.training = venv.venv.norm_reward = False
    return folder, model, venv


def test_an_expert_acts_in_the_raw_environment_as_in_training(agent):
    folder, model, venv = agent
    expert = load_expert(folder, "CartPole-v1")
    assert expert.wrappers == (TimeFeature(500),)
    assert (expert.frame_stack, expert.observation_space.shape) == (3, (4,))
    raw = make_vec("CartPole-v1", 2)
    reference, wrapped_env = raw, venv
    for env in (reference, wrapped_env):
        env.seed(3)
    observation, seen = reference.reset(), wrapped_env.reset()
    state, starts = None, np.ones(2, bool)
    for _ in range(60):
        expected = model.predict(seen, deterministic=True)[0]
        actions, state = expert.predict(observation, state, starts)
        np.testing.assert_array_equal(actions, expected)
        seen = wrapped_env.step(expected)[0]
        observation, _, starts, _ = reference.step(actions)
    assert starts.shape == (2,)


def test_it_is_evaluated_collected_and_saved_with_its_memory(agent, tmp_path):
    folder, _, _ = agent
    expert = load_expert(folder / "CartPole-v1", env=gym.make("CartPole-v1"))
    expert.save(tmp_path / "own.zip")
    again = load_expert(tmp_path / "own.zip", "CartPole-v1")
    assert (again.wrappers, again.frame_stack) == (expert.wrappers, 3)
    results = [evaluate(each, "CartPole-v1", 3, seed=1, n_envs=2) for each in (expert, again)]
    np.testing.assert_array_equal(results[0].returns, results[1].returns)
    demonstrations = collect(expert, "CartPole-v1", n_episodes=2, seed=1)
    assert demonstrations.observation_space == expert.observation_space
    replayed, state = [], None
    for observation in demonstrations.observations_at(np.arange(demonstrations.offsets[1])):
        action, state = expert.predict(observation, state)
        replayed.append(action)
    np.testing.assert_array_equal(replayed, demonstrations.actions[: len(replayed)])


def test_dagger_asks_it_with_its_memory(agent):
    pytest.importorskip("imitation")
    from sb3_il_plus import DAgger

    folder, _, _ = agent
    asked = []

    class Spy(Expert):
        def predict(self, observation, state=None, episode_start=None, **options):
            asked.append((state is None, None if episode_start is None else episode_start.copy()))
            return super().predict(observation, state, episode_start, **options)

    expert = load_expert(folder, "CartPole-v1")
    expert.__class__ = Spy
    model = DAgger("MlpPolicy", make_vec("CartPole-v1", 2), expert=expert, seed=0, batch_size=8)
    model.learn(64)
    assert asked[0][0] and asked[0][1].all()
    assert not asked[1][0] and not asked[1][1].all()


def test_environments_that_have_the_wrappers_and_those_that_are_missing(agent):
    folder, model, venv = agent
    with pytest.raises(FileError, match=r"through TimeFeature, frame_stack, .*pass env="):
        load_expert(folder)
    twice = "is it an expert of another environment"
    with pytest.raises(FileError, match=twice):
        load_expert(folder, venv)
    wrapped_already = load_expert(folder, venv, wrappers=False, vec_normalize=False)
    seen = venv.reset()
    np.testing.assert_array_equal(
        wrapped_already.predict(seen)[0], model.predict(seen, deterministic=True)[0]
    )


def test_as_expert_keeps_experts(agent):
    expert = load_expert(agent[0], "CartPole-v1")
    assert as_expert(expert, expert.observation_space, expert.action_space) is expert


def test_an_agent_acts_in_seals_form_of_its_environment(tmp_path):
    """What `seals` shows beside is the position, which the agent was never shown."""
    agent = PPO("MlpPolicy", "Hopper-v4", n_steps=8, batch_size=8, device="cpu")
    agent.save(tmp_path / "Hopper-v4.zip")
    (tmp_path / "Hopper-v4").mkdir()
    (tmp_path / "Hopper-v4" / "args.yml").write_text("{algo: ppo, env: Hopper-v4}")
    expert = load_expert(tmp_path, "seals/Hopper-v1")
    assert expert.wrappers == (LeaveOut(1),)
    seen = expert.observation_space.sample()[None].clip(-5, 5)
    expected = agent.predict(seen[:, 1:], deterministic=True)[0]
    np.testing.assert_allclose(expert.predict(seen, deterministic=True)[0], expected, atol=1e-6)
    expert.save(tmp_path / "again.zip")
    again = load_expert(tmp_path / "again.zip", "seals/Hopper-v1")
    np.testing.assert_allclose(again.predict(seen, deterministic=True)[0], expected, atol=1e-6)
    with pytest.raises(FileError, match="do not fit"):
        load_expert(tmp_path, "seals/HalfCheetah-v1")
    with pytest.raises(InapplicableError, match="has no first components"):
        LeaveOut(1).output_space(spaces.Discrete(3))
