"""BCO: it finds the actions that it is not told, learns from states alone, and resumes exactly."""

from pathlib import Path

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scripted_experts import CARTPOLE, PENDULUM
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import BCO, Demonstrations, evaluate
from sb3_il_plus.adapters.inverse_dynamics import inverse_dynamics_loss
from sb3_il_plus.environments import make_vec, placeholder_env
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.testing.environments import HORIZON, echo_demonstrations, make_echo

N_DEMONSTRATED = 5
"""Episodes of demonstrations, of the ten that there are."""


def states_of(demos: Demonstrations) -> Demonstrations:
    """What a camera would have seen: no actions, no rewards."""
    episodes = [episode.observations for episode in demos[:N_DEMONSTRATED].episodes()]
    return Demonstrations.from_arrays(episodes, env=CARTPOLE)


def test_learns_cartpole_from_states_alone(cartpole_demos):
    # Random play returns about 32, the demonstrator 500; each of these seeds reaches 500.
    returns = []
    for seed in range(3):
        model = BCO("MlpPolicy", make_vec(CARTPOLE, 4), states_of(cartpole_demos), seed=seed)
        returns.append(evaluate(model.learn(2000), CARTPOLE, 4, seed=100, n_envs=4).mean_return)
    assert np.mean(returns) > 450
    found = model._labelled_demonstrations().actions
    assert np.mean(found == cartpole_demos[:N_DEMONSTRATED].actions) > 0.98


@pytest.mark.slow
def test_learns_pendulum_from_states_alone(pendulum_demos):
    # Random play returns about -1200, the scripted expert -140; single seeds reach -160 to -510.
    arguments = {"batch_size": 128, "n_epochs": 20, "alpha": 1.0}
    returns = []
    for seed in range(3):
        model = BCO("MlpPolicy", make_vec(PENDULUM, 4), pendulum_demos, seed=seed, **arguments)
        returns.append(evaluate(model.learn(8000), PENDULUM, 10, seed=100, n_envs=5).mean_return)
    assert np.mean(returns) > -450


# -- the loss, worked out in NumPy -----------------------------------------------------------------


def numpy_head(model: BCO, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The last layer of the inverse dynamics model, from its weights and its training data."""
    data = model.interactions.data
    index = np.arange(len(data))
    known = [data.observations_at(index), data.next_observations_at(index)]
    inputs = [np.concatenate([a, b - a], axis=1) for a, b in (known, (first, second))]
    spread = np.maximum(inputs[0].std(axis=0), 1e-3)
    hidden = np.clip((inputs[1] - inputs[0].mean(axis=0)) / spread, -10, 10)
    weights = {k: v.numpy() for k, v in model.inverse_dynamics.state_dict().items()}
    for layer in (0, 2):
        hidden = hidden @ weights[f"mlp.{layer}.weight"].T + weights[f"mlp.{layer}.bias"]
        hidden = np.maximum(hidden, 0)
    return hidden @ weights["head.weight"].T + weights["head.bias"]


def some_steps(demos, n=9):
    index = np.arange(n)
    return demos.observations_at(index), demos.next_observations_at(index), demos.actions[index]


def loss_of(model: BCO, first, second, actions):
    batch = map(th.as_tensor, map(np.array, (first, second, actions)))
    return inverse_dynamics_loss(model.inverse_dynamics, *batch)


def test_loss_is_the_cross_entropy_of_a_choice(cartpole_demos):
    model = BCO("MlpPolicy", CARTPOLE, cartpole_demos[:1], seed=0).learn(500)
    first, second, actions = some_steps(cartpole_demos)
    logits = numpy_head(model, first, second)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    log_p = log_p[np.arange(9), actions]
    losses = loss_of(model, first, second, actions)
    assert losses.neglogp.item() == pytest.approx(-log_p.mean(), rel=1e-4)
    assert losses.prob_true_act.item() == pytest.approx(np.exp(log_p).mean(), rel=1e-4)


def test_loss_is_the_gaussian_density_of_a_scaled_action(pendulum_demos):
    model = BCO("MlpPolicy", PENDULUM, pendulum_demos[:1], seed=0).learn(500)
    with th.no_grad():
        model.inverse_dynamics.log_std.fill_(-0.3)
    first, second, actions = some_steps(pendulum_demos)
    mean, scaled, std = numpy_head(model, first, second), actions / 2.0, np.exp(-0.3)
    log_p = -((scaled - mean) ** 2) / (2 * std**2) - np.log(std) - 0.5 * np.log(2 * np.pi)
    targets = model.inverse_dynamics.targets(actions)
    losses = loss_of(model, first, second, targets)
    assert losses.neglogp.item() == pytest.approx(-log_p.mean(), rel=1e-4)
    found = model.inverse_dynamics.infer(*map(th.as_tensor, map(np.array, (first, second))))
    np.testing.assert_allclose(found, np.clip(2.0 * mean, -2, 2), rtol=1e-4, atol=1e-5)


# -- the algorithm's box ---------------------------------------------------------------------------


def test_rounds_are_as_long_as_the_paper_s(cartpole_demos):
    model = BCO(
        "MlpPolicy", CARTPOLE, cartpole_demos[:1], pre_timesteps=200, alpha=0.25, n_epochs=1, seed=0
    ).learn(350)
    assert [row["timesteps"] for row in model.history] == [200, 250, 300, 350]
    assert len(model.interactions.data) == 350


def test_the_first_round_is_random_and_later_ones_the_policy_s():
    def always_first(model):
        with th.no_grad():
            model.policy.action_net.weight.zero_()
            model.policy.action_net.bias.copy_(th.tensor([50.0, 0.0, 0.0, 0.0]))

    model = BCO(
        "MlpPolicy", make_echo(seed=0), echo_demonstrations(), pre_timesteps=400, alpha=0.25, seed=0
    )
    always_first(model)
    model.learn(400)
    assert np.all(np.abs(np.bincount(model.interactions.data.actions) - 100) < 40)
    always_first(model)
    model.learn(100, reset_num_timesteps=False)
    assert not model.interactions.data.actions[400:].any()


def test_kill_at_a_checkpoint_and_resume_equals_never_having_stopped(cartpole_demos, tmp_path):
    def build():
        return BCO(
            "MlpPolicy",
            make_vec(CARTPOLE, 2),
            states_of(cartpole_demos[:1]),
            pre_timesteps=400,
            n_epochs=1,
            normalize_observations=True,
            seed=7,
        )

    whole = build().learn(1000)
    build().learn(1000, callback=CheckpointCallback(250, tmp_path, "bco"))
    # A checkpoint in the middle of a round holds the round's start, which is then repeated.
    resumed = BCO.load(
        tmp_path / "bco_500_steps.zip",
        env=make_vec(CARTPOLE, 2),
        demonstrations=states_of(cartpole_demos[:1]),
    )
    assert resumed.num_timesteps == len(resumed.interactions.data) == 400
    resumed.learn(600, reset_num_timesteps=False)
    assert resumed.interactions.data.fingerprint() == whole.interactions.data.fingerprint()
    for part in ("policy", "inverse_dynamics"):
        for name, value in getattr(whole, part).state_dict().items():
            assert th.equal(value, getattr(resumed, part).state_dict()[name]), name


def test_inside_vec_normalize_and_for_other_policies(pendulum_demos):
    env = VecNormalize(make_vec(PENDULUM, 2, seed=0), norm_reward=False)
    model = BCO("MlpPolicy", env, pendulum_demos, policy_of="sac", n_epochs=1, seed=0)
    model.learn(600)
    error = np.abs(model._labelled_demonstrations().actions - pendulum_demos.actions)
    # The actions of the demonstrations are between -2 and 2, and 1.2 away from 0 on average.
    assert error.mean() < 0.5


def test_images_and_dicts():
    for observation, policy in (("Image", "CnnPolicy"), ("Dict", "MultiInputPolicy")):
        model = BCO(
            policy,
            make_echo(observation, n_envs=2, seed=0),
            echo_demonstrations(observation),
            pre_timesteps=256,
            batch_size=16,
            inverse_batch_size=32,
            seed=0,
        ).learn(256)
        assert evaluate(model, make_echo(observation), 4, seed=1).mean_return == HORIZON


def test_the_page_in_the_docs_runs(cartpole_demos):
    text = (Path(__file__).parents[2] / "docs" / "algorithms" / "bco.md").read_text("utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    assert code.count("learn(6_000)") == 1
    known = {
        "episodes_of_states": [episode.observations for episode in cartpole_demos[:2].episodes()]
    }
    exec(code.replace("learn(6_000)", "learn(300)"), known)
    assert known["model"].num_timesteps == 300


def test_bad_input_is_named(cartpole_demos):
    with pytest.raises(
        UserError, match=r"alpha=0 must be positive; BCO\(0\), without later rounds"
    ):
        BCO("MlpPolicy", CARTPOLE, cartpole_demos, alpha=0)
    with pytest.raises(UserError, match="pre_timesteps=0 must be at least 1"):
        BCO("MlpPolicy", CARTPOLE, cartpole_demos, pre_timesteps=0)
    with pytest.raises(UserError, match="inverse_n_epochs=0 must be at least 1"):
        BCO("MlpPolicy", CARTPOLE, cartpole_demos, inverse_n_epochs=0)
    with pytest.raises(InapplicableError, match="BCO cannot train a RecurrentActorCriticPolicy"):
        BCO("MlpPolicy", CARTPOLE, cartpole_demos, policy_of="recurrent_ppo")
    nowhere = placeholder_env(spaces.Box(-1, 1, (4,)), spaces.Discrete(2))
    with pytest.raises(UserError, match="learns in an environment and has none"):
        BCO("MlpPolicy", nowhere, cartpole_demos).learn(100)
