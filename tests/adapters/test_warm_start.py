"""bc_warm_start= clones the demonstrations into the generator's policy, once, before all rounds."""

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import GAIL
from sb3_il_plus.adapters import warm_start
from sb3_il_plus.adapters.sqil import SQIL
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.testing.environments import HORIZON, echo_demonstrations, make_echo
from sb3_il_plus.testing.task import differing

ON_POLICY = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}
OFF_POLICY = {"batch_size": 16, "buffer_size": 500, "learning_starts": 8, "train_freq": 4}


def build(generator="ppo", action="Discrete", cls=GAIL, env=None, **kwargs):
    on_policy = generator in ("ppo", "recurrent_ppo")
    arguments = {
        "generator": generator,
        "generator_kwargs": ON_POLICY if on_policy else OFF_POLICY,
        "bc_warm_start": 300,
        "policy_kwargs": {"net_arch": [16]},
        "seed": 0,
        "device": "cpu",
        **({"demo_batch_size": 16} if cls is GAIL else {}),
        **kwargs,
    }
    policy = "MlpLstmPolicy" if generator == "recurrent_ppo" else "MlpPolicy"
    env = make_echo("Box", action, seed=0) if env is None else env
    return cls(policy, env, echo_demonstrations("Box", action), **arguments)


class AtTheStart(BaseCallback):
    """The policy and its return, before the first step."""

    def _on_training_start(self) -> None:
        assert self.model.num_timesteps == 0
        action = type(self.model.action_space).__name__
        env = make_echo("Box", action, seed=7)
        returns, _ = evaluate_policy(self.model, env, 20, return_episode_rewards=True)
        self.mean_return = np.mean(returns)
        self.policy = {k: v.clone() for k, v in self.model.policy.state_dict().items()}

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("generator", "action"),
    [
        ("ppo", "Discrete"),
        ("dqn", "Discrete"),
        ("recurrent_ppo", "Discrete"),
        ("ppo", "Box"),
        ("sac", "Box"),
        ("td3", "Box"),
    ],
)
def test_the_policy_is_the_experts_clone_before_the_first_round(generator, action):
    start = AtTheStart()
    model = build(generator, action).learn(16, callback=start)
    assert start.mean_return >= 0.85 * HORIZON, "random actions return half of the horizon"
    assert model.num_timesteps == 16
    first = model.history[0]
    assert first["warm_start/updates"] == 300
    assert {"warm_start/loss"} <= first.keys()


def test_it_happens_once_and_is_kept_in_files(tmp_path):
    start = AtTheStart()
    model = build()
    model.save(tmp_path / "untrained")
    model.learn(16, callback=start)
    cloned = {k: v.clone() for k, v in model.policy.state_dict().items()}
    model.save(tmp_path / "model")
    model.learn(16, callback=start, reset_num_timesteps=True)
    assert not differing(cloned, start.policy), "not again when it learns on"
    given = {
        "env": make_echo("Box", "Discrete"),
        "demonstrations": echo_demonstrations("Box", "Discrete"),
        "device": "cpu",
    }
    loaded = GAIL.load(tmp_path / "model", **given)
    assert loaded.bc_warm_start == 300
    loaded.num_timesteps = 0
    loaded.learn(16, callback=start, reset_num_timesteps=True)
    assert not differing(cloned, start.policy), "not again after loading"
    GAIL.load(tmp_path / "untrained", **given).learn(16, callback=start)
    assert start.mean_return >= 0.85 * HORIZON, "a file from before it has it still to do"


def test_none_and_zero_mean_none_and_true_a_default():
    for nothing in (None, 0, False):
        start = AtTheStart()
        model = build(bc_warm_start=nothing)
        fresh = {k: v.clone() for k, v in model.policy.state_dict().items()}
        model.learn(16, callback=start)
        assert not differing(fresh, start.policy)
        assert "warm_start/updates" not in model.history[0]
    assert warm_start.n_updates(True, GAIL.policy_aliases["MlpPolicy"]) == 1000
    for wrong in (-1, 2.5, "yes"):
        with pytest.raises(UserError, match=r"bc_warm_start=.* must be a number of gradient upda"):
            build(bc_warm_start=wrong)


def test_critics_and_random_streams_are_as_without_it():
    model = build("sac", "Box", bc_warm_start=50)
    critic = {k: v.clone() for k, v in model.policy.critic.state_dict().items()}
    numpy_state, torch_state = np.random.get_state()[1].copy(), th.get_rng_state()
    assert warm_start.clone(model, 50).keys() >= {"loss", "l2_norm"}
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert th.equal(th.get_rng_state(), torch_state)
    assert not differing(critic, model.policy.critic.state_dict())


def test_observations_are_normalised_as_they_will_be():
    start = AtTheStart()
    model = build(normalize_observations=True).learn(16, callback=start)
    assert start.mean_return >= 0.85 * HORIZON
    env = VecNormalize(make_echo("Box", "Discrete", seed=0), clip_obs=1.5)
    env.obs_rms.mean[:], env.obs_rms.var[:], env.obs_rms.count = 0.5, 4.0, 5000
    model = build(env=env)
    warm_start.clone(model, 300)
    shown = make_echo("Box", "Discrete", 8, seed=3).reset()
    actions, _ = model.predict(env.normalize_obs(shown), deterministic=True)
    bits = (shown > 0).astype(int)
    np.testing.assert_array_equal(actions, 2 * bits[:, 0] + bits[:, 1])
    with pytest.warns(UserWarning, match="VecNormalize that has seen 2 observations"):
        build(env=VecNormalize(make_echo("Box", "Discrete"))).learn(16)


def test_other_algorithms_with_a_generator_have_it():
    start = AtTheStart()
    build("dqn", cls=SQIL).learn(16, callback=start)
    assert start.mean_return >= 0.85 * HORIZON


def test_policies_that_cannot_be_cloned_into_are_refused_at_construction():
    class Unknown(BasePolicy):
        pass

    with pytest.raises(InapplicableError, match="Unknown is no policy that can be trained on"):
        warm_start.n_updates(1, Unknown)
    assert warm_start.n_updates(0, Unknown) == 0
