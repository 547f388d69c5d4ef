"""DAgger: it learns, any demonstrator will do, and a killed run loses at most its last round."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scripted_experts import CARTPOLE, balance
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import BC, DAgger, Demonstrations, evaluate
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.testing.environments import HORIZON, echo_expert, make_echo


def test_learns_cartpole_from_a_plain_function():
    # Random play returns about 32, the demonstrator 500.
    returns = []
    for seed in range(3):
        model = DAgger("MlpPolicy", make_vec(CARTPOLE, 4), expert=balance, seed=seed).learn(6000)
        assert model.n_expert_queries == model.num_timesteps == len(model.demonstrations) == 6000
        returns.append(evaluate(model, CARTPOLE, 4, seed=100, n_envs=4).mean_return)
    assert np.mean(returns) > 475


def test_labels_are_the_demonstrators_whoever_drives(cartpole_demos):
    driver_is_learner = DAgger(
        "MlpPolicy", CARTPOLE, expert=balance, beta_schedule=lambda i: 0.0, seed=0
    ).learn(500)
    data = driver_is_learner.demonstrations
    at = data.observations_at(np.arange(len(data)))
    np.testing.assert_array_equal(data.actions, [balance(row) for row in at])
    # An untrained learner leaves the middle, where the demonstrator would have stayed.
    assert data.episode_returns.mean() < cartpole_demos.episode_returns.mean() / 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"beta_schedule": "linear", "beta_rampdown_rounds": 4}, [1, 0.75, 0.5, 0.25, 0, 0]),
        (
            {"beta_schedule": "exponential", "beta_decay": 0.5},
            [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32],
        ),
        ({"beta_schedule": lambda i: float(i == 0)}, [1, 0, 0, 0, 0, 0]),
    ],
)
def test_share_of_the_demonstrators_actions(arguments, expected):
    model = DAgger(
        "MlpPolicy",
        CARTPOLE,
        expert=balance,
        rollout_round_min_timesteps=500,
        rollout_round_min_episodes=1,
        seed=0,
        **arguments,
    ).learn(3000)
    assert [row["rollout/beta"] for row in model.history] == pytest.approx(expected)


@pytest.mark.parametrize("model_class", [DAgger, BC])
def test_a_model_can_be_the_demonstrator(model_class, cartpole_demos):
    expert = BC("MlpPolicy", None, cartpole_demos, seed=0).learn(1000)
    model = DAgger("MlpPolicy", CARTPOLE, cartpole_demos[:1], expert=expert, seed=0).learn(1000)
    assert len(model.demonstrations) == 500 + 1000


def test_begins_with_arrays_whose_bounds_are_unknown():
    observations = np.random.default_rng(0).normal(size=(100, 4))
    own = Demonstrations.from_arrays(
        observations,
        np.array([balance(row) for row in observations]),
        action_space=spaces.Discrete(2),
    )
    model = DAgger("MlpPolicy", CARTPOLE, own, expert=balance, seed=0).learn(100)
    assert len(model.demonstrations) == 100 + 100


def test_kill_at_a_checkpoint_and_resume_equals_never_having_stopped(tmp_path):
    def build():
        return DAgger("MlpPolicy", make_vec(CARTPOLE, 2), expert=balance, seed=7)

    whole = build().learn(6000)
    checkpoints = CheckpointCallback(save_freq=1000, save_path=tmp_path, name_prefix="dagger")
    build().learn(6000, callback=checkpoints)
    # A checkpoint in the middle of a round holds the round's start, which is then repeated.
    resumed = DAgger.load(
        tmp_path / "dagger_4000_steps.zip", env=make_vec(CARTPOLE, 2), expert=balance
    )
    assert resumed.num_timesteps <= 4000
    resumed.learn(6000 - resumed.num_timesteps, reset_num_timesteps=False)
    assert resumed.num_timesteps == 6000
    assert resumed.n_expert_queries == 6000
    assert resumed.demonstrations.fingerprint() == whole.demonstrations.fingerprint()
    for name, value in whole.policy.state_dict().items():
        assert th.equal(value, resumed.policy.state_dict()[name]), name


def test_a_learner_that_drives_from_the_start_begins_with_what_is_known(cartpole_demos, tmp_path):
    arguments = {"expert": balance, "beta_schedule": lambda i: 0.0}

    def build():
        return DAgger("MlpPolicy", CARTPOLE, cartpole_demos[:2], seed=0, **arguments)

    whole = build().learn(600)
    driven = whole.demonstrations[2:]
    assert driven.episode_returns[0] > 150  # 10 to 60 in the hands of an untrained learner
    # A file that is saved in the first round is of a learner that has begun already.
    build().learn(600, CheckpointCallback(100, str(tmp_path), "dagger"))
    resumed = DAgger.load(tmp_path / "dagger_100_steps.zip", env=CARTPOLE, **arguments)
    resumed.learn(600, reset_num_timesteps=False)
    assert resumed.demonstrations.fingerprint() == whole.demonstrations.fingerprint()
    for name, value in whole.policy.state_dict().items():
        assert th.equal(value, resumed.policy.state_dict()[name]), name


def test_demonstrator_sees_raw_observations_behind_vec_normalize():
    env = VecNormalize(make_vec(CARTPOLE, 2, seed=0), norm_reward=False)
    seen = []

    def demonstrator(observation):
        seen.append(observation)
        return balance(observation)

    model = DAgger("MlpPolicy", env, expert=demonstrator, seed=0).learn(3000)
    data = model.demonstrations
    at = data.observations_at(np.arange(len(data)))
    np.testing.assert_array_equal(data.actions, [balance(row) for row in at])
    assert np.abs(np.array(seen)[:, 0]).max() < 2.4  # positions, not standard deviations
    assert evaluate(model, _frozen(env), 3, seed=100).mean_return > 300


def test_images_are_recorded_as_bytes_in_the_policys_order_of_axes(tmp_path):
    """SB3 moves the channels to the front for its CNN; the demonstrator sees them last."""
    seen = []

    def demonstrator(picture):
        seen.append(picture)
        return echo_expert("Image")(picture)

    env = VecNormalize(make_echo("Image", n_envs=2, seed=0), norm_obs=False, norm_reward=False)
    model = DAgger(
        "CnnPolicy", env, expert=demonstrator, rollout_round_min_timesteps=64, seed=0
    ).learn(256)
    assert {(picture.shape, picture.dtype.name) for picture in seen} == {((36, 40, 1), "uint8")}
    data = model.demonstrations
    assert data.observations.dtype == np.uint8
    assert data.observations.shape[1:] == model.observation_space.shape == (1, 36, 40)
    shown = data.observations_at(np.arange(len(data)))
    labels = [echo_expert("Image")(np.moveaxis(picture, 0, -1)) for picture in shown]
    np.testing.assert_array_equal(data.actions, labels)
    assert evaluate(model, make_echo("Image"), 4, seed=1).mean_return == HORIZON

    model.save(tmp_path / "model")
    again = DAgger.load(tmp_path / "model", env=make_echo("Image"), expert=demonstrator)
    assert again.demonstrations.fingerprint() == data.fingerprint()


def test_a_model_that_sees_images_is_asked_about_the_same_ones():
    teacher = PPO("CnnPolicy", make_echo("Image"), seed=3)
    model = DAgger("CnnPolicy", make_echo("Image", seed=0), expert=teacher, seed=0).learn(64)
    shown = model.demonstrations.observations_at(np.arange(64))
    np.testing.assert_array_equal(
        model.demonstrations.actions, teacher.predict(shown, deterministic=True)[0]
    )


def test_dict_observations_with_either_driver():
    """Who drives is drawn for each copy, so the learner is shown some rows of each entry."""
    model = DAgger(
        "MultiInputPolicy",
        make_echo("Dict", "MultiDiscrete", n_envs=3, seed=0),
        expert=echo_expert("Dict", "MultiDiscrete"),
        beta_schedule=lambda round_num: 0.5,
        rollout_round_min_timesteps=192,
        seed=0,
    ).learn(960)
    data = model.demonstrations
    assert set(data.observations) == {"bit", "command"}
    shown = data.observations_at(np.arange(960))
    right = np.stack([shown["bit"][:, 0] > 0, shown["command"] > 0], axis=1)
    np.testing.assert_array_equal(data.actions, right)
    driven = [row["rollout/ep_rew_mean"] for row in model.history]
    assert driven[0] < HORIZON, "the learner never drove"
    assert evaluate(model, make_echo("Dict", "MultiDiscrete"), 4, seed=1).mean_return == HORIZON


def _frozen(env: VecNormalize) -> VecNormalize:
    copy = VecNormalize(make_vec(CARTPOLE, 1), training=False, norm_reward=False)
    copy.obs_rms = env.obs_rms
    return copy


def test_bad_input_is_named():
    with pytest.raises(UserError, match="no demonstrator to ask"):
        DAgger("MlpPolicy", CARTPOLE).learn(1000)
    with pytest.raises(
        UserError, match="total_timesteps=10 gives fewer labels than one batch of 32"
    ):
        DAgger("MlpPolicy", CARTPOLE, expert=balance).learn(10)
    with pytest.raises(UserError, match="beta_schedule='cosine'"):
        DAgger("MlpPolicy", CARTPOLE, expert=balance, beta_schedule="cosine")
    with pytest.raises(DataError, match="shape"):
        DAgger("MlpPolicy", CARTPOLE, expert=lambda observation: np.zeros(3)).learn(1000)
    with pytest.raises(InapplicableError, match="needs env"):
        DAgger("MlpPolicy", None, expert=balance)
