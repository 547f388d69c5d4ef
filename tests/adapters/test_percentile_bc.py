"""PercentileBC clones the best episodes, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from sb3_il_plus import BC, PercentileBC
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError, UserError
from sb3_il_plus.testing.environments import HORIZON, echo_demonstrations

QUICK = {"batch_size": 8, "policy_kwargs": {"net_arch": [16]}, "seed": 0, "device": "cpu"}


@pytest.fixture(scope="module", params=["Box", "Discrete"])
def data(request):
    """Eight episodes that are right, among 24 whose actions are not."""
    right, wrong = (echo_demonstrations("Box", request.param, n, seed=n) for n in (8, 24))
    wrong = wrong.corrupt(seed=0, random_actions=1.0)
    wrong = replace(wrong, rewards=np.full(len(wrong), 0.5))
    return Demonstrations.concatenate([wrong[:12], right, wrong[12:]])


def test_it_equals_bc_on_the_best_episodes(data):
    best = data.filter_by_return(minimum=HORIZON)
    assert best.n_episodes == 8
    model = PercentileBC("MlpPolicy", None, data, percentage=25.0, **QUICK).learn(50)
    cloned = BC("MlpPolicy", None, best, **QUICK).learn(50)
    observations = data.observations[:40]
    found, expected = (
        each.predict(observations, deterministic=True)[0] for each in (model, cloned)
    )
    assert np.array_equal(found, expected)
    assert model.demonstrations is not best and len(model.demonstrations) == len(data)


def test_saved_with_its_data_it_goes_on_with_the_same_episodes(data, tmp_path):
    model = PercentileBC("MlpPolicy", None, data, percentage=25.0, **QUICK).learn(10)
    model.save(tmp_path / "model", include=["demonstrations"])
    loaded = PercentileBC.load(tmp_path / "model", device="cpu")
    assert loaded.percentage == 25 and loaded.updates_per_epoch == model.updates_per_epoch == 8
    for each in (model, loaded):
        each.learn(20, reset_num_timesteps=False)
    observations = data.observations[:40]
    found, expected = (
        each.predict(observations, deterministic=True)[0] for each in (model, loaded)
    )
    assert np.array_equal(found, expected)


def test_other_data_is_ranked_anew(data):
    model = PercentileBC("MlpPolicy", None, data, percentage=50.0, **QUICK)
    model.set_demonstrations(data[:10])
    assert model.updates_per_epoch == 5


@pytest.mark.parametrize("percentage", [0.0, 101.0])
def test_percentages_are_checked(percentage, data):
    with pytest.raises(UserError, match=rf"percentage={percentage} must lie within \(0, 100\]"):
        PercentileBC("MlpPolicy", None, data, percentage=percentage, **QUICK)


def test_data_without_rewards_is_refused_with_the_remedy(data):
    with pytest.raises(DataError, match=r"no rewards.*or clone all of them with BC"):
        PercentileBC("MlpPolicy", None, replace(data, rewards=None), **QUICK)
