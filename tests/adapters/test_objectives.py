"""Every loss equals its formula, on numbers worked out with NumPy and SciPy."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from imitation.algorithms.bc import BehaviorCloningLossCalculator
from scipy.special import log_softmax, softmax
from scipy.stats import norm
from stable_baselines3.common.distributions import (
    DiagGaussianDistribution,
    SquashedDiagGaussianDistribution,
)

from sb3_il_plus import BC, Demonstrations
from sb3_il_plus.adapters.objectives import (
    Objective,
    cross_entropy,
    find_class_weights,
    large_margin,
)
from sb3_il_plus.adapters.policy_kinds import ACTOR_CRITIC
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.supervised.losses import (
    SQUASHED_LIMIT,
    log_likelihood,
    squared_error,
    weighted_mean,
)

RNG = np.random.default_rng(0)
N = 7
OBSERVATIONS = RNG.normal(size=(N, 3)).astype(np.float32)
BOX = spaces.Box(np.array([-2, 0]), np.array([2, 10]), dtype=np.float32)
SCALED = RNG.uniform(-0.95, 0.95, size=(N, 2)).astype(np.float32)
CONTINUOUS = (BOX.low + (SCALED + 1) / 2 * (BOX.high - BOX.low)).astype(np.float32)
CHOICES = RNG.integers(0, 4, N)


def model_of(policy_of: str, actions: np.ndarray, action_space: spaces.Space, **kwargs) -> BC:
    data = Demonstrations.from_arrays(OBSERVATIONS, actions, action_space=action_space)
    kwargs = {"policy_kwargs": {"net_arch": [8]}, "ent_weight": 0.0, **kwargs}
    return BC("MlpPolicy", None, data, policy_of=policy_of, batch_size=N, seed=0, **kwargs)


def losses_of(model: BC):
    """The loss that upstream's trainer computes of all the data, in the data's order."""
    index = np.arange(N)
    rows = model._batches.rows(index)
    return model.trainer.loss_calculator(model.policy, rows["obs"], rows["acts"])


def linear(layer: th.nn.Linear, inputs: np.ndarray) -> np.ndarray:
    return inputs @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def relu_net(layers: th.nn.Sequential, inputs: np.ndarray) -> np.ndarray:
    hidden = inputs.astype(np.float64)
    for layer in layers:
        if isinstance(layer, th.nn.Linear):
            hidden = linear(layer, hidden)
        elif isinstance(layer, th.nn.ReLU):
            hidden = np.maximum(hidden, 0)
        else:
            assert isinstance(layer, th.nn.Tanh)
            hidden = np.tanh(hidden)
    return hidden


# -- squashed Gaussians ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy_of", ["sac", "tqc"])
def test_squashed_likelihood_is_the_change_of_variables(policy_of):
    model = model_of(policy_of, CONTINUOUS, BOX, loss="likelihood", l2_weight=0.01)
    actor = model.policy.actor
    hidden = relu_net(actor.latent_pi, OBSERVATIONS)
    mean, log_std = linear(actor.mu, hidden), linear(actor.log_std, hidden)
    # p(a) = p(u) |du/da| with u = atanh(a), which is 1 / (1 - a²) in each component.
    density = norm.pdf(np.arctanh(SCALED), mean, np.exp(log_std)) / (1 - SCALED**2)
    expected = -np.log(density).sum(axis=1).mean()
    losses = losses_of(model)
    assert float(losses.neglogp) == pytest.approx(expected, rel=1e-4)
    assert losses.entropy is None and float(losses.ent_loss) == 0
    assert float(losses.prob_true_act) == pytest.approx(density.prod(axis=1).mean(), rel=1e-4)
    squares = sum(float((p.detach().numpy() ** 2).sum()) for p in actor.parameters()) / 2
    assert float(losses.loss) == pytest.approx(expected + 0.01 * squares, rel=1e-4)


def test_squashed_likelihood_at_the_bounds_is_that_of_the_limit():
    distribution = SquashedDiagGaussianDistribution(2)
    mean = th.zeros(3, 2, requires_grad=True)
    distribution.proba_distribution(mean, th.zeros(3, 2))
    at_bounds = th.tensor([[1.0, -1.0], [-1.0, 1.0], [SQUASHED_LIMIT, -SQUASHED_LIMIT]])
    result = log_likelihood(distribution, at_bounds)
    u = np.arctanh(SQUASHED_LIMIT)
    expected = 2 * (norm.logpdf(u) - np.log(1 - SQUASHED_LIMIT**2))
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-3)
    result.sum().backward()
    np.testing.assert_allclose(mean.grad[0].numpy(), [u, -u], rtol=1e-3)


def test_likelihood_with_state_dependent_noise_behind_a_tanh():
    kwargs = {"net_arch": [8], "use_sde": True, "squash_output": True}
    model = model_of("ppo", CONTINUOUS, BOX, policy_kwargs=kwargs)
    hidden = relu_net(model.policy.mlp_extractor.policy_net, OBSERVATIONS)
    std = np.exp(model.policy.log_std.detach().numpy())
    variance = hidden**2 @ std**2
    u = np.arctanh(SCALED)
    mean = linear(model.policy.action_net, hidden)
    rows = norm.logpdf(u, mean, np.sqrt(variance + 1e-6)) - np.log(1 - SCALED**2)
    assert float(losses_of(model).neglogp) == pytest.approx(-rows.sum(axis=1).mean(), rel=1e-4)


@pytest.mark.parametrize("policy_of", ["sac", "td3", "ddpg"])
def test_squared_error_of_actors_is_in_scaled_actions(policy_of):
    model = model_of(policy_of, CONTINUOUS, BOX, loss="mse")
    actor = model.policy.actor
    if policy_of == "sac":
        mean = np.tanh(linear(actor.mu, relu_net(actor.latent_pi, OBSERVATIONS)))
    else:
        mean = relu_net(actor.mu, OBSERVATIONS)
    assert float(losses_of(model).mse) == pytest.approx(np.mean((mean - SCALED) ** 2), rel=1e-4)


# -- values of choices -----------------------------------------------------------------------------


def test_large_margin_by_hand():
    values = th.tensor([[1.0, 2.0, 0.5], [3.0, 1.0, 2.5], [0.0, 0.0, 0.0]])
    expert = th.tensor([1, 0, 2])
    # Row 0: the expert's 2.0 beats 1.0 + 0.8 and 0.5 + 0.8; row 1: 2.5 + 0.8 beats 3.0 by 0.3;
    # row 2: all are equal, and the margin is missing.
    np.testing.assert_allclose(large_margin(values, expert, 0.8), [0.0, 0.3, 0.8], atol=1e-6)


@pytest.mark.parametrize("policy_of", ["dqn", "qrdqn"])
@pytest.mark.parametrize("loss", ["cross_entropy", "large_margin"])
def test_losses_on_values(policy_of, loss):
    model = model_of(policy_of, CHOICES, spaces.Discrete(4), loss=loss, margin=0.3, l2_weight=0.1)
    if policy_of == "dqn":
        net = model.policy.q_net
        values = relu_net(net.q_net, OBSERVATIONS)
    else:
        net = model.policy.quantile_net
        quantiles = relu_net(net.quantile_net, OBSERVATIONS).reshape(N, net.n_quantiles, 4)
        values = quantiles.mean(axis=1)
    chosen = values[np.arange(N), CHOICES]
    if loss == "cross_entropy":
        expected = -log_softmax(values, axis=1)[np.arange(N), CHOICES].mean()
    else:
        margins = np.where(np.eye(4, dtype=bool)[CHOICES], 0.0, 0.3)
        expected = ((values + margins).max(axis=1) - chosen).mean()
    losses = losses_of(model)
    assert float(getattr(losses, loss)) == pytest.approx(expected, rel=1e-4)
    assert float(losses.accuracy) == pytest.approx(np.mean(values.argmax(axis=1) == CHOICES))
    squares = sum(float((p.detach().numpy() ** 2).sum()) for p in net.parameters()) / 2
    assert float(losses.loss) == pytest.approx(expected + 0.1 * squares, rel=1e-4)


# -- actor-critic policies -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actions", "space"),
    [
        (CHOICES, spaces.Discrete(4)),
        (CONTINUOUS, BOX),
        (RNG.integers(0, [2, 3], (N, 2)), spaces.MultiDiscrete([2, 3])),
        (RNG.integers(0, 2, (N, 3)), spaces.MultiBinary(3)),
    ],
)
def test_likelihood_equals_upstreams(actions, space):
    model = model_of("ppo", actions, space)
    rows = model._batches.rows(np.arange(N))
    ours = Objective(ACTOR_CRITIC, "likelihood", ent_weight=0.1, l2_weight=0.2)
    theirs = BehaviorCloningLossCalculator(ent_weight=0.1, l2_weight=0.2)
    expected = vars(theirs(model.policy, rows["obs"], rows["acts"]))
    found = vars(ours(model.policy, rows["obs"], rows["acts"]))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5), name


@pytest.mark.parametrize("policy_of", ["ppo", "maskable_ppo"])
def test_brier_score_of_several_choices(policy_of):
    actions = RNG.integers(0, [2, 3], (N, 2))
    model = model_of(policy_of, actions, spaces.MultiDiscrete([2, 3]), loss="mse")
    hidden = relu_net(model.policy.mlp_extractor.policy_net, OBSERVATIONS)
    logits = linear(model.policy.action_net, hidden)
    expected = sum(
        ((softmax(part, axis=1) - np.eye(n)[column]) ** 2).sum(axis=1).mean()
        for part, n, column in zip((logits[:, :2], logits[:, 2:]), (2, 3), actions.T, strict=True)
    )
    assert float(losses_of(model).mse) == pytest.approx(expected, rel=1e-4)


def test_squared_error_of_a_gaussian_is_that_of_its_mean():
    distribution = DiagGaussianDistribution(2)
    distribution.proba_distribution(th.as_tensor(SCALED) + 0.5, th.zeros(2))
    rows = squared_error(distribution, th.as_tensor(SCALED))
    np.testing.assert_allclose(rows, np.full(N, 0.25), rtol=1e-5)


# -- weights ---------------------------------------------------------------------------------------


def test_balanced_class_weights_by_hand():
    actions = np.array([0, 0, 0, 0, 0, 2, 2, 1])
    weights = find_class_weights("balanced", spaces.Discrete(4), actions)
    # Three choices are seen; each shall weigh 8 / 3 in total.
    np.testing.assert_allclose(weights, [8 / 15, 8 / 3, 8 / 6, 0])
    assert weights[actions].mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("policy_of", "loss"), [("ppo", "likelihood"), ("ppo", "mse"), ("dqn", "cross_entropy")]
)
def test_class_weights_weigh_the_rows(policy_of, loss):
    weights = np.array([0.5, 2.0, 0.0, 1.0])
    plain, weighted = (
        model_of(policy_of, CHOICES, spaces.Discrete(4), loss=loss, class_weights=given)
        for given in (None, weights)
    )
    batch = plain._batches.rows(np.arange(N))
    rows = [
        float(plain._objective.fit(plain.policy, batch["obs"][i : i + 1], batch["acts"][i : i + 1]))
        for i in range(N)
    ]
    expected = np.mean(weights[CHOICES] * rows)
    assert float(losses_of(weighted).loss) == pytest.approx(expected, rel=1e-5)


def test_weights_leave_padding_out():
    rows = th.tensor([1.0, 2.0, 1e9])
    assert float(weighted_mean(rows, th.tensor([1.5, 1.5, 0.0]))) == pytest.approx(1.5)


def test_cross_entropy_takes_actions_of_any_integer_shape():
    values = th.tensor([[0.0, 1.0]])
    expected = -log_softmax([0.0, 1.0])[1]
    for actions in (th.tensor([1]), th.tensor([[1]]), th.tensor([1.0])):
        assert float(cross_entropy(values, actions)) == pytest.approx(expected)


def test_bad_class_weights_are_named():
    def build(weights, actions=CHOICES, space=None):
        model_of("ppo", actions, space or spaces.Discrete(4), class_weights=weights)

    with pytest.raises(UserError, match=r"class_weights='even' must be None, 'balanced' or 4 we"):
        build("even")
    with pytest.raises(UserError, match=r"must be 4 finite weights that are not negative"):
        build(np.array([1.0, 1.0, 1.0]))
    with pytest.raises(UserError, match=r"must be 4 finite weights that are not negative"):
        build([1.0, 1.0, 1.0, -1.0])
    with pytest.raises(InapplicableError, match=r"weigh the choices of a Discrete action space"):
        build("balanced", CONTINUOUS, BOX)
