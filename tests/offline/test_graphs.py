"""Recorded updates, as far as there is something to test without a GPU: all but the recording."""

import pytest
import torch as th

from sb3_il_plus import make
from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.graphs import N_WARM_UP, RecordedUpdates
from sb3_il_plus.testing.environments import echo_demonstrations

QUICK = {"batch_size": 16, "policy_kwargs": {"net_arch": [16]}, "seed": 0, "device": "cpu"}


class Tape:
    """Records as a GPU does: an update reads the same tensors again, whatever was passed later."""

    def __init__(self):
        self.n_recorded = 0

    def record(self, update):
        self.n_recorded += 1
        return update


@pytest.mark.parametrize(
    ("name", "action", "n_kinds", "arguments"),
    [
        ("td3_bc", "Box", 2, {}),
        ("iql", "Box", 1, {}),  # whose learning rate changes with each update
        ("awac", "Box", 1, {}),
        ("cql", "Box", 2, {"cql_n_actions": 2, "bc_steps": 8}),
        ("discrete_cql", "Discrete", 2, {"target_update_interval": 5}),
    ],
)
def test_recorded_updates_are_the_same(name, action, n_kinds, arguments):
    data = echo_demonstrations("Box", action, n_episodes=20)
    plain, model = (make(name, None, demonstrations=data, **QUICK, **arguments) for _ in range(2))
    tape = Tape()
    updates = RecordedUpdates(model, tape.record)
    plain.learn(40)
    model._setup_learn(40)
    while model.num_timesteps < 40:
        model._follow_schedules()
        batch = model._batches.sample()
        figures = updates(batch)
        batch.rewards.fill_(th.nan)  # what was passed is not read again
        model._after_update(Silent())
    assert tape.n_recorded == n_kinds
    assert all(value.isfinite() for value in figures.values())
    for one, other in zip(plain.policy.parameters(), model.policy.parameters(), strict=True):
        assert th.allclose(one, other, atol=1e-6)


class Silent:
    def update_locals(self, names):
        pass

    def on_step(self):
        return True


def test_warm_up_comes_first():
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    model = make("iql", None, demonstrations=data, **QUICK)
    tape = Tape()
    updates = RecordedUpdates(model, tape.record)
    for n in range(1, N_WARM_UP + 2):
        updates(model._batches.sample())
        assert tape.n_recorded == (n > N_WARM_UP)


def test_what_cannot_be_recorded_is_refused():
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    with pytest.raises(UserError, match="cuda_graph=True needs a CUDA device, and device is cpu"):
        make("iql", None, demonstrations=data, cuda_graph=True, **QUICK)
    other = {"net_arch": [16], "optimizer_class": th.optim.SGD}
    model = make("awac", None, demonstrations=data, **{**QUICK, "policy_kwargs": other})
    with pytest.raises(UserError, match=r"policy\.actor\.optimizer is SGD: leave optimizer_class"):
        RecordedUpdates(model)
