"""The engine gives the results of the plain version, and computes nothing that is not needed."""

import pytest
import torch as th
from alike import expect_alike
from plain_updates import (
    EPSILON,
    PlainAWAC,
    PlainBCQ,
    PlainCalQL,
    PlainCQL,
    PlainCRR,
    PlainEDAC,
    PlainIQL,
    PlainReBRAC,
    PlainSACN,
    PlainTD3BC,
    PlainXQL,
)
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from sb3_il_plus import (
    AWAC,
    BCQ,
    CQL,
    CRR,
    EDAC,
    IQL,
    SACN,
    TD3BC,
    XQL,
    CalQL,
    OfflineSAC,
    OfflineTD3,
    ReBRAC,
)
from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.figures import Figures
from sb3_il_plus.testing.environments import echo_demonstrations

SMALL = {"net_arch": [32, 32], "optimizer_kwargs": {"eps": EPSILON}}
QUICK = {
    "batch_size": 16,
    "policy_kwargs": SMALL,
    "seed": 3,
    "device": "cpu",
}
BEST = {"weight_type": "binary", "advantage_type": "max"}
FEW = {"cql_n_actions": 3, "actor_learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("algorithm", "plain_version", "arguments"),
    [
        (TD3BC, PlainTD3BC, {}),
        (ReBRAC, PlainReBRAC, {"beta1": 0.5, "beta2": 0.2}),
        (SACN, PlainSACN, {"n_critics": 4}),
        (EDAC, PlainEDAC, {"n_critics": 4, "eta": 0.1}),
        (BCQ, PlainBCQ, {"n_target_actions": 3, "policy_kwargs": {**SMALL, "vae_arch": [32]}}),
        (CRR, PlainCRR, {"target_update_interval": 20}),
        (CRR, PlainCRR, {**BEST, "target_update_interval": 7, "tau": 0.5, "n_critics": 2}),
        (
            XQL,
            PlainXQL,
            {"decay_actor_learning_rate": False, "huber_delta": 0.5, "reward_scale": 1.0},
        ),
        (IQL, PlainIQL, {"decay_actor_learning_rate": False, "reward_scale": 0.5}),
        (AWAC, PlainAWAC, {}),
        (CQL, PlainCQL, FEW),
        (CQL, PlainCQL, {**FEW, "cql_lagrange": True, "cql_target_action_gap": 0.3}),
        (CQL, PlainCQL, {**FEW, "cql_max_target_backup": True}),
        (CalQL, PlainCalQL, {**FEW, "reward_shift": -0.5}),
    ],
    ids=[
        "td3_bc",
        "rebrac",
        "sac_n",
        "edac",
        "bcq",
        "crr",
        "crr-binary_max",
        "xql",
        "iql",
        "awac",
        "cql",
        "cql-lagrange",
        "cql-max_target",
        "cal_ql",
    ],
)
def test_a_hundred_updates_equal_those_of_the_plain_version(algorithm, plain_version, arguments):
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    arguments = {"learning_rate": 1e-3, **QUICK, **arguments}
    model, twin = (algorithm("MlpPolicy", None, data, **arguments) for _ in range(2))
    expect_alike(model, twin, plain_version)


def test_td3_on_fixed_data_is_sb3s(monkeypatch):
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    arguments = {"learning_rate": 1e-3, "target_policy_noise": 0.0, **QUICK}
    model, twin = (OfflineTD3("MlpPolicy", None, data, **arguments) for _ in range(2))
    online = twin.to_sb3(target_policy_noise=0.0)
    online._setup_learn(1)
    monkeypatch.setattr(
        online.replay_buffer, "sample", lambda *_, **__: as_sb3(twin._batches.sample(), twin.gamma)
    )
    online.train(100, batch_size=16)
    model.learn(100)
    check_same_weights(model, online, twin)


def test_sac_on_fixed_data_is_sb3s(monkeypatch):
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    model, twin = (
        OfflineSAC("MlpPolicy", None, data, learning_rate=1e-3, **QUICK) for _ in range(2)
    )
    online = twin.to_sb3()
    online._setup_learn(1)
    for group in online.ent_coef_optimizer.param_groups:
        group["eps"] = EPSILON
    noises = []

    def sample(*_, **__):
        batch = twin._batches.sample()
        noises.extend([batch.noise["policy"], batch.noise["target"]])
        return as_sb3(batch, twin.gamma)

    monkeypatch.setattr(online.replay_buffer, "sample", sample)
    monkeypatch.setattr(
        "torch.distributions.normal._standard_normal", lambda *_, **__: noises.pop(0)
    )
    online.train(100, batch_size=16)
    model.learn(100)
    check_same_weights(model, online, twin)
    difference = online.log_ent_coef - model.coefficients.log_entropy
    assert difference.abs().item() < 1e-5 and noises == []


def check_same_weights(model, online, twin):
    """Two models have learned the same, and a third one, nothing."""
    after, before = (each.policy.state_dict() for each in (online, twin))
    for name, weights in model.policy.state_dict().items():
        assert th.allclose(weights, after[name], atol=1e-5), name
        assert not th.allclose(weights, before[name], atol=1e-3), name


def as_sb3(batch, gamma):
    """A batch as SB3's replay buffer gives it."""
    gone = 1 - batch.discounts / gamma
    return ReplayBufferSamples(
        batch.observations,
        batch.actions,
        batch.next_observations,
        gone[:, None],
        batch.rewards[:, None],
    )


def test_critics_in_parts_have_the_same_gradients(monkeypatch):
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    models = []
    for states_at_once in (5, 16):
        monkeypatch.setattr("sb3_il_plus.offline.cql._STATES_AT_ONCE", states_at_once)
        models.append(CQL("MlpPolicy", None, data, **QUICK, cql_n_actions=3).learn(20))
    first, second = (model.critics.flat.detach() for model in models)
    assert th.allclose(first, second, atol=1e-6)


def test_figures_are_means_that_are_read_once():
    figures = Figures()
    figures.add({"loss": th.tensor(1.0), "seldom": th.tensor(5.0)})
    figures.add({"loss": th.tensor(3.0)})
    assert figures.pop() == {"loss": 2.0, "seldom": 5.0}
    assert figures.pop() == {}


def test_mixed_precision_is_near_and_ends_with_learning():
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    seen = []
    plain = TD3BC("MlpPolicy", None, data, **QUICK).learn(20)
    model = TD3BC("MlpPolicy", None, data, matmul_precision="medium", **QUICK)
    before = model.actor.flat.detach().clone()
    model.learn(20, callback=lambda *_: seen.append(th.get_float32_matmul_precision()) or True)
    assert set(seen) == {"medium"} and th.get_float32_matmul_precision() == "highest"
    # On a processor without bfloat16, products stay as they are.
    difference = (model.actor.flat - plain.actor.flat).abs().max()
    assert difference < 0.2 * (plain.actor.flat - before).abs().max()
    with pytest.raises(UserError, match="matmul_precision='bf16' must be None or one of 'highest'"):
        TD3BC("MlpPolicy", None, data, matmul_precision="bf16", **QUICK)
