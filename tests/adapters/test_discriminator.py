"""Gradient penalty, spectral norm, label smoothing and the updates that they enter."""

import numpy as np
import pytest
import torch as th
from imitation.util.networks import RunningNorm, training
from scripted_experts import CARTPOLE
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from sb3_il_plus import AIRL, GAIL
from sb3_il_plus.adapters.discriminator import add_spectral_norm, gradient_penalty
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import UserError
from sb3_il_plus.registry import registry
from sb3_il_plus.testing import checks_for
from sb3_il_plus.testing.task import Task, differing, same_actions

NAMES = ("obs", "acts", "next_obs", "dones")
PPO = {"n_steps": 64, "batch_size": 64, "n_epochs": 1}
STABILISED = {
    "gail": {"gradient_penalty": 10.0, "spectral_norm": True, "reward_form": "log_d"},
    "airl": {"gradient_penalty": 10.0, "spectral_norm": True, "label_smoothing": 0.1},
}


def build(cls, demos, **kwargs):
    kwargs = {"generator_kwargs": PPO, "demo_batch_size": 64, "seed": 0, **kwargs}
    return cls("MlpPolicy", make_vec(CARTPOLE, 2, seed=0), demos, **kwargs)


def expert_and_generated(demos, n=64):
    """Expert transitions, and the same from elsewhere; both under upstream's names."""
    index = np.arange(n)
    expert = {
        "obs": demos.observations_at(index),
        "acts": demos.actions[index],
        "next_obs": demos.next_observations_at(index),
        "dones": np.zeros(n, dtype=bool),
    }
    generated = {**expert, "obs": expert["obs"] + np.float32(0.5), "acts": 1 - expert["acts"]}
    return expert, generated


class Parabola(nn.Module):
    """f = |s|² / 2 + 3 d, whose gradient is (s, 3); it reads neither a nor s'."""

    def forward(self, state, action, next_state, done):
        return state.square().sum(dim=1) / 2 + 3 * done


def test_the_penalty_by_hand():
    def side(state):
        ones = th.ones(len(state), 2)
        return [th.tensor(state), ones, ones, th.zeros(len(state))]

    expert, generated = side([[4.0, 0.0], [0.0, 8.0]]), side([[0.0, 0.0], [0.0, 4.0]])
    penalty = gradient_penalty(Parabola(), expert, generated, th.tensor([1.0, 0.25]))
    # At (4, 0) the gradient is (4, 0, 3), at 0.25 (0, 8) + 0.75 (0, 4) = (0, 5) it is (0, 5, 3).
    assert penalty.item() == pytest.approx(((5 - 1) ** 2 + (34**0.5 - 1) ** 2) / 2)


def test_a_discriminator_step_takes_the_gradient_of_loss_and_penalty(cartpole_demos):
    """With a linear net the penalty is (|w| - 1)² wherever it is measured."""
    model = build(
        GAIL,
        cartpole_demos,
        gradient_penalty=7.0,
        normalize_reward_inputs=None,
        reward_net_kwargs={"hid_sizes": ()},
    )
    layer = model.discriminator.mlp.dense_final
    w, b = layer.weight.detach().numpy()[0].astype(np.float64), layer.bias.item()
    expert, generated = expert_and_generated(cartpole_demos)
    x = np.concatenate(
        [
            np.concatenate([side["obs"], np.eye(2)[side["acts"]]], axis=1)
            for side in (expert, generated)
        ]
    )
    labels = np.repeat([1.0, 0.0], 64)
    d = 1 / (1 + np.exp(-(x @ w + b)))
    length = np.linalg.norm(w)
    expected = (d - labels) @ x / 128 + 7 * 2 * (length - 1) * w / length
    statistics = model.trainer.train_disc(expert_samples=expert, gen_samples=generated)
    np.testing.assert_allclose(layer.weight.grad[0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.bias.grad[0], np.mean(d - labels), rtol=1e-4)
    cross_entropy = -np.mean(labels * np.log(d) + (1 - labels) * np.log(1 - d))
    assert statistics["disc_loss"] == pytest.approx(cross_entropy, rel=1e-5)


@pytest.mark.parametrize("cls", [GAIL, AIRL])
def test_the_penalty_keeps_gradients_small(cls, cartpole_demos):
    expert, generated = expert_and_generated(cartpole_demos)
    penalties = {}
    for weight in (0.0, 10.0):
        model = build(cls, cartpole_demos, gradient_penalty=weight, disc_learning_rate=0.01)
        for _ in range(200):
            with training(model.trainer.reward_train):
                model.trainer.train_disc(expert_samples=expert, gen_samples=generated)
        net = model.discriminator
        sides = [net.preprocess(*(side[name] for name in NAMES)) for side in (expert, generated)]
        penalties[weight] = gradient_penalty(net, *sides, th.linspace(0, 1, 64)).item()
    assert penalties[10.0] < 0.5 < 10 < penalties[0.0]


def test_the_penalty_is_logged_and_leaves_running_statistics_alone(cartpole_demos):
    model = build(GAIL, cartpole_demos, gradient_penalty=1.0, normalize_reward_inputs="running")
    (layer,) = (m for m in model.discriminator.modules() if isinstance(m, RunningNorm))
    model.learn(128)
    assert layer.count == 8 * 128  # updates of expert and generator transitions, no points between
    assert model.history[-1]["train/disc_gradient_penalty"] > 0


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Linear(6, 5), (20, 6)), (nn.Conv2d(1, 4, 3), (20, 1, 5, 5))]
)
def test_spectral_norm_bounds_what_a_layer_changes(layer, shape):
    with th.no_grad():
        layer.weight.mul_(10)
    net = nn.Sequential(layer)
    assert np.linalg.norm(layer.weight.detach().flatten(1).numpy(), ord=2) > 2
    add_spectral_norm(net)
    for _ in range(20):
        net(th.zeros(shape))  # the power iteration, which goes on in training mode
    largest = np.linalg.norm(layer.weight.detach().flatten(1).numpy(), ord=2)
    assert largest == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("cls", [GAIL, AIRL])
def test_spectral_norm_is_on_every_layer_and_trains(cls, cartpole_demos):
    model = build(cls, cartpole_demos, spectral_norm=True).learn(512)
    layers = [m for m in model.discriminator.modules() if isinstance(m, nn.Linear)]
    assert len(layers) == (3 if cls is GAIL else 5)
    model.discriminator.eval()
    for layer in layers:
        assert np.linalg.norm(layer.weight.detach().numpy(), ord=2) < 1.1
        assert np.linalg.norm(layer.parametrizations.weight.original.detach().numpy(), ord=2) > 0.3


def test_smoothed_labels(cartpole_demos):
    model = build(GAIL, cartpole_demos, label_smoothing=0.1)
    expert, generated = expert_and_generated(cartpole_demos)
    net = model.discriminator
    with th.no_grad():
        ours, theirs = (
            net(*net.preprocess(*(side[name] for name in NAMES))).double().numpy()
            for side in (generated, expert)
        )
    log_d, log_not_d = -np.log1p(np.exp(-theirs)), -np.log1p(np.exp(theirs))
    loss = -(0.9 * log_d + 0.1 * log_not_d).mean() + np.log1p(np.exp(ours)).mean()
    statistics = model.trainer.train_disc(expert_samples=expert, gen_samples=generated)
    assert statistics["disc_loss"] == pytest.approx(loss / 2, rel=1e-5)
    assert statistics["disc_acc_expert"] == np.mean(theirs > 0)
    assert statistics["disc_acc_gen"] == pytest.approx(np.mean(ours < 0))


def test_as_many_updates_in_each_round_as_asked(cartpole_demos):
    model = build(GAIL, cartpole_demos, n_disc_updates_per_round=3).learn(3 * 128)
    steps = {int(s["step"]) for s in model.discriminator_optimizer.state.values()}
    assert steps == {9}


@pytest.mark.parametrize(("capacity", "rounds_kept"), [(None, 1), (256, 2)])
def test_old_generator_transitions_are_kept_for_the_discriminator(
    capacity, rounds_kept, cartpole_demos
):
    class Seen(BaseCallback):
        rounds: list = []  # noqa: RUF012

        def _on_rollout_start(self):
            self.rounds.append([])

        def _on_step(self):
            self.rounds[-1].extend(map(tuple, self.model.generator_model._last_obs))
            return True

    seen = Seen()
    seen.rounds.clear()
    model = build(GAIL, cartpole_demos, gen_replay_buffer_capacity=capacity)
    model.learn(3 * 128, callback=seen)
    kept = {tuple(row) for row in model.trainer._gen_replay_buffer.sample(5000).obs}
    shares = [len(kept & set(observed)) / 128 for observed in seen.rounds]
    assert [share > 0.9 for share in shares] == [n >= 3 - rounds_kept for n in range(3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gradient_penalty": -1.0}, r"gradient_penalty=-1.0 must be at least 0"),
        ({"n_disc_updates_per_round": 0}, r"n_disc_updates_per_round=0 must be at least 1"),
        ({"demo_batch_size": 0}, r"demo_batch_size=0 must be at least 1"),
        ({"label_smoothing": 1.0}, r"label_smoothing=1.0 must be in \[0, 1\)"),
    ],
)
def test_values_that_make_no_sense_are_refused(arguments, message, cartpole_demos):
    with pytest.raises(UserError, match=message):
        build(GAIL, cartpole_demos, **arguments)


def conforms(name, check, hyperparameters):
    (found,) = (
        each
        for each in checks_for(name, hyperparameters=hyperparameters)
        if each.check.name == check
    )
    found()


@pytest.mark.parametrize("name", STABILISED)
@pytest.mark.parametrize("check", ["save_load", "learning_goes_on", "file_is_inert", "seed"])
def test_stabilised_algorithms_conform(name, check):
    conforms(name, check, STABILISED[name])


@pytest.mark.parametrize(
    "option",
    [
        {"reward_form": "log_d"},
        {"reward_form": "airl"},
        {"gradient_penalty": 1.0},
        {"spectral_norm": True},
        {"label_smoothing": 0.1},
    ],
    ids=str,
)
def test_gail_learns_with(option):
    conforms("gail", "learns", option)


@pytest.mark.parametrize("name", STABILISED)
def test_stabilised_algorithms_resume_exactly(name, tmp_path):
    task = Task(registry.get(name), tmp_path, hyperparameters=STABILISED[name])
    through = task.trained()
    through.save(tmp_path / "model.zip")
    resumed = task.load(tmp_path / "model.zip", task.env())
    assert resumed.gradient_penalty == 10.0 and resumed.spectral_norm is True
    through.set_env(task.env())
    for model in (through, resumed):
        model.set_random_seed(5)
        model.learn(task.timesteps, reset_num_timesteps=False)
    assert differing(through.get_parameters(), resumed.get_parameters()) == []
    assert same_actions(through, resumed, task.observations())
