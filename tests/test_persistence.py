"""Saving and loading, seen through the smallest algorithm that can extend the base class."""

import warnings

import numpy as np
import pytest
import torch as th
from plain_algorithm import OwnExtractor, Plain, weights

from sb3_il_plus import BC, load_model
from sb3_il_plus.errors import (
    FileError,
    UserError,
)
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo

EXPERT = echo_demonstrations()
SMALL = {"net_arch": [4]}


def test_a_file_holds_the_arguments_and_the_counters(tmp_path):
    model = Plain(
        "MlpPolicy", None, EXPERT, strength=np.float64(2.5), policy_kwargs=SMALL, seed=3,
        learning_rate=0.125, stats_window_size=7,
    )  # fmt: skip
    model.learn(5).save(tmp_path / "model")
    loaded = Plain.load(tmp_path / "model", demonstrations=EXPERT)
    for name in ("strength", "policy_kwargs", "seed", "learning_rate", "_stats_window_size"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert (loaded.num_timesteps, loaded._n_updates, loaded._base_seed) == (5, 5, model._base_seed)
    np.testing.assert_array_equal(weights(loaded), weights(model))
    loaded.learn(2, reset_num_timesteps=False)
    assert loaded.num_timesteps == 7


def test_arguments_can_be_changed_while_loading(tmp_path):
    Plain("MlpPolicy", None, EXPERT, strength=2.0).save(tmp_path / "model")
    assert Plain.load(tmp_path / "model", strength=3.0).strength == 3.0
    assert Plain.load(tmp_path / "model", custom_objects={"strength": 4.0}).strength == 4.0
    with pytest.raises(FileError, match="unexpected keyword argument 'strenth'"):
        Plain.load(tmp_path / "model", strenth=3.0)


def test_a_function_is_not_saved_and_loading_says_how_to_give_it_again(tmp_path):
    def schedule(left):
        return left / 10

    Plain("MlpPolicy", None, EXPERT, learning_rate=schedule).save(tmp_path / "model")
    with pytest.warns(UserWarning) as caught:
        loaded = Plain.load(tmp_path / "model")
    assert str(caught[0].message) == (
        "learning_rate was a function schedule, which a file cannot hold; its default is used. "
        "Pass load(..., learning_rate=...) to set it"
    )
    assert caught[0].filename == __file__
    assert loaded.learning_rate == 3e-4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Plain.load(tmp_path / "model", learning_rate=schedule).learning_rate is schedule


def test_classes_of_ones_own_are_given_again(tmp_path):
    arguments = {"features_extractor_class": OwnExtractor}
    Plain("MlpPolicy", None, EXPERT, policy_kwargs=arguments).save(tmp_path / "plain")
    loaded = Plain.load(tmp_path / "plain")  # of the same package as the algorithm
    assert isinstance(loaded.policy.features_extractor, OwnExtractor)
    BC("MlpPolicy", None, EXPERT, policy_kwargs=arguments).save(tmp_path / "bc")
    with pytest.raises(FileError, match=r"the class 'plain_algorithm:OwnExtractor', which is"):
        BC.load(tmp_path / "bc")
    loaded = BC.load(tmp_path / "bc", custom_objects={"policy_kwargs": arguments})
    assert isinstance(loaded.policy.features_extractor, OwnExtractor)


def test_an_argument_that_is_not_stored_is_named(tmp_path):
    class Careless(Plain):
        def __init__(self, policy, env, demonstrations=None, *, patience=3, **kwargs):
            super().__init__(policy, env, demonstrations, **kwargs)

    with pytest.raises(UserError, match="does not store its constructor argument 'patience' as se"):
        Careless("MlpPolicy", None, EXPERT).save(tmp_path / "model.zip")
    assert list(tmp_path.iterdir()) == []


def test_demonstrations_are_saved_on_request(tmp_path):
    model = Plain("MlpPolicy", None, EXPERT)
    model.save(tmp_path / "without")
    model.save(tmp_path / "with", include=["demonstrations"])
    loaded = Plain.load(tmp_path / "with")
    assert loaded.demonstrations.fingerprint() == EXPERT.fingerprint()
    with pytest.raises(UserError, match=r"has no demonstrations to learn from: .* to load\(\)"):
        Plain.load(tmp_path / "without").learn(1)
    with pytest.raises(UserError, match="has no demonstrations to learn from"):
        Plain("MlpPolicy", make_echo()).save(tmp_path / "none", include=["demonstrations"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["with.zip", "without.zip"]


def test_dict_demonstrations_are_saved_on_request(tmp_path):
    data = echo_demonstrations("Dict", "MultiBinary")
    Plain("MultiInputPolicy", None, data).save(tmp_path / "model", include=["demonstrations"])
    assert Plain.load(tmp_path / "model").demonstrations.fingerprint() == data.fingerprint()


def test_loading_with_other_demonstrations_warns(tmp_path):
    Plain("MlpPolicy", None, EXPERT).save(tmp_path / "model")
    other = echo_demonstrations(seed=1)
    with pytest.warns(UserWarning, match="was saved with other demonstrations") as caught:
        Plain.load(tmp_path / "model", demonstrations=other)
    assert EXPERT.fingerprint() in str(caught[0].message)
    assert other.fingerprint() in str(caught[0].message)
    assert caught[0].filename == __file__


def test_tensors_can_be_left_out(tmp_path):
    model = Plain("MlpPolicy", None, EXPERT)
    model.save(tmp_path / "model", exclude=["policy.optimizer"])
    with pytest.raises(FileError, match=r"Names of parameters do not match .*policy\.optimizer"):
        Plain.load(tmp_path / "model")
    other = Plain("MlpPolicy", None, EXPERT)
    other.set_parameters(tmp_path / "model", exact_match=False)
    np.testing.assert_array_equal(weights(other), weights(model))


def test_load_model_knows_registered_algorithms_only(tmp_path):
    BC("MlpPolicy", None, EXPERT).save(tmp_path / "bc")
    Plain("MlpPolicy", None, EXPERT).save(tmp_path / "plain")
    assert type(load_model(tmp_path / "bc")) is BC
    with pytest.raises(FileError, match="a model of 'plain_algorithm:Plain', which is not registe"):
        load_model(tmp_path / "plain")


def test_versions_are_printed_on_request(tmp_path, capsys):
    Plain("MlpPolicy", None, EXPERT).save(tmp_path / "model")
    Plain.load(tmp_path / "model", print_system_info=True)
    out = capsys.readouterr().out
    assert "== SAVED WITH ==" in out and f"'torch': '{th.__version__}'" in out
