"""The rewards of GAIL's discriminator, against numbers worked out by hand."""

import numpy as np
import pytest
import torch as th
from imitation.algorithms.adversarial.gail import RewardNetFromDiscriminatorLogit
from imitation.rewards.reward_nets import BasicRewardNet
from scripted_experts import CARTPOLE

from sb3_il_plus import GAIL
from sb3_il_plus.adapters.reward_forms import FORMS, RewardFromLogit
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import UserError
from sb3_il_plus.testing.environments import make_echo

BY_HAND = {
    # D = 0.1, 0.5 and 0.7, where h = ln(D / (1 - D)) = -2.197225, 0 and 0.847298
    "gail": (0.105361, 0.693147, 1.203973),
    "log_d": (-2.302585, -0.693147, -0.356675),
    "airl": (-2.197225, 0.0, 0.847298),
    "fairl": (2.197225 / 9, 0.0, -0.847298 * 7 / 3),
}


@pytest.mark.parametrize("form", FORMS)
def test_rewards_by_hand(form):
    d = np.array([0.1, 0.5, 0.7])
    rewards = FORMS[form](th.as_tensor(np.log(d / (1 - d))))
    np.testing.assert_allclose(rewards, BY_HAND[form], atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_rewards_of_a_certain_discriminator_are_finite(form):
    rewards = FORMS[form](th.tensor([-1000.0, 1000.0]))
    assert th.isfinite(rewards).all()
    if form == "fairl":
        assert rewards.tolist() == [0.0, -10.0]


def test_the_default_is_upstreams(cartpole_demos):
    env = make_vec(CARTPOLE)
    net = BasicRewardNet(env.observation_space, env.action_space)
    batch = (
        cartpole_demos.observations_at(np.arange(20)),
        cartpole_demos.actions[:20],
        cartpole_demos.next_observations_at(np.arange(20)),
        np.zeros(20, dtype=bool),
    )
    np.testing.assert_array_equal(
        RewardFromLogit(net, "gail").predict(*batch),
        RewardNetFromDiscriminatorLogit(net).predict(*batch),
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_generator_is_paid_in_the_chosen_form(form, cartpole_demos):
    model = GAIL(
        "MlpPolicy",
        make_vec(CARTPOLE, 3, seed=0),
        cartpole_demos,
        reward_form=form,
        normalize_rewards=False,
        seed=0,
    )
    venv = model.trainer.venv_train
    before, actions = venv.reset(), np.array([0, 1, 0])
    after, paid, dones, _ = venv.step(actions)
    net = model.discriminator
    with th.no_grad():
        logit = net(*net.preprocess(before, actions, after, dones)).double().numpy()
    d = 1 / (1 + np.exp(-logit))
    expected = {
        "gail": -np.log(1 - d),
        "log_d": np.log(d),
        "airl": np.log(d) - np.log(1 - d),
        "fairl": -(d / (1 - d)) * np.log(d / (1 - d)),
    }[form]
    np.testing.assert_allclose(paid, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        model.predict_reward(before, actions, after, dones), expected, rtol=1e-4, atol=1e-6
    )


def test_an_unknown_form_is_refused():
    with pytest.raises(UserError, match="reward_form='wgan' must be one of gail, log_d, "):
        GAIL("MlpPolicy", make_echo(), reward_form="wgan")
