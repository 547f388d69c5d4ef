"""Conditional behavioural cloning: its losses are their formulas, batches are balanced, every
command is validated, and on the driving task the command makes the difference."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scipy.stats import norm
from stable_baselines3.common.vec_env import VecEnvWrapper

from sb3_il_plus import ConditionalBC, Demonstrations, collect, make
from sb3_il_plus.conditional import (
    BranchedPolicy,
    CilPolicy,
    MissingCommandWarning,
    NoiseInjection,
    evaluate_commands,
    with_commands,
)
from sb3_il_plus.conditional.driving import DrivingExpert, DrivingVecEnv
from sb3_il_plus.errors import DataError, InapplicableError, UserError

N, N_COMMANDS = 60, 3
ACTIONS = spaces.Box(-1, 1, (3,), np.float32)


def data(commands=None, action_space=ACTIONS, speed=False):
    """Random pairs; most of them have command 0."""
    rng = np.random.default_rng(0)
    if isinstance(action_space, spaces.Box):
        actions = rng.uniform(-1, 1, (N, *action_space.shape)).astype(np.float32)
    else:
        actions = rng.integers(4, size=N)
    observations = {"state": rng.normal(size=(N + 4, 2)).astype(np.float32)}
    if speed:
        observations["speed"] = rng.uniform(size=(N + 4, 1)).astype(np.float32)
        observations["image"] = rng.integers(0, 256, (N + 4, 1, 24, 24), dtype=np.uint8)
    bare = Demonstrations.from_arrays(
        observations, actions, episode_lengths=[15] * 4, action_space=action_space
    )
    commands = np.array([0] * 12 + [1, 1, 2]) if commands is None else commands
    return with_commands(bare, np.tile(commands, 4), spaces.Discrete(N_COMMANDS))


def build(demonstrations=None, policy="BranchedPolicy", **kwargs):
    arguments = {"batch_size": 12, "seed": 0, "device": "cpu", "policy_kwargs": {"net_arch": [8]}}
    demonstrations = data() if demonstrations is None else demonstrations
    return ConditionalBC(policy, None, demonstrations, **{**arguments, **kwargs})


def all_pairs(model):
    """Every pair, and the policy's means for them."""
    parts = [rows for _, rows in model._batches.in_order()]
    actions = th.cat([rows["acts"] for rows in parts])
    observations = {key: th.cat([rows["obs"][key] for rows in parts]) for key in parts[0]["obs"]}
    with th.no_grad():
        means = model.policy.get_distribution(observations).distribution.mean
    return observations, actions, means.numpy()


@pytest.mark.parametrize(
    "loss, weights, expected",
    [
        ("auto", None, lambda error: (error**2).mean()),
        ("l1", None, lambda error: np.abs(error).mean()),
        ("mse", [2, 1, 1], lambda error: (error**2 @ [0.5, 0.25, 0.25]).mean()),
        ("l1", "coiltraine", lambda error: (np.abs(error) @ [0.5, 0.45, 0.05]).mean()),
    ],
)
def test_losses_of_continuous_actions(loss, weights, expected):
    model = build(loss=loss, action_weights=weights)
    observations, actions, means = all_pairs(model)
    found = model._objective(model.policy, observations, actions)
    assert found["loss"].item() == pytest.approx(expected(means - actions.numpy()), rel=1e-5)


def test_the_likelihood():
    model = build(loss="likelihood", ent_weight=0.1)
    observations, actions, means = all_pairs(model)
    found = model._objective(model.policy, observations, actions)
    density = norm(means, np.exp(model.policy.log_std.detach().numpy()))
    neglogp = -density.logpdf(actions.numpy()).sum(axis=1).mean()
    entropy = density.entropy().sum(axis=1).mean()
    assert found["neglogp"].item() == pytest.approx(neglogp, rel=1e-5)
    assert found["loss"].item() == pytest.approx(neglogp - 0.1 * entropy, rel=1e-5)


def test_the_speed_that_is_predicted():
    model = build(
        data(speed=True),
        speed_weight=0.25,
        policy_kwargs={
            "net_arch": [8],
            "features_extractor_kwargs": {"speed_entry": "speed", "image_arch": (8,)},
        },
    )
    model.policy.set_training_mode(False)
    observations, actions, means = all_pairs(model)
    seeing = model.policy.features_extractor.base
    image = observations["image"].float() / 255
    with th.no_grad():
        of_image = seeing.image(seeing.convolutions["of_image"](image))
        speed_loss = (seeing.speed(of_image) - observations["speed"]).square().mean().item()
    found = model._objective(model.policy, observations, actions)
    assert found["speed_loss"].item() == pytest.approx(speed_loss, rel=1e-4)
    mse = ((means - actions.numpy()) ** 2).mean()
    assert found["loss"].item() == pytest.approx(0.75 * mse + 0.25 * speed_loss, rel=1e-4)
    before = seeing.speed[-1].weight.clone()
    model.learn(2)
    assert not th.equal(before, seeing.speed[-1].weight)


@pytest.mark.parametrize("balance, counts", [(True, [4, 4, 4]), (False, [48, 8, 4])])
def test_batches_are_balanced_over_commands(balance, counts):
    model = build(balance_commands=balance, batch_size=12 if balance else N)
    rows = model._batches.rows(model._batches.sampler.next())
    assert np.bincount(rows["obs"]["command"]).tolist() == counts


def test_a_batch_in_parts_makes_the_same_update():
    whole, parts = (
        build(minibatch_size=size, policy_kwargs={"net_arch": [8], "optimizer_class": th.optim.SGD})
        for size in (None, 4)
    )
    for model in (whole, parts):
        model.learn(3)
    for first, second in zip(whole.policy.parameters(), parts.policy.parameters(), strict=True):
        th.testing.assert_close(first, second)


def test_every_command_is_validated():
    model = build(validation_fraction=0.25, validation_freq=2, policy="CommandInputPolicy")
    model.learn(4)
    rows = [row for row in model.history if "train/validation_loss" in row]
    assert [row["timesteps"] for row in rows] == [2, 4]
    of_commands = [rows[-1][f"train/validation_loss_command_{number}"] for number in range(3)]
    # 12, 2 and 1 of the 15 steps that are held out have these commands.
    mean = np.average(of_commands, weights=[12, 2, 1])
    assert rows[-1]["train/validation_loss"] == pytest.approx(mean, rel=1e-5)


def test_a_branch_without_data_is_named_and_stays_as_it_was():
    with pytest.warns(MissingCommandWarning, match="no demonstration of command 1 of Discrete"):
        model = build(data(np.array([0] * 10 + [2] * 5)))
    layer = model.policy.mlp_extractor.actor.layers[0]
    before = layer.weight.detach().clone()
    model.learn(5)
    changed = [not th.equal(a, b) for a, b in zip(before, layer.weight, strict=True)]
    assert changed == [True, False, True]


def test_goals_are_neither_balanced_nor_counted():
    rng = np.random.default_rng(0)
    bare = Demonstrations.from_arrays(
        rng.normal(size=(21, 2)).astype(np.float32),
        rng.uniform(-1, 1, (20, 3)).astype(np.float32),
        episode_lengths=[20],
        action_space=ACTIONS,
    )
    goals = with_commands(
        bare, rng.uniform(-1, 1, (20, 2)).astype(np.float32), spaces.Box(-1, 1, (2,))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", MissingCommandWarning)
        model = build(goals, policy="GoalPolicy").learn(3)
    assert model.num_timesteps == 3


@pytest.mark.parametrize(
    "name, policy_class", [("CnnPolicy", CilPolicy), ("MlpPolicy", BranchedPolicy)]
)
def test_the_usual_names_mean_conditional_policies(name, policy_class, tmp_path):
    """SB3 itself refuses them for Dict observations."""
    model = build(data(speed=True), policy=name)
    assert type(model.policy) is policy_class
    model.save(tmp_path / "model")
    assert type(ConditionalBC.load(tmp_path / "model", device="cpu").policy) is policy_class


def test_dropout_goes_on_where_the_file_left_it(tmp_path):
    def begun():
        return build(data(speed=True), policy="CilPolicy", policy_kwargs={}).learn(2)

    whole = begun().learn(2, reset_num_timesteps=False)
    begun().save(tmp_path / "model")
    resumed = ConditionalBC.load(tmp_path / "model", demonstrations=data(speed=True), device="cpu")
    resumed.learn(2, reset_num_timesteps=False)
    for first, second in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert th.equal(first, second)


@pytest.mark.parametrize(
    "kwargs, error, message",
    [
        ({"loss": "l2"}, UserError, "loss='l2' must be one of 'auto', 'likelihood', 'mse', 'l1'"),
        ({"batch_size": 0}, UserError, "batch_size=0 must be at least 1"),
        ({"minibatch_size": 5}, UserError, "minibatch_size=5 must be a divisor of batch_size=12"),
        ({"batch_size": 2}, DataError, "batch_size=2 is too small .* balanced over 3 groups"),
        ({"speed_weight": 2}, UserError, r"speed_weight=2 must lie within \[0, 1\]"),
        ({"action_weights": [1, 2]}, UserError, r"action_weights=\[1, 2\] must be 3 finite"),
        ({"action_weights": [0, 0, 0]}, UserError, "not all 0"),
        ({"action_weights": "carla"}, UserError, "one of 'coiltraine', 'carla_issue_19'"),
        (
            {"action_weights": [1, 1, 1], "loss": "likelihood"},
            InapplicableError,
            "action_weights weigh the components",
        ),
        ({"policy": "GoalPolicy"}, InapplicableError, "GoalPolicy reads a goal"),
    ],
)
def test_arguments_that_do_not_fit(kwargs, error, message):
    with pytest.raises(error, match=message):
        build(**kwargs)


def test_l1_is_for_continuous_actions():
    choices = data(action_space=spaces.Discrete(4))
    assert build(choices).learn(2).num_timesteps == 2
    with pytest.raises(InapplicableError, match="loss='l1' measures continuous actions"):
        build(choices, loss="l1")


def test_data_without_commands():
    bare = Demonstrations.from_arrays(
        {"state": np.zeros((3, 2), np.float32)},
        np.zeros((2, 3), np.float32),
        episode_lengths=[2],
        action_space=ACTIONS,
    )
    message = r"conditional_bc reads \['command'\] of a Dict observation, which has \['state'\]"
    with pytest.raises(InapplicableError, match=message):
        make("conditional_bc", None, demonstrations=bare)


def test_it_works_without_imitation():
    code = (
        "import sys; sys.modules['imitation'] = None\n"
        "from sb3_il_plus import ConditionalBC, collect\n"
        "from sb3_il_plus.conditional.driving import DrivingExpert, DrivingVecEnv\n"
        "data = collect(DrivingExpert(), DrivingVecEnv(4), n_episodes=8, seed=0)\n"
        "print(ConditionalBC('BranchedPolicy', None, data, seed=0).learn(3).num_timesteps)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "3", done.stderr


class ToldOtherwise(VecEnvWrapper):
    """Changes every car's command 12 metres before its junction, and says when it did."""

    def reset(self):
        self.switched = np.zeros(self.num_envs, dtype=bool)
        return self.venv.reset()

    def step_wait(self):
        observations, rewards, dones, infos = self.venv.step_wait()
        self.switched[dones] = False
        near = observations["road"][:, 0] * 20 < 8 + 12
        for copy in np.flatnonzero(near & ~self.switched & (observations["command"] > 0)):
            self.venv.set_command(copy, int(observations["command"][copy]) % 3 + 1)
            self.switched[copy] = True
        return observations, rewards, dones, infos


@pytest.mark.slow
def test_on_the_driving_task_the_command_makes_the_difference():
    noisy = NoiseInjection(DrivingVecEnv(8), dimensions=[0], time_step=0.1, intensity=0.5)
    demonstrations = collect(DrivingExpert(), noisy, n_episodes=150, seed=0)
    found, models = {}, {}
    for policy in ("BranchedPolicy", "UnconditionalPolicy"):
        models[policy] = ConditionalBC(policy, None, demonstrations, seed=0, device="cpu")
        models[policy].learn(2000)
        found[policy] = evaluate_commands(models[policy], DrivingVecEnv(50), 150, seed=1)
    # 150 episodes: a standard error of some 2 points near 95 %, and of 4 points near 33 %.
    assert found["BranchedPolicy"].success_rate >= 0.9
    assert found["BranchedPolicy"].success_per_command[1:].min() >= 0.8
    assert found["UnconditionalPolicy"].success_rate <= 0.45
    told_otherwise = ToldOtherwise(DrivingVecEnv(50))
    found = evaluate_commands(models["BranchedPolicy"], told_otherwise, 150, seed=1)
    assert found.success_rate >= 0.9, "another command on the way is honoured at once"
