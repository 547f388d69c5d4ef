"""Losses against numbers that NumPy works out on its own."""

import math

import numpy as np
import pytest
import torch as th
from stable_baselines3.sac.policies import SACPolicy

from sb3_il_plus.offline.actor_critic import Critics, squared_error, stacked_actor
from sb3_il_plus.offline.batch import Batch, Noise
from sb3_il_plus.offline.bcq import soft_clipped, vae_loss
from sb3_il_plus.offline.bcq_policy import perturbed
from sb3_il_plus.offline.cal_ql import calibrated
from sb3_il_plus.offline.cql import conservative_gap, cql_actions
from sb3_il_plus.offline.crr import crr_weights
from sb3_il_plus.offline.edac import slope_similarity
from sb3_il_plus.offline.gaussian import gaussian_log_prob, squashed_params, squashed_sample
from sb3_il_plus.offline.iql import expectile_loss, weighted_cloning_loss
from sb3_il_plus.offline.offline_td3 import td3_target
from sb3_il_plus.offline.rebrac import next_actions, penalized_actor_loss, penalized_target
from sb3_il_plus.offline.soft import Acted, entropy_loss, soft_actor_loss, soft_target
from sb3_il_plus.offline.td3_bc import actor_loss
from sb3_il_plus.offline.xql import gumbel_loss
from sb3_il_plus.testing.environments import CODES, echo_demonstrations

RNG = np.random.default_rng(0)


def tensor(values):
    return th.as_tensor(np.asarray(values), dtype=th.float32)


class Scripted:
    """Stands in for a network: a function in place of learned outputs."""

    def __init__(self, function):
        self.function = function

    def __call__(self, observations):
        return self.function(observations)

    frozen = __call__

    def fixed_values(self, observations, actions, first=False):
        values = self.function(observations, actions)
        return values[0] if first else values


def batch(n=4, n_actions=2, noise=None):
    return Batch(
        observations=tensor(RNG.normal(size=(n, 3))),
        actions=tensor(RNG.uniform(-1, 1, size=(n, n_actions))),
        next_observations=tensor(RNG.normal(size=(n, 3))),
        rewards=tensor(RNG.normal(size=n)),
        discounts=tensor([0.9, 0.9, 0.0, 0.9][:n]),
        noise=noise or {},
        extras={},
    )


def test_expectile_loss():
    # Errors 2 and -1, which weigh 0.7 and 0.3.
    loss = expectile_loss(tensor([3.0, 0.0]), tensor([1.0, 1.0]), expectile=0.7)
    assert loss.item() == pytest.approx((0.7 * 4 + 0.3 * 1) / 2)


def test_an_expectile_of_a_half_is_half_the_squared_error():
    target, values = tensor(RNG.normal(size=50)), tensor(RNG.normal(size=50))
    expected = ((target - values).numpy() ** 2).mean() / 2
    assert expectile_loss(target, values, 0.5).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("errors", [[0.5, -1.0, 9.0], [-4.0, -3.0, -2.0]])
def test_gumbel_loss(errors):
    loss = gumbel_loss(tensor(errors), temperature=0.5, max_clip=7.0)
    z = [min(error / 0.5, 7.0) for error in errors]
    plain = np.mean([math.exp(each) - each - 1 for each in z])
    assert loss.item() == pytest.approx(plain / math.exp(max(*z, -1.0)), rel=1e-5)


def test_the_least_gumbel_loss_is_at_the_soft_maximum():
    values = tensor([0.0, 1.0, 3.0])
    places = [2.0 * math.log(np.exp(values.numpy() / 2.0).mean()) + d for d in (-0.1, 0.0, 0.1)]
    # Not rescaled, for what is rescaled is the step.
    below, at, above = (
        ((values - place) / 2.0).exp().mean() - ((values - place) / 2.0).mean() for place in places
    )
    assert at < below and at < above
    value = th.tensor(places[1], requires_grad=True)
    gumbel_loss(values - value, temperature=2.0, max_clip=None).backward()
    assert value.grad.item() == pytest.approx(0, abs=1e-6)


def test_vae_loss():
    decoded, actions = RNG.normal(size=(4, 2)), RNG.normal(size=(4, 2))
    mean, log_std = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    normals = th.distributions.Normal(tensor(mean), tensor(np.exp(log_std)))
    standard = th.distributions.Normal(tensor(0.0), tensor(1.0))
    divergence = th.distributions.kl_divergence(normals, standard).mean().item()
    found = vae_loss(*map(tensor, (decoded, actions, mean, log_std)), kl_weight=0.5)
    expected = ((decoded - actions) ** 2).mean() + 0.5 * divergence
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_soft_clipped_values_and_perturbed_actions():
    found = soft_clipped(tensor([[1.0, 5.0], [3.0, 1.0]]), lam=0.75)
    assert found.tolist() == [0.75 * 1 + 0.25 * 3, 0.75 * 1 + 0.25 * 5]
    changed = perturbed(tensor([[0.5, 0.98]]), tensor([[-1.0, 1.0]]), phi=0.05)
    assert np.allclose(changed, [[0.45, 1.0]])


def test_crr_weights():
    advantages = tensor([-0.5, 0.0, 0.3, 9.0])
    assert crr_weights(advantages, "binary", 1.0, 20.0).tolist() == [0, 1, 1, 1]
    found = crr_weights(advantages, "exp", 0.5, 20.0)
    expected = [math.exp(-1), 1, math.exp(0.6), 20]
    assert np.allclose(found.numpy(), expected, rtol=1e-5)


def test_weighted_cloning_clips_the_weights():
    loss = weighted_cloning_loss(tensor([-1.0, -2.0]), tensor([0.5, 9.0]), beta=2.0, max_weight=10)
    assert loss.item() == pytest.approx((math.exp(1.0) * 1 + 10 * 2) / 2)


def test_td3_target():
    given = batch()
    noise = tensor(RNG.normal(size=(4, 2)))

    def actor(observations):
        return observations[:, :2]

    def critics(observations, actions):
        return th.stack([actions.sum(1), observations[:, 2] * actions[:, 0]])

    target = td3_target(given, Scripted(actor), Scripted(critics), noise)
    following = given.next_observations.numpy()
    actions = np.clip(following[:, :2] + noise.numpy(), -1, 1)
    lowest = np.minimum(actions.sum(1), following[:, 2] * actions[:, 0])
    expected = given.rewards.numpy() + given.discounts.numpy() * lowest
    assert np.allclose(target.numpy(), expected, atol=1e-6)


def test_td3_bc_actor_loss():
    given = batch()

    def actor(observations):
        return observations[:, :2] / 4

    def critics(observations, actions):
        return th.stack([actions.sum(1) * 3, actions.sum(1) * 100])

    loss = actor_loss(given, Scripted(actor), Scripted(critics), alpha=2.5)
    actions = given.observations.numpy()[:, :2] / 4
    values = actions.sum(1) * 3
    cloning = ((actions - given.actions.numpy()) ** 2).mean()
    expected = cloning - 2.5 / np.abs(values).mean() * values.mean()
    assert loss.cloning.item() == pytest.approx(cloning, rel=1e-5)
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)


def test_penalized_target():
    given = batch()
    following = RNG.uniform(-1, 1, size=(4, 2))
    following[3] = np.nan  # cut by a time limit
    given.extras["next_actions"] = tensor(following)

    def actor(observations):
        return observations[:, :2] / 10

    def critics(observations, actions):
        return th.stack([actions.sum(1), observations[:, 2]])

    noise = tensor(RNG.normal(size=(4, 2)) / 10)
    target = penalized_target(given, Scripted(actor), Scripted(critics), noise, beta=0.3)
    state = given.next_observations.numpy()
    actions = state[:, :2] / 10 + noise.numpy()
    values = np.minimum(actions.sum(1), state[:, 2])
    values[:3] -= 0.3 * ((actions - following)[:3] ** 2).sum(1)
    expected = given.rewards.numpy() + given.discounts.numpy() * values
    assert np.allclose(target.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_penalized_actor_loss(normalize):
    given = batch()

    def actor(observations):
        return observations[:, :2] / 4

    def critics(observations, actions):
        return th.stack([actions.sum(1) * 3, observations[:, 2]])

    loss = penalized_actor_loss(
        given, Scripted(actor), Scripted(critics), beta=0.1, normalize=normalize
    )
    actions = given.observations.numpy()[:, :2] / 4
    values = np.minimum(actions.sum(1) * 3, given.observations.numpy()[:, 2])
    scale = 1 / np.abs(values).mean() if normalize else 1.0
    cloning = ((actions - given.actions.numpy()) ** 2).sum(1).mean()
    assert loss.cloning.item() == pytest.approx(cloning, rel=1e-5)
    assert loss.total.item() == pytest.approx(0.1 * cloning - scale * values.mean(), rel=1e-5)


def test_next_actions_end_with_the_episode():
    data = echo_demonstrations("Box", "Box", n_episodes=2)
    following = next_actions(data)
    ends = data.offsets[1:] - 1
    assert np.isnan(following[ends]).all() and len(following) == len(data)
    inside = np.setdiff1d(np.arange(len(data)), ends)
    assert np.array_equal(following[inside], data.actions[inside + 1])


def test_squared_error_is_summed_over_critics():
    loss = squared_error(tensor([[1.0, 2.0], [3.0, 5.0]]), tensor([1.0, 1.0]))
    assert loss.item() == pytest.approx(((0 + 1) + (4 + 16)) / 2)


def test_gaussian_log_prob():
    actions, mean = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 2))
    log_std = np.array([-0.5, 0.3])
    density = np.exp(-((actions - mean) ** 2) / (2 * np.exp(2 * log_std)))
    density /= np.exp(log_std) * np.sqrt(2 * np.pi)
    found = gaussian_log_prob(tensor(actions), tensor(mean), tensor(log_std))
    assert np.allclose(found.numpy(), np.log(density).sum(1), atol=1e-5)


def test_squashed_density_adds_up_to_one():
    # Of one component, over a fine grid of its actions.
    noise = tensor(np.linspace(-6, 6, 20001))[:, None]
    actions, log_prob = squashed_sample(tensor([0.3]), tensor([-0.4]), noise)
    total = np.trapezoid(log_prob.exp().numpy(), actions[:, 0].numpy())
    assert total == pytest.approx(1.0, abs=1e-3)


def test_a_stacked_actor_is_sb3s():
    box = CODES["Box"].space()
    policy = SACPolicy(box, box, lambda _: 1e-3, net_arch=[8])
    observations = tensor(RNG.normal(size=(5, 2)))
    expected = policy.actor.get_action_dist_params(observations)[:2]
    found = squashed_params(stacked_actor(policy.actor)(observations))
    for left, right in zip(found, expected, strict=True):
        assert th.allclose(left, right, atol=1e-6)
    values = policy.critic(observations, observations)
    stacked = Critics(policy.critic).values(observations, observations)
    assert th.allclose(stacked, th.stack(values)[:, :, 0], atol=1e-6)


def test_soft_target_and_losses():
    given = batch()
    weight, log_prob = tensor(0.3), tensor(RNG.normal(size=4))
    acted = Acted(tensor(RNG.uniform(-1, 1, size=(4, 2))), log_prob)

    def critics(observations, actions):
        return th.stack([actions.sum(1), observations[:, 2]])

    def lowest(observations):
        return np.minimum(acted.actions.numpy().sum(1), observations.numpy()[:, 2])

    soft = 0.3 * log_prob.numpy()
    expected = given.rewards.numpy() + given.discounts.numpy() * (
        lowest(given.next_observations) - soft
    )
    target = soft_target(given, acted, Scripted(critics), weight)
    assert np.allclose(target.numpy(), expected, atol=1e-6)
    loss = soft_actor_loss(given.observations, acted, Scripted(critics), weight)
    assert loss.item() == pytest.approx((soft - lowest(given.observations)).mean(), rel=1e-5)
    loss = entropy_loss(tensor(-0.7), log_prob, target_entropy=-2.0)
    assert loss.item() == pytest.approx(0.7 * (log_prob.numpy() - 2.0).mean(), rel=1e-5)


def test_slope_similarity():
    slopes = RNG.normal(size=(3, 5, 2))
    directions = slopes / np.linalg.norm(slopes, axis=-1, keepdims=True)
    pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    cosines = sum((directions[i] * directions[j]).sum(-1) for i, j in pairs)
    found = slope_similarity(tensor(slopes))
    assert found.item() == pytest.approx(cosines.mean() / 2, rel=1e-5)
    assert slope_similarity(tensor(slopes[[0, 0]])).item() == pytest.approx(2, rel=1e-5)


def test_conservative_gap():
    values = RNG.normal(size=(2, 4, 1 + 6))
    log_density = RNG.normal(size=(4, 6))
    summed = np.log(np.exp(values[:, :, 1:] / 0.5) / np.exp(log_density)).clip(-50)
    summed = 0.5 * np.log(np.exp(summed).sum(-1))
    expected = (summed - values[:, :, 0]).mean(1)
    found = conservative_gap(tensor(values), tensor(log_density), temperature=0.5)
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_conservative_gap_without_densities_has_the_datas_action_in_the_sum():
    values = RNG.normal(size=(2, 4, 1 + 6))
    expected = (np.log(np.exp(values).sum(-1)) - values[:, :, 0]).mean(1)
    found = conservative_gap(tensor(values), None, temperature=1.0)
    assert np.allclose(found.numpy(), expected, atol=1e-5)
    assert (found > 0).all()


def test_actions_of_cql_and_their_densities():
    generator = th.Generator().manual_seed(0)
    kinds = {"uniform": Noise((3, 2), "uniform"), "current": Noise((3, 2)), "next": Noise((3, 2))}
    noise = {name: kind.draw(4, generator) for name, kind in kinds.items()}
    now, later = ((tensor(RNG.normal(size=(4, 2))), tensor(np.full((4, 2), s))) for s in (-1, 0.5))
    tried = cql_actions(batch(noise=noise), now, later)
    assert tried.actions.shape == (4, 9, 2) and tried.log_density.shape == (4, 9)
    assert th.equal(tried.actions[:, :3], noise["uniform"])
    assert np.allclose(tried.log_density[:, :3], np.log(0.25))  # of a square with sides of 2
    for columns, (mean, log_std), name in (
        (slice(3, 6), later, "next"),
        (slice(6, 9), now, "current"),
    ):
        raw = mean[:, None] + log_std.exp()[:, None] * noise[name]
        assert th.allclose(tried.actions[:, columns], raw.tanh(), atol=1e-6)


def test_noise():
    generator = th.Generator().manual_seed(0)
    uniform = Noise((50,), "uniform").draw(400, generator)
    assert uniform.min() >= -1 and uniform.max() < 1
    assert uniform.mean().item() == pytest.approx(0, abs=0.02)
    assert uniform.var().item() == pytest.approx(1 / 3, abs=0.02)
    normal = Noise((50,)).draw(400, generator)
    assert normal.mean().item() == pytest.approx(0, abs=0.03)
    assert normal.std().item() == pytest.approx(1, abs=0.03)


# -- Cal-QL ----------------------------------------------------------------------------------------


def test_values_of_the_policys_actions_do_not_fall_below_the_returns():
    values = th.tensor([[[-5.0, -5.0, -5.0, 3.0], [0.0, 0.0, 0.0, 0.0]]])
    bounded = calibrated(values, th.tensor([1.0, -1.0]), n_uniform=1)
    assert bounded.tolist() == [[[-5.0, -5.0, 1.0, 3.0], [0.0, 0.0, 0.0, 0.0]]]
