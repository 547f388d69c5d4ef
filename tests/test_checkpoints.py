"""What files hold: enough to go on exactly where they were written, whatever was trained how."""

import numpy as np
import pytest
import torch as th
from every_algorithm import NAMES
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_il_plus import BC, DAgger
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.persistence import constructor_arguments
from sb3_il_plus.registry import registry
from sb3_il_plus.serialization import read_archive
from sb3_il_plus.testing.environments import echo_demonstrations, echo_expert, make_echo
from sb3_il_plus.testing.task import Task, differing

OFF_POLICY = {
    "generator": "sac",
    "generator_kwargs": {"learning_starts": 16, "batch_size": 16, "buffer_size": 500},
}


@pytest.mark.parametrize("arguments", [{}, OFF_POLICY], ids=["on_policy", "off_policy"])
@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_with_vec_normalize_and_replay_buffer(name, arguments, tmp_path):
    task = Task(registry.get(name), tmp_path)
    if arguments and "generator" not in constructor_arguments(task.cls):
        pytest.skip("it has no generator")
    if arguments:
        task = task.within(action="Box")
    callback = CheckpointCallback(
        24, str(tmp_path), "run", save_replay_buffer=True, save_vecnormalize=True
    )
    env = normalized(task.env())
    try:
        model = task.model(env, **arguments)
    except InapplicableError as error:
        pytest.skip(str(error))
    model.learn(task.timesteps, callback=callback)

    env = VecNormalize.load(str(tmp_path / "run_vecnormalize_24_steps.pkl"), task.env())
    resumed = task.load(tmp_path / "run_24_steps.zip", env)
    buffer = tmp_path / "run_replay_buffer_24_steps.pkl"
    assert buffer.exists() == (getattr(model, "replay_buffer", None) is not None)
    if buffer.exists():
        resumed.load_replay_buffer(buffer)
        n = resumed.replay_buffer.size()
        assert n <= 23  # SB3 stores a step after its callbacks
        for column in ("observations", "actions", "dones"):
            kept, seen = (getattr(m.replay_buffer, column)[:n] for m in (resumed, model))
            np.testing.assert_array_equal(kept, seen)
        read_archive(buffer)  # which reads plain JSON and tensors only
    resumed.learn(task.timesteps - resumed.num_timesteps, reset_num_timesteps=False)
    assert resumed.num_timesteps == model.num_timesteps


def normalized(env):
    """`VecNormalize` around `env`, which of a Dict normalises what it can."""
    keys = None
    if isinstance(env.observation_space, spaces.Dict):
        keys = [k for k, part in env.observation_space.items() if isinstance(part, spaces.Box)]
    return VecNormalize(env, norm_reward=False, norm_obs_keys=keys)


def learned_rewards(model, task):
    """What a model's reward net pays for some steps of the echo task."""
    venv = model.as_reward_wrapper(task.env())
    venv.action_space.seed(0)
    venv.reset()
    return [venv.step(np.array([venv.action_space.sample()]))[1] for _ in range(20)]


@pytest.mark.parametrize("name", NAMES)
def test_reward_nets_are_reloaded_without_an_environment(name, tmp_path):
    task = Task(registry.get(name), tmp_path)
    if not hasattr(task.cls, "as_reward_wrapper"):
        pytest.skip("it learns no reward")
    model = task.trained()
    model.save(tmp_path / "model.zip")
    # With another seed, nets that the file does not hold would be others.
    rewards = learned_rewards(task.cls.load(tmp_path / "model.zip", seed=1), task)
    np.testing.assert_array_equal(rewards, learned_rewards(model, task))
    assert np.std(rewards) > 0


def draw():
    """The next numbers of the generators that SB3 draws from."""
    return [*th.rand(3).tolist(), *np.random.rand(3)]


class Draw(BaseCallback):
    """Draws when training begins."""

    def _on_training_start(self):
        self.drawn = draw()

    def _on_step(self):
        return False


def test_random_streams_go_on_where_they_were(tmp_path):
    task = Task(registry.get("gail"), tmp_path)
    model = task.trained()
    model.save(tmp_path / "model.zip")
    expected = draw()

    def drawn_after(**learn):
        resumed = task.load(tmp_path / "model.zip", env)
        callback = Draw()
        resumed.learn(16, callback=callback, **learn)
        return callback.drawn

    env = task.env()
    assert drawn_after(reset_num_timesteps=False) == expected
    assert drawn_after(reset_num_timesteps=True) != expected  # a run of its own, from its seed


def test_a_resumed_environment_does_not_begin_with_its_first_episodes_again(tmp_path):
    task = Task(registry.get("gail"), tmp_path)

    def first_observations(model, **learn):
        seen = []
        model.learn(64, callback=lambda at, _: seen.append(at["new_obs"].copy()), **learn)
        return np.array(seen[:32])

    model = task.model()
    first = first_observations(model)
    model.save(tmp_path / "model.zip")
    again, once_more = (
        first_observations(task.load(tmp_path / "model.zip", task.env()), reset_num_timesteps=False)
        for _ in range(2)
    )
    assert not np.array_equal(first, again)
    np.testing.assert_array_equal(again, once_more)


# -- variants of behavioural cloning ---------------------------------------------------------------


class Noisy(nn.Sequential):
    """A network that draws from torch's global generator when it trains."""

    def __init__(self, observation_space, features_dim=8):
        super().__init__(nn.Linear(observation_space.shape[0], features_dim), nn.Dropout(0.5))
        self.features_dim = features_dim


def falling(progress_remaining):
    return 1e-2 * progress_remaining


NOT_IN_A_FILE = ("learning_rate", "policy_kwargs")
"""Arguments that can hold functions and classes of the user's own, which are given again."""

VARIANTS = {
    "validation": {"validation_fraction": 0.25, "validation_freq": 3},
    "early_stopping": {
        "validation_fraction": 0.25,
        "validation_freq": 2,
        "early_stopping_patience": 3,
        "learning_rate": 0.3,
    },
    "minibatches": {"minibatch_size": 4},
    "dropout": {"policy_kwargs": {"features_extractor_class": Noisy}},
    "schedule": {"learning_rate": falling},
    "normalized": {"normalize_observations": True},
    "dqn": {"policy_of": "dqn", "loss": "large_margin"},
    "sac": {"policy_of": "sac"},
    "td3": {"policy_of": "td3"},
    "recurrent_ppo": {"policy_of": "recurrent_ppo", "sequence_length": 5},
    "maskable_ppo": {"policy_of": "maskable_ppo", "class_weights": "balanced"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_behavioural_cloning_resumes_exactly_from_every_checkpoint(variant, tmp_path):
    arguments = {"batch_size": 8, "seed": 3, "device": "cpu", **VARIANTS[variant]}
    action = "Box" if variant in ("sac", "td3") else "Discrete"
    data = echo_demonstrations(action=action)
    again = {name: arguments[name] for name in NOT_IN_A_FILE if name in arguments}
    whole = BC("MlpPolicy", None, data, **arguments)
    whole.learn(40, callback=CheckpointCallback(1, str(tmp_path)))
    last = whole.num_timesteps
    assert (last < 40) == (variant == "early_stopping")
    for step in np.random.default_rng(0).integers(1, last, 5):
        resumed = BC.load(tmp_path / f"rl_model_{step}_steps.zip", demonstrations=data, **again)
        assert resumed.num_timesteps == step
        resumed.learn(40 - step, reset_num_timesteps=False)
        assert resumed.num_timesteps == last
        assert differing(whole.get_parameters(), resumed.get_parameters()) == []
        assert whole._state() == resumed._state()


@pytest.mark.parametrize("variant", ["dropout", "schedule", "normalized"])
def test_dagger_resumes_exactly_from_every_checkpoint(variant, tmp_path):
    arguments = {"batch_size": 8, "seed": 3, "device": "cpu", **VARIANTS[variant]}
    rounds = {"rollout_round_min_timesteps": 16, "rollout_round_min_episodes": 1}
    again = {name: arguments[name] for name in NOT_IN_A_FILE if name in arguments}
    whole = DAgger("MlpPolicy", make_echo(), expert=echo_expert(), **rounds, **arguments)
    whole.learn(80, callback=CheckpointCallback(1, str(tmp_path)))
    for step in np.random.default_rng(0).integers(1, 80, 5):
        resumed = DAgger.load(
            tmp_path / f"rl_model_{step}_steps.zip", make_echo(), expert=echo_expert(), **again
        )
        resumed.learn(80 - resumed.num_timesteps, reset_num_timesteps=False)
        assert differing(whole.get_parameters(), resumed.get_parameters()) == []
        assert whole._state() == resumed._state()
        assert whole.demonstrations.fingerprint() == resumed.demonstrations.fingerprint()
