"""Policies that read a command: what they compute, what learns, and that SB3 runs on them."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO

from sb3_il_plus.conditional import (
    BranchedPolicy,
    CilPerception,
    CilPolicy,
    CommandInputPolicy,
    FilmPolicy,
    GoalPolicy,
    Perception,
    SetPerception,
    UnconditionalPolicy,
)
from sb3_il_plus.conditional.driving import DrivingVecEnv
from sb3_il_plus.errors import InapplicableError, UserError

N_COMMANDS, SIZE = 3, 5
VECTOR = spaces.Box(-1, 1, (SIZE,), np.float32)
IMAGE = spaces.Box(0, 255, (3, 64, 64), np.uint8)
SPEED = spaces.Box(0, 1, (1,), np.float32)
ACTIONS = spaces.Box(-1, 1, (2,), np.float32)
COMMANDED = spaces.Dict({"state": VECTOR, "command": spaces.Discrete(N_COMMANDS)})
GOAL = spaces.Dict({"state": VECTOR, "command": spaces.Box(-1, 1, (2,), np.float32)})
DRIVING = spaces.Dict({"image": IMAGE, "speed": SPEED, "command": spaces.Discrete(4)})

DISCRETE_POLICIES = [BranchedPolicy, CilPolicy, CommandInputPolicy, FilmPolicy]


def build(policy_class, space=COMMANDED, action_space=ACTIONS, **kwargs):
    th.manual_seed(0)
    policy = policy_class(space, action_space, lambda _: 1e-3, **kwargs)
    with th.no_grad():
        for parameter in policy.action_net.parameters():
            parameter.normal_(std=0.1)  # SB3 begins with outputs near 0, whatever the command
    policy.set_training_mode(False)
    return policy


def batch(n=6, seed=0):
    rng = np.random.default_rng(seed)
    state = rng.uniform(-1, 1, (n, SIZE)).astype(np.float32)
    return {"state": state, "command": np.arange(n) % N_COMMANDS}


def as_tensors(observation):
    return {key: th.as_tensor(value) for key, value in observation.items()}


def mean_actions(policy, observation):
    with th.no_grad():
        return policy.get_distribution(as_tensors(observation)).distribution.mean.numpy()


def test_the_commanded_branch_acts():
    policy = build(BranchedPolicy, net_arch=[7, 4])
    first, second = (policy.mlp_extractor.actor.layers[place] for place in (0, 2))
    (output,) = policy.action_net.layers
    observation = batch()
    expected = []
    for state, command in zip(observation["state"], observation["command"], strict=True):
        hidden = state
        for layer in (first, second, output):
            weight, bias = (p.detach().numpy()[command] for p in (layer.weight, layer.bias))
            hidden = hidden @ weight + bias[0]
            hidden = hidden if layer is output else np.maximum(hidden, 0)
        expected.append(hidden)
    np.testing.assert_allclose(mean_actions(policy, observation), expected, rtol=1e-4, atol=1e-6)


def test_only_the_commanded_branch_receives_gradient():
    policy = build(BranchedPolicy)
    observation = {**batch(), "command": np.full(6, 1)}
    policy.get_distribution(as_tensors(observation)).distribution.mean.square().sum().backward()
    of_branches = {
        name: parameter.grad.abs().flatten(1).sum(dim=1)
        for name, parameter in policy.named_parameters()
        if parameter.grad is not None and len(parameter) == N_COMMANDS
    }
    assert len(of_branches) == 6, "weights and biases of two layers and of the output"
    for gradient in of_branches.values():
        assert gradient[1] > 0 and gradient[0] == 0 and gradient[2] == 0


def test_film_is_its_formula():
    policy = build(FilmPolicy, net_arch=[4])
    (layer,), (modulation,) = (
        policy.mlp_extractor.actor.layers,
        policy.mlp_extractor.actor.modulations,
    )
    observation = batch()
    arrays = {
        name: parameter.detach().numpy()
        for module, prefix in ((layer, "w"), (modulation, "m"), (policy.action_net, "a"))
        for name, parameter in ((f"{prefix}_{k}", v) for k, v in module.named_parameters())
    }
    one_hot = np.eye(N_COMMANDS)[observation["command"]]
    gamma_beta = one_hot @ arrays["m_weight"].T + arrays["m_bias"]
    hidden = observation["state"] @ arrays["w_weight"].T + arrays["w_bias"]
    hidden = np.maximum((1 + gamma_beta[:, :4]) * hidden + gamma_beta[:, 4:], 0)
    expected = hidden @ arrays["a_weight"].T + arrays["a_bias"]
    np.testing.assert_allclose(mean_actions(policy, observation), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("policy_class", DISCRETE_POLICIES)
def test_another_command_is_honoured_at_once(policy_class):
    policy = build(policy_class)
    state = batch(1)["state"][0]
    actions = [
        policy.predict({"state": state, "command": np.int64(command)}, deterministic=True)[0]
        for command in (0, 1, 2, 0)
    ]
    assert not np.allclose(actions[0], actions[1])
    assert not np.allclose(actions[1], actions[2])
    np.testing.assert_array_equal(actions[0], actions[3])


def test_without_a_condition_the_command_changes_nothing():
    policy = build(UnconditionalPolicy)
    first, second = batch(), {**batch(), "command": np.zeros(6, np.int64)}
    np.testing.assert_array_equal(mean_actions(policy, first), mean_actions(policy, second))
    values = [policy.predict_values(as_tensors(each)) for each in (first, second)]
    assert th.equal(*values)


@pytest.mark.parametrize("policy_class", [GoalPolicy, CommandInputPolicy, FilmPolicy])
def test_goals_change_the_action(policy_class):
    policy = build(policy_class, GOAL)
    state = batch(2)["state"]
    near, far = (
        mean_actions(policy, {"state": state, "command": np.full((2, 2), goal, np.float32)})
        for goal in (0.0, 1.0)
    )
    assert np.abs(near - far).min() > 1e-3


@pytest.mark.parametrize(
    "action_space",
    [
        ACTIONS,
        spaces.Discrete(4),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
    ],
    ids=lambda space: type(space).__name__,
)
@pytest.mark.parametrize("policy_class", [BranchedPolicy, FilmPolicy])
def test_every_action_space(policy_class, action_space):
    policy = build(policy_class, action_space=action_space)
    actions, _ = policy.predict(batch())
    assert all(action_space.contains(action) for action in actions)


@pytest.mark.parametrize("policy_class", [*DISCRETE_POLICIES, UnconditionalPolicy])
def test_ppo_trains_it_and_files_keep_it(policy_class, tmp_path):
    env = DrivingVecEnv(4, seed=0)
    model = PPO(policy_class, env, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu")
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(64)
    after = list(model.policy.parameters())
    # Dropout or branches without data may leave single weights as they were.
    changed = [not th.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert all(changed)
    model.save(tmp_path / "model")
    observations = env.reset()
    expected, _ = model.predict(observations, deterministic=True)
    loaded = PPO.load(tmp_path / "model", device="cpu")
    # What SB3 keeps of a policy, from which its own `load` builds it again.
    alone = policy_class(**model.policy._get_constructor_parameters())
    alone.load_state_dict(model.policy.state_dict())
    alone.set_training_mode(False)
    for again in (loaded, alone):
        np.testing.assert_array_equal(again.predict(observations, deterministic=True)[0], expected)


def test_the_features_of_policy_and_critic_can_be_apart():
    model = PPO(
        BranchedPolicy,
        DrivingVecEnv(2, seed=0),
        n_steps=8,
        batch_size=8,
        n_epochs=1,
        use_sde=True,
        policy_kwargs={"share_features_extractor": False},
        device="cpu",
    )
    model.learn(16)
    assert model.num_timesteps == 16


def linear_sizes(module):
    return [
        (layer.in_features, layer.out_features)
        for layer in module.modules()
        if isinstance(layer, th.nn.Linear)
    ]


def test_the_network_of_the_paper():
    space = spaces.Dict(
        {
            "image": spaces.Box(0, 255, (3, 88, 200), np.uint8),
            "speed": SPEED,
            "command": spaces.Discrete(4),
        }
    )
    policy = CilPolicy(
        space, ACTIONS, lambda _: 1e-3, features_extractor_kwargs={"speed_entry": "speed"}
    )
    seeing = policy.features_extractor.base
    assert isinstance(seeing, CilPerception)
    convolutions = [m for m in seeing.modules() if isinstance(m, th.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [32, 32, 64, 64, 128, 128, 256, 256]
    assert [c.kernel_size[0] for c in convolutions] == [5] + [3] * 7
    assert [c.stride[0] for c in convolutions] == [2, 1, 2, 1, 2, 1, 1, 1]
    assert linear_sizes(seeing.image) == [(8192, 512), (512, 512)]
    assert linear_sizes(seeing.measurements) == [(1, 128), (128, 128)]
    assert linear_sizes(seeing.join) == [(640, 512)]
    assert linear_sizes(seeing.speed) == [(512, 256), (256, 256), (256, 1)]
    branches = [*policy.mlp_extractor.actor.layers, *policy.action_net.layers]
    shapes = [tuple(m.weight.shape) for m in branches if hasattr(m, "weight")]
    assert shapes == [(4, 512, 256), (4, 256, 256), (4, 256, 2)]
    rates = {m.p for m in policy.modules() if isinstance(m, th.nn.Dropout)}
    assert rates == {0.2, 0.5}
    assert float(policy.action_net.layers[0].bias.detach().mean()) == pytest.approx(0.1)


def test_small_images_pass_fewer_convolutions():
    seeing = CilPerception(DRIVING)
    assert sum(isinstance(m, th.nn.Conv2d) for m in seeing.modules()) == 7
    tiny = Perception(spaces.Dict({"image": spaces.Box(0, 255, (1, 36, 40), np.uint8)}))
    assert tiny({"image": th.zeros(2, 1, 36, 40)}).shape == (2, 128)


def test_the_speed_is_predicted_from_images_alone():
    seeing = Perception(
        spaces.Dict({"image": IMAGE, "speed": SPEED}), speed_entry="speed", speed_arch=(8,)
    ).eval()
    image = th.rand(2, 3, 64, 64)
    with seeing.predicting_speed() as predictions:
        for speed in (0.0, 1.0):
            seeing({"image": image, "speed": th.full((2, 1), speed)})
        seeing({"image": 1 - image, "speed": th.zeros(2, 1)})
    assert [tuple(prediction.shape) for prediction in predictions] == [(2, 1)] * 3
    assert th.equal(predictions[0], predictions[1])
    assert not th.equal(predictions[0], predictions[2])
    seeing({"image": image, "speed": th.zeros(2, 1)})
    assert len(predictions) == 3, "nothing is predicted, or kept, outside the block"


@pytest.mark.parametrize("policy_class", [BranchedPolicy, UnconditionalPolicy, GoalPolicy])
def test_behavioural_cloning_trains_it_with_normalisation(policy_class):
    pytest.importorskip("imitation")
    from sb3_il_plus import BC, Demonstrations

    rng = np.random.default_rng(0)
    space = GOAL if policy_class is GoalPolicy else COMMANDED
    observations = {"state": rng.normal(3, 2, (81, SIZE)).astype(np.float32)}
    goals, commands = rng.uniform(-1, 1, (81, 2)), rng.integers(N_COMMANDS, size=81)
    observations["command"] = goals if policy_class is GoalPolicy else commands
    data = Demonstrations.from_arrays(
        observations,
        rng.uniform(-1, 1, (80, 2)).astype(np.float32),
        episode_lengths=[80],
        observation_space=space,
        action_space=ACTIONS,
    )
    model = BC(policy_class, None, data, normalize_observations=True, seed=0, device="cpu")
    model.learn(20)
    means = [
        module.mean for name, module in model.policy.named_modules() if name.endswith("key_state")
    ]
    np.testing.assert_allclose(means[0], observations["state"].mean(axis=0), rtol=1e-5)
    assert model.policy.predict(observations)[0].shape == (81, 2)


@pytest.mark.parametrize(
    "policy_class, space, message",
    [
        (
            BranchedPolicy,
            spaces.Dict({"state": VECTOR}),
            "BranchedPolicy reads the entry 'command'",
        ),
        (CommandInputPolicy, VECTOR, "CommandInputPolicy reads the entry 'command'"),
        (BranchedPolicy, GOAL, "something of its own for each command, so 'command' must be Disc"),
        (GoalPolicy, COMMANDED, "GoalPolicy reads a goal, so 'command' must be a Box"),
        (
            BranchedPolicy,
            spaces.Dict({"command": spaces.Discrete(2)}),
            "nothing to observe beside the command",
        ),
        (
            CilPolicy,
            spaces.Dict(
                {"image": spaces.Box(0, 255, (64, 64, 3), np.uint8), "command": spaces.Discrete(2)}
            ),
            r"the image 'image' of shape \(64, 64, 3\) does not have its channels first",
        ),
    ],
)
def test_observations_that_do_not_suit(policy_class, space, message):
    with pytest.raises(InapplicableError, match=message):
        build(policy_class, space)


@pytest.mark.parametrize("policy_class", [BranchedPolicy, CommandInputPolicy])
@pytest.mark.parametrize("command", [-1, N_COMMANDS])
def test_a_command_without_a_branch(policy_class, command):
    commands = np.array([0, command, 1])
    message = f"command {command} is none that {policy_class.__name__} has a branch .* are 0 to 2"
    with pytest.raises(UserError, match=message):
        build(policy_class).predict({**batch(3), "command": commands})


def test_film_needs_a_layer():
    with pytest.raises(InapplicableError, match="needs a layer to modulate"):
        build(FilmPolicy, net_arch=[])


def test_a_branch_may_be_a_single_layer():
    actions = mean_actions(build(BranchedPolicy, net_arch=[]), batch())
    assert actions.shape == (6, 2)


def test_a_speed_that_is_not_there():
    with pytest.raises(
        InapplicableError, match=r"speed_entry='velocity'.*measurements \['speed'\]"
    ):
        Perception(spaces.Dict({"image": IMAGE, "speed": SPEED}), speed_entry="velocity")


SETS = spaces.Dict({"me": spaces.Box(-1, 1, (2,)), "cars": spaces.Box(-1, 1, (4, 3))})


def seen_sets(rows):
    cars = th.zeros(1, 4, 3)
    cars[0, : len(rows)] = th.tensor(rows)
    return {"me": th.tensor([[0.5, -0.5]]), "cars": cars}


def test_the_order_of_a_set_means_nothing():
    features = SetPerception(SETS)
    first, second = [0.1, 0.2, 0.3], [-0.4, 0.5, -0.6]
    out = features(seen_sets([first, second]))
    th.testing.assert_close(features(seen_sets([second, first])), out)
    assert not th.equal(features(seen_sets([first])), out)


def test_rows_of_zeros_are_nobody():
    features = SetPerception(SETS)
    fewer = SetPerception(spaces.Dict({"me": SETS["me"], "cars": spaces.Box(-1, 1, (1, 3))}))
    fewer.load_state_dict(features.state_dict())
    row = [0.1, 0.2, 0.3]
    alone = {**seen_sets([row]), "cars": th.tensor([[row]])}
    th.testing.assert_close(features(seen_sets([row])), fewer(alone))


def test_sets_are_needed():
    with pytest.raises(InapplicableError, match="needs an entry of two axes"):
        SetPerception(spaces.Dict({"me": SETS["me"]}))


def test_a_policy_for_sets():
    space = spaces.Dict({**SETS.spaces, "command": spaces.Discrete(3)})
    policy = build(BranchedPolicy, space, features_extractor_class=SetPerception)
    assert policy.predict(space.sample())[0].shape == (2,)
