"""`LeanAdam` is torch's Adam: its steps, and its state in a file."""

import pytest
import torch as th

from sb3_il_plus.offline.adam import LeanAdam


def parameters():
    return [
        th.nn.Parameter(th.linspace(-1, 1, 7)),
        th.nn.Parameter(th.ones(())),
        th.nn.Parameter(th.ones(3)),
    ]


def learn(optimizer, owned, n_steps):
    for step in range(n_steps):
        for parameter in owned[:2]:  # the third one has no gradient
            parameter.grad = (parameter.detach() + 0.1 * step).sin()
        optimizer.step()


@pytest.mark.parametrize("kwargs", [{}, {"weight_decay": 0.1, "eps": 1e-3, "betas": (0.8, 0.9)}])
def test_its_steps_are_those_of_torch(kwargs):
    ours, theirs = parameters(), parameters()
    lean, plain = LeanAdam(ours, lr=0.01, **kwargs), th.optim.Adam(theirs, lr=0.01, **kwargs)
    learn(lean, ours, 5)
    learn(plain, theirs, 3)
    resumed = LeanAdam(theirs, lr=1.0)
    resumed.load_state_dict(plain.state_dict())
    assert resumed.param_groups[0]["lr"] == 0.01
    for step in (3, 4):
        for parameter in theirs[:2]:
            parameter.grad = (parameter.detach() + 0.1 * step).sin()
        resumed.step()
    for one, other in zip(ours, theirs, strict=True):
        assert th.allclose(one, other, atol=1e-6)
    assert th.equal(ours[2], th.ones(3))
    assert set(lean.state_dict()["state"]) == {0, 1}


def test_it_replaces_nothing_with_other_results():
    assert LeanAdam.can_replace(th.optim.Adam, {"fused": True, "eps": 1e-4})
    assert not LeanAdam.can_replace(th.optim.AdamW, {"fused": True})
    assert not LeanAdam.can_replace(th.optim.Adam, {"fused": True, "amsgrad": True})
    assert not LeanAdam.can_replace(th.optim.Adam, {"fused": False})
