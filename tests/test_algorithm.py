"""The base class, seen through the smallest algorithm that can extend it."""

import json

import numpy as np
import pytest
import torch as th
from plain_algorithm import Plain, weights
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import BC, GAIL, Demonstrations
from sb3_il_plus.environments import is_placeholder
from sb3_il_plus.errors import (
    DataError,
    InapplicableError,
    UnknownNameError,
    UserError,
)
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo, registered_echo

EXPERT = echo_demonstrations()
SMALL = {"net_arch": [4]}


# -- what it is built from -------------------------------------------------------------------------


def test_nothing_to_take_the_spaces_from():
    with pytest.raises(InapplicableError) as caught:
        Plain("MlpPolicy", None)
    assert str(caught.value) == (
        "Plain needs env=..., demonstrations=..., or both: without either its observation and "
        "action spaces are unknown"
    )


def test_spaces_come_from_the_environment_or_the_data():
    for model in (Plain("MlpPolicy", make_echo()), Plain("MlpPolicy", None, EXPERT)):
        assert model.observation_space == EXPERT.observation_space
        assert model.action_space == EXPERT.action_space
    with registered_echo() as env_id:
        assert Plain("MlpPolicy", env_id).observation_space == EXPERT.observation_space


def test_unknown_environment():
    with pytest.raises(UnknownNameError, match=r"no environment is called 'Pendulm-v1'; did you"):
        Plain("MlpPolicy", "Pendulm-v1")


def test_demonstrations_may_be_a_path(tmp_path):
    path = EXPERT.save(tmp_path / "expert.npz")
    for source in (path, str(path)):
        assert Plain("MlpPolicy", None, source).demonstrations.fingerprint() == EXPERT.fingerprint()


def altered(**changes) -> Demonstrations:
    columns = {name: np.array(column) for name, column in EXPERT.columns().items()}
    for name, (row, value) in changes.items():
        columns[name] = columns[name].astype(np.result_type(columns[name], type(value)))
        columns[name][row] = value
    return Demonstrations.from_columns(columns, EXPERT.observation_space, EXPERT.action_space)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (
            lambda: echo_demonstrations("Discrete"),
            r"observation space Discrete\(4\) does not fit the environment's Box\(-1\.0, 1\.0",
        ),
        (
            lambda: echo_demonstrations(action="Box"),
            r"action space Box\(.*\) does not fit the environment's Discrete\(4\)",
        ),
        (lambda: EXPERT.subsample(100)[0], "hold a single step; learning needs at least two"),
        (
            lambda: altered(observations=(9 + 3, np.nan)),
            r"observations: episode 1, step 3, component \(0,\) is nan, which is not finite",
        ),
        (lambda: altered(rewards=(8, np.inf)), "rewards: episode 1, step 0 is inf"),
        (lambda: altered(actions=(17, 4)), r"actions: episode 2, step 1 is 4, which lies outside"),
    ],
)
def test_unsuitable_demonstrations(data, complaint):
    model = Plain("MlpPolicy", make_echo(), EXPERT)
    with pytest.raises(DataError, match=complaint):
        Plain("MlpPolicy", make_echo(), data())
    with pytest.raises(DataError, match=complaint):
        model.set_demonstrations(data())
    assert model.demonstrations.fingerprint() == EXPERT.fingerprint()


def test_unsuitable_spaces_are_refused_by_the_spec_of_the_nearest_ancestor():
    class Derived(GAIL):
        pass

    assert Plain.get_spec() is None
    assert Derived.get_spec().name == "gail"
    with pytest.raises(InapplicableError, match=r"gail handles .* actions, not Tuple"):
        Derived("MlpPolicy", make_echo(action="Tuple"))


def test_the_users_arguments_are_not_written_to():
    given = {"net_arch": [4]}
    data = echo_demonstrations(action="Box")
    GAIL("MlpPolicy", make_echo(action="Box"), data, generator="sac", policy_kwargs=given)
    BC("MlpPolicy", None, EXPERT, policy_kwargs=given, normalize_observations=True)
    assert given == {"net_arch": [4]}


# -- learning --------------------------------------------------------------------------------------


def test_learning_without_demonstrations():
    with pytest.raises(UserError, match=r"Plain has no demonstrations to learn from: pass demons"):
        Plain("MlpPolicy", make_echo()).learn(1)


@pytest.mark.parametrize("total_timesteps", [0, -3])
def test_no_timesteps(total_timesteps):
    with pytest.raises(UserError, match=f"total_timesteps={total_timesteps} must be at least 1"):
        Plain("MlpPolicy", None, EXPERT).learn(total_timesteps)


def test_history_is_what_was_logged_as_plain_numbers():
    model = Plain("MlpPolicy", None, EXPERT).learn(3)
    assert [row["timesteps"] for row in model.history] == [1, 2, 3]
    assert model.history[0]["train/loss"] == 1.0 and model.history[0]["time/total_timesteps"] == 1
    assert json.loads(json.dumps(model.history)) == model.history
    model.learn(2, reset_num_timesteps=False)
    assert [row["timesteps"] for row in model.history] == [1, 2, 3, 4, 5]
    model.learn(1)
    assert [row["timesteps"] for row in model.history] == [1]


def test_progress_and_schedules_run_over_the_whole_training():
    class Rates(BaseCallback):
        seen = ()

        def _on_step(self):
            rate = self.model.policy.optimizer.param_groups[0]["lr"]
            self.seen = (*self.seen, (self.model._current_progress_remaining, rate))
            return True

    callback = Rates()
    Plain("MlpPolicy", None, EXPERT, learning_rate=lambda left: left / 10).learn(4, callback)
    # The rate of an update is that of the progress before it.
    np.testing.assert_allclose(callback.seen, [(0.75, 0.1), (0.5, 0.075), (0.25, 0.05), (0, 0.025)])


def test_a_model_without_environment_takes_one_of_any_number_of_copies():
    model = Plain("MlpPolicy", None, EXPERT)
    assert is_placeholder(model.get_env())
    env = make_echo(n_envs=3)
    model.set_env(env)
    assert model.n_envs == 3 and not is_placeholder(model.get_env())
    with pytest.raises(AssertionError, match=r"number of environments .* \(2 != 3\)"):
        model.set_env(make_echo(n_envs=2))
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        model.set_env(make_echo("Discrete", n_envs=3))
    with registered_echo() as env_id:
        Plain("MlpPolicy", None, EXPERT).set_env(env_id)


def test_a_placeholder_takes_no_steps():
    env = Plain("MlpPolicy", None, EXPERT).get_env()
    env.reset()
    with pytest.raises(RuntimeError, match="built without an environment and cannot take steps"):
        env.step([0])


def test_without_a_seed_every_model_differs():
    first, second = (Plain("MlpPolicy", None, EXPERT, policy_kwargs=SMALL) for _ in range(2))
    assert first._base_seed != second._base_seed
    assert not np.array_equal(weights(first), weights(second))


# -- normalisation ---------------------------------------------------------------------------------


def test_observation_statistics_travel_with_the_policy(tmp_path):
    observations = np.array([[[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]]])
    data = Demonstrations.from_arrays(observations, [[0, 1]], env=make_echo(action="Discrete"))
    model = Plain("MlpPolicy", None, data, normalize_observations=True)
    statistics = model.policy.features_extractor.statistics["all"]
    assert statistics.mean.tolist() == [2.0, 5.0]
    np.testing.assert_allclose(statistics.std, [np.std([0, 2, 4]), 1e-3], rtol=1e-6)
    model.save(tmp_path / "model.zip")
    loaded = Plain.load(tmp_path / "model.zip")
    for name, value in model.policy.state_dict().items():
        assert th.equal(loaded.policy.state_dict()[name], value), name


def test_demonstrations_are_shown_as_vec_normalize_shows_the_environment():
    env = VecNormalize(make_echo())
    env.obs_rms.mean, env.obs_rms.var = np.array([1.0, 0.0]), np.array([4.0, 1.0])
    model = Plain("MlpPolicy", env, EXPERT)
    shown = model._as_env_observes(np.array([[3.0, -1.0]], dtype=np.float32))
    np.testing.assert_allclose(shown, [[1.0, -1.0]], rtol=1e-6)
