"""Any RL algorithm as the generator: what works, what is refused, what is saved and resumed."""

import warnings

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.her import HerReplayBuffer

from sb3_il_plus import AIRL, GAIL
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import FileError, InapplicableError, UserError
from sb3_il_plus.registry import registry
from sb3_il_plus.testing.environments import (
    echo_demonstrations,
    make_echo,
    steps_taken,
)
from sb3_il_plus.testing.kit import checks_for
from sb3_il_plus.testing.task import differing

ON_POLICY = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}
OFF_POLICY = {"batch_size": 16, "buffer_size": 500, "learning_starts": 8, "train_freq": 4}
KWARGS = {
    "a2c": {"n_steps": 16},
    "maskable_ppo": ON_POLICY,
    "ppo": ON_POLICY,
    "recurrent_ppo": ON_POLICY,
    "trpo": {"n_steps": 16, "batch_size": 16},
}
DISCRETE = ("a2c", "dqn", "maskable_ppo", "ppo", "qrdqn", "recurrent_ppo", "trpo")
CONTINUOUS = ("a2c", "crossq", "ddpg", "ppo", "recurrent_ppo", "sac", "td3", "tqc", "trpo")
WORKING = [*((name, "Discrete") for name in DISCRETE), *((name, "Box") for name in CONTINUOUS)]


def build(generator="sac", action="Box", cls=GAIL, n_envs=1, env=None, **kwargs):
    own = {**KWARGS.get(generator, OFF_POLICY), **kwargs.pop("generator_kwargs", {})}
    arguments = {
        "generator": generator,
        "generator_kwargs": own,
        "gen_train_timesteps": 16,
        "n_disc_updates_per_round": 2,
        "demo_batch_size": 16,
        "policy_kwargs": {"net_arch": [16]},
        "seed": 0,
        "device": "cpu",
        **kwargs,
    }
    policy = "MlpLstmPolicy" if generator == "recurrent_ppo" else "MlpPolicy"
    env = make_echo("Box", action, n_envs, seed=0) if env is None else env
    return cls(policy, env, echo_demonstrations("Box", action), **arguments)


def resumed(model, path, env=None, **kwargs):
    """The model from its file, in a new environment."""
    model.save(path)
    action = type(model.action_space).__name__
    env = make_echo("Box", action, model.n_envs, seed=1) if env is None else env
    demonstrations = echo_demonstrations("Box", action)
    return type(model).load(path, env=env, demonstrations=demonstrations, device="cpu", **kwargs)


class CountSteps(BaseCallback):
    """What SB3's callbacks count, at every step."""

    def _on_training_start(self) -> None:
        self.seen = [self.model.num_timesteps]

    def _on_step(self) -> bool:
        assert self.model.num_timesteps == self.num_timesteps
        self.seen.append(self.num_timesteps)
        return True


@pytest.mark.parametrize(("generator", "action"), WORKING)
def test_every_algorithm_of_the_registry_learns_counts_and_goes_on(generator, action, tmp_path):
    if generator == "crossq":
        pytest.importorskip("sb3_contrib.crossq")
    env, count = make_echo("Box", action, seed=0), CountSteps()
    model = build(generator, action, env=env)
    before = model.get_parameters()["policy"]
    before = {name: value.clone() for name, value in before.items()}
    model.learn(64, callback=count)
    assert differing(before, model.get_parameters()["policy"])
    assert count.seen == [*range(0, steps_taken(env) + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the empty replay buffer
        again = resumed(model, tmp_path / "model")
        assert not differing(model.get_parameters(), again.get_parameters())
        again.learn(32, callback=count, reset_num_timesteps=False)
    assert count.seen == [*range(model.num_timesteps, again.num_timesteps + 1)]
    assert again.num_timesteps >= model.num_timesteps + 32


def test_no_algorithm_of_the_registry_is_left_out():
    names = {spec.name for spec in registry.list_algorithms() if spec.family == "online_rl"}
    assert names == {name for name, _ in WORKING} | {"ars"}


def test_what_cannot_be_a_generator_is_refused_with_the_reason():
    with pytest.raises(InapplicableError, match=r"ARS cannot be the generator: .* Monitor"):
        build("ars", env=make_echo("Box", "Box"), generator_kwargs={})
    with pytest.raises(InapplicableError, match=r"no action_masks\(\) method .* 'ppo' allows all"):
        GAIL("MlpPolicy", make_vec("CartPole-v1"), generator="maskable_ppo")
    with pytest.raises(InapplicableError, match=r"AIRL .* RecurrentPPO depends on its memory"):
        build("recurrent_ppo", cls=AIRL)
    with pytest.raises(InapplicableError, match=r"HerReplayBuffer cannot .* compute_reward"):
        her = {"replay_buffer_class": HerReplayBuffer}
        build(relabel_rewards=False, generator_kwargs=her)


def test_predict_is_the_generator_s():
    model = build("maskable_ppo", "Discrete")
    masks = np.array([[False, False, True, False]])
    observations = np.zeros((1, 2), np.float32)
    assert model.predict(observations, action_masks=masks)[0] == [2]
    dqn = build("dqn", "Discrete")
    dqn.generator_model.exploration_rate = 1.0
    chosen = {int(dqn.predict(observations)[0][0]) for _ in range(60)}
    assert chosen == {0, 1, 2, 3}, "DQN explores unless asked to be deterministic"
    assert len({int(dqn.predict(observations, deterministic=True)[0][0]) for _ in range(9)}) == 1


def test_counters_of_the_generator_are_saved(tmp_path):
    model = build("dqn", "Discrete", generator_kwargs={"exploration_fraction": 0.5}).learn(48)
    assert model.generator_model._n_calls == 48
    assert model.generator_model.exploration_rate == pytest.approx(0.05)
    again = resumed(model, tmp_path / "model").generator_model
    for name in ("_n_calls", "_n_updates", "_episode_num", "exploration_rate"):
        assert getattr(again, name) == getattr(model.generator_model, name), name


def test_the_entropy_coefficient_survives_files_and_other_numbers_of_copies(tmp_path):
    model = build(generator_kwargs={"learning_starts": 1}, learning_rate=1e-2).learn(64)
    coefficient = float(model.generator_model.log_ent_coef.detach())
    assert abs(coefficient) > 1e-3
    again = resumed(model, tmp_path / "model")
    assert float(again.generator_model.log_ent_coef.detach()) == coefficient
    again = GAIL.load(tmp_path / "model", device="cpu")
    again.set_env(make_echo("Box", "Box", 2))  # builds everything anew
    assert float(again.generator_model.log_ent_coef.detach()) == coefficient


# -- replay buffers --------------------------------------------------------------------------------


def test_checkpoint_callback_saves_buffers_that_a_new_model_goes_on_with(tmp_path):
    model = build(n_envs=2).learn(
        64, callback=CheckpointCallback(16, str(tmp_path), save_replay_buffer=True)
    )
    again = GAIL.load(
        tmp_path / "rl_model_64_steps.zip",
        env=make_echo("Box", "Box", 2, seed=1),
        demonstrations=echo_demonstrations("Box", "Box"),
        device="cpu",
    )
    again.load_replay_buffer(tmp_path / "rl_model_replay_buffer_64_steps.pkl")
    saved, kept = again.replay_buffer, model.replay_buffer
    # SB3's callbacks come before the step is stored: the file lacks the very last one.
    assert (saved.pos, kept.pos) == (31, 32)
    for name in ("observations", "next_observations", "actions", "dones", "timeouts"):
        np.testing.assert_array_equal(getattr(saved, name)[:31], getattr(kept, name)[:31])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.learn(16, reset_num_timesteps=False)
    assert again.replay_buffer.pos == 39
    assert again._draw_generator_batch()["obs"].shape == (16, 2)


def test_without_its_buffer_a_resumed_model_warns_and_goes_on(tmp_path):
    model = build().learn(32)
    again = resumed(model, tmp_path / "model")
    with pytest.warns(UserWarning, match=r"timestep 32 with an empty replay buffer") as caught:
        again.learn(16, reset_num_timesteps=False)
    assert caught[0].filename == __file__
    assert again.replay_buffer.size() == 16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build().learn(16)  # a new one has nothing to warn of
        again.learn(16)


def test_a_buffer_of_another_generator_is_refused(tmp_path):
    build().learn(16).save_replay_buffer(tmp_path / "buffer")
    other = build("dqn", "Discrete").learn(16)
    with pytest.raises(FileError, match="saved with action_space"):
        other.load_replay_buffer(tmp_path / "buffer")
    assert other.replay_buffer.size() == 16
    with pytest.raises(UserError, match="PPO learns on-policy and has no replay buffer"):
        build("ppo").save_replay_buffer(tmp_path / "none")
    assert build("ppo").replay_buffer is None


@pytest.mark.slow
def test_a_resumed_sac_learns_as_if_never_interrupted(tmp_path):
    def mean_return(model):
        env = make_echo("Box", "Box", seed=7)
        return np.mean(evaluate_policy(model, env, 20, return_episode_rewards=True)[0])

    half = build(
        learning_rate=3e-3, generator_kwargs={"gradient_steps": 2, "batch_size": 32}
    ).learn(600)
    half.save_replay_buffer(tmp_path / "buffer")
    again = resumed(half, tmp_path / "model")
    again.load_replay_buffer(tmp_path / "buffer")
    before = mean_return(again)
    assert before == mean_return(half)
    again.learn(600, reset_num_timesteps=False)
    # Uninterrupted, 1200 steps return 7.5 to 7.6 over four seeds; random actions, 4.
    assert again.num_timesteps == 1200 and again.replay_buffer.full
    assert mean_return(again) >= 7.2 > before


def test_arguments_that_no_file_can_hold_are_named(tmp_path):
    noise = NormalActionNoise(np.zeros(2), np.full(2, 0.1))
    model = build("td3", generator_kwargs={"action_noise": noise}).learn(16)
    with pytest.warns(UserWarning, match=r"generator_kwargs\['action_noise'\] was a .*Noise"):
        again = resumed(model, tmp_path / "model")
    assert again.generator_model.action_noise is None
    again = resumed(model, tmp_path / "model", generator_kwargs=model.generator_kwargs)
    assert again.generator_model.action_noise is noise


# -- the contract ----------------------------------------------------------------------------------

_CONFORMING = {
    "gail": (
        "timesteps_counted",
        "policy_changes",
        "seed",
        "set_env",
        "monitor",
        "vec_normalize",
        "callback_sees_every_timestep",
        "callback_stops",
        "checkpoint_callback",
        "claimed_observations",
        "save_load",
        "learning_goes_on",
        "file_is_inert",
        "load_in_other_spaces",
    ),
    "airl": ("policy_changes", "vec_normalize", "save_load"),
}
_SAC = {
    "generator": "sac",
    "generator_kwargs": {**OFF_POLICY, "batch_size": 32, "buffer_size": 2000, "gradient_steps": 2},
    "gen_train_timesteps": 16,
    "n_disc_updates_per_round": 2,
}
_CHECKS = [
    check
    for algorithm, names in _CONFORMING.items()
    for check in checks_for(algorithm, hyperparameters=_SAC)
    if check.check.name in names
]


@pytest.mark.parametrize("check", _CHECKS, ids=str)
def test_conformance_with_an_off_policy_generator(check):
    check()
