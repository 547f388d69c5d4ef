"""GAIfO: its reward is a function of states and next states alone, and it learns from them."""

from pathlib import Path

import numpy as np
import pytest
import torch as th
from scripted_experts import CARTPOLE

from sb3_il_plus import GAIfO, evaluate
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.testing.environments import HORIZON, echo_demonstrations, make_echo

QUICK = {"n_steps": 64, "batch_size": 64, "n_epochs": 4}


def build(demos, **kwargs):
    kwargs = {"generator_kwargs": QUICK, "demo_batch_size": 64, "seed": 0, **kwargs}
    return GAIfO("MlpPolicy", make_vec(CARTPOLE, 2), demos, **kwargs)


def test_reward_is_minus_log_one_minus_d_of_both_states(cartpole_demos):
    model = build(cartpole_demos)
    index = np.arange(9)
    first, second = (
        cartpole_demos.observations_at(index),
        cartpole_demos.next_observations_at(index),
    )
    never = np.zeros(9, dtype=bool)
    inputs = np.concatenate([first, second], axis=1)
    weights = [w.detach().numpy() for w in model.discriminator.mlp.parameters()]
    for number in range(0, len(weights) - 2, 2):
        inputs = np.maximum(inputs @ weights[number].T + weights[number + 1], 0)
    logits = (inputs @ weights[-2].T + weights[-1])[:, 0].astype(np.float64)
    expected = -np.log(1 - 1 / (1 + np.exp(-logits)))
    for actions in (np.zeros(9, dtype=np.int64), np.ones(9, dtype=np.int64)):
        reward = model.predict_reward(first, actions, second, never)
        np.testing.assert_allclose(reward, expected, rtol=1e-4)
    assert not np.allclose(model.predict_reward(first, actions, first, never), expected, rtol=1e-3)


def test_learns_from_states_alone():
    # Chance is half the expert's return.
    returns = []
    for seed in range(3):
        model = GAIfO(
            "MlpPolicy",
            make_echo(n_envs=4, seed=seed),
            echo_demonstrations().without_actions(),
            learning_rate=3e-3,
            generator_kwargs=QUICK,
            demo_batch_size=64,
            seed=seed,
        ).learn(3072)
        returns.append(evaluate(model, make_echo(), 8, seed=1).mean_return)
    assert np.mean(returns) > 0.9 * HORIZON


@pytest.mark.slow
def test_learns_cartpole_from_states_alone(cartpole_demos):
    # Random play returns about 32, the demonstrator 500.
    generator = {"n_steps": 500, "batch_size": 100, "n_epochs": 5, "gamma": 0.98, "ent_coef": 0.05}
    returns = []
    for seed in range(3):
        model = GAIfO(
            "MlpPolicy",
            make_vec(CARTPOLE, 4),
            cartpole_demos.without_actions(),
            normalize_observations=True,
            learning_rate=1e-3,
            generator_kwargs=generator,
            seed=seed,
        ).learn(60_000)
        returns.append(evaluate(model, CARTPOLE, 8, seed=100, n_envs=4).mean_return)
    assert np.mean(returns) > 350, returns


def test_saves_its_restriction_and_goes_on(cartpole_demos, tmp_path):
    model = build(cartpole_demos.without_actions(), reward_form="airl").learn(256)
    model.save(tmp_path / "model")
    loaded = GAIfO.load(
        tmp_path / "model", env=make_vec(CARTPOLE, 2), demonstrations=cartpole_demos
    )
    assert loaded.reward_net_kwargs == {"use_action": False, "use_next_state": True}
    assert loaded.reward_form == "airl"
    for name, value in model.discriminator.state_dict().items():
        assert th.equal(value, loaded.discriminator.state_dict()[name]), name
    loaded.learn(128, reset_num_timesteps=False)
    assert loaded.num_timesteps == 384


def test_the_page_in_the_docs_runs(cartpole_demos):
    text = (Path(__file__).parents[2] / "docs" / "algorithms" / "gaifo.md").read_text("utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    assert code.count("learn(100_000)") == 1
    known = {
        "episodes_of_states": [episode.observations for episode in cartpole_demos[:2].episodes()]
    }
    exec(code.replace("learn(100_000)", "learn(2_000)"), known)
    assert known["model"].num_timesteps == 2000


def test_what_needs_actions_is_refused(cartpole_demos):
    with pytest.raises(UserError, match="use_action=True, but GAIfO sees no actions"):
        build(cartpole_demos, reward_net_kwargs={"use_action": True})
    with pytest.raises(InapplicableError, match="bc_warm_start clones the expert's actions"):
        build(cartpole_demos, bc_warm_start=True)
