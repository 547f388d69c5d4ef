"""`to_sb3`: the same actions before the first update, SB3's own files, and clear refusals."""

import subprocess
import sys

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import BC, GAIL, IQL, TD3BC, ConditionalBC, Demonstrations
from sb3_il_plus.environments import placeholder_env
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.handover.to_sb3 import HandOverWarning
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo

SMALL = {"policy_kwargs": {"net_arch": [16]}, "device": "cpu", "seed": 0}
PLAIN = {"n_steps": 16, "batch_size": 16}


def cloned(observation="Box", action="Discrete", n=30, **kwargs):
    demos = echo_demonstrations(observation, action, seed=0)
    policy = "MultiInputPolicy" if observation == "Dict" else "MlpPolicy"
    return BC(policy, None, demos, **{**SMALL, **kwargs}).learn(n)


def wide(n=400, horizon=8, action=None):
    """Observations of very different scales, and an action that depends on them."""
    rng = np.random.default_rng(0)
    observations = rng.normal([5.0, -300.0, 0.0], [0.1, 80.0, 1.0], size=(n, 3))
    first = (observations[:, 1] + 300) / 80
    actions = np.clip(first, -1, 1)[:, None] if action is None else (first > 0).astype(int)
    return Demonstrations.from_arrays(
        observations.astype(np.float32),
        actions,
        rewards=np.ones(n),
        episode_lengths=[horizon] * (n // horizon),
        observation_space=spaces.Box(-np.inf, np.inf, (3,), np.float32),
        action_space=spaces.Box(-1, 1, (1,), np.float32) if action is None else action,
    )


def assert_same(model, plain, observations, atol=1e-4):
    expected, _ = model.predict(observations, deterministic=True)
    given, _ = plain.predict(observations, deterministic=True)
    np.testing.assert_allclose(given, expected, atol=atol)
    assert len(np.unique(expected)) > 1


@pytest.mark.parametrize(
    ("policy_of", "action", "target"),
    [
        ("ppo", "Discrete", PPO),
        ("ppo", "MultiBinary", A2C),
        ("sac", "Box", SAC),
        ("td3", "Box", TD3),
        ("dqn", "Discrete", DQN),
    ],
)
def test_every_kind_of_policy_acts_and_learns_on(policy_of, action, target):
    model = cloned(action=action, policy_of=policy_of)
    env = make_echo("Box", action)
    kwargs = PLAIN if target is PPO else {}
    plain = model.to_sb3(target, env, **kwargs)
    assert type(plain) is target and type(plain.policy) is type(model.policy)
    assert_same(model, plain, make_echo("Box", action, 30, seed=1).reset())
    plain.learn(20)
    assert plain.num_timesteps >= 20


def test_names_and_defaults():
    assert type(cloned().to_sb3()) is PPO
    assert type(cloned().to_sb3("a2c")) is A2C
    assert type(cloned(policy_of="a2c").to_sb3()) is A2C
    plain = cloned(policy_of="dqn").to_sb3()
    assert type(plain) is DQN
    assert plain.learning_starts == 0 and plain.exploration_initial_eps == 0.05


def test_of_a_generator_come_its_arguments_and_its_class():
    demos = echo_demonstrations("Box", "Box", seed=0)
    env = make_echo("Box", "Box", 2)
    kwargs = {"n_steps": 8, "batch_size": 16, "ent_coef": 0.01}
    model = GAIL("MlpPolicy", env, demos, generator_kwargs=kwargs, **SMALL).learn(16)
    plain = model.to_sb3()
    assert type(plain) is PPO and plain.env is env
    assert (plain.n_steps, plain.ent_coef) == (8, 0.01)
    assert_same(model, plain, make_echo("Box", "Box", 30, seed=1).reset(), atol=0)
    other = model.to_sb3(A2C, make_echo("Box", "Box"))
    assert other.n_steps == 5
    for before, after in zip(model.policy.parameters(), other.policy.parameters(), strict=True):
        assert th.equal(before, after) and before is not after


def test_the_entropys_weight_of_a_sac_generator():
    demos = echo_demonstrations("Box", "Box", seed=0)
    model = GAIL("MlpPolicy", make_echo("Box", "Box"), demos, generator="sac", **SMALL)
    model.generator_model.log_ent_coef.data.fill_(-1.5)
    assert model.to_sb3().log_ent_coef.item() == -1.5


class TestNormalization:
    @pytest.mark.parametrize(
        "policy_of",
        ["ppo", "recurrent_ppo", "sac", "tqc", "td3", "dqn", "qrdqn"],
    )
    def test_it_moves_into_the_first_layers(self, policy_of):
        discrete = spaces.Discrete(2) if policy_of in ("dqn", "qrdqn") else None
        data = wide(action=discrete)
        model = BC(
            "MlpPolicy", None, data, policy_of=policy_of, normalize_observations=True, **SMALL
        ).learn(40)
        plain = model.to_sb3()
        assert not any("statistics" in name for name in plain.policy.state_dict())
        assert_same(model, plain, data.observations[:100])

    def test_critics_value_the_same(self):
        data = wide()
        model = TD3BC("MlpPolicy", None, data, batch_size=32, **SMALL).learn(20)
        plain = model.to_sb3()
        observations = th.as_tensor(data.observations[:50])
        actions = th.as_tensor(data.actions[:50], dtype=th.float32)
        for name in ("critic", "critic_target"):
            ours, theirs = (getattr(each.policy, name) for each in (model, plain))
            for q, p in zip(
                ours(observations, actions), theirs(observations, actions), strict=True
            ):
                assert th.allclose(q, p, atol=1e-3)

    def test_entries_of_a_dict(self):
        model = cloned("Dict", normalize_observations=True)
        assert_same(model, model.to_sb3(), make_echo("Dict", "Discrete", 30, seed=1).reset())

    def test_no_hidden_layers(self):
        data = wide()
        model = BC(
            "MlpPolicy",
            None,
            data,
            policy_of="sac",
            normalize_observations=True,
            policy_kwargs={"net_arch": {"pi": [], "qf": [8]}},
            device="cpu",
        ).learn(20)
        assert_same(model, model.to_sb3(), data.observations[:50])

    def test_or_into_a_fresh_vec_normalize(self):
        data = wide()
        model = BC("MlpPolicy", None, data, normalize_observations=True, **SMALL).learn(40)
        env = VecNormalize(make_plain(data))
        plain = model.to_sb3(PPO, env, **PLAIN)
        assert plain.get_vec_normalize_env() is env and env.clip_obs == 10
        observations = data.observations[:100]
        expected, _ = model.predict(observations, deterministic=True)
        given, _ = plain.predict(env.normalize_obs(observations), deterministic=True)
        np.testing.assert_allclose(given, expected, atol=1e-5)

    def test_the_vec_normalize_that_it_learned_in_goes_along(self):
        demos = echo_demonstrations("Box", "Discrete", seed=0)
        env = VecNormalize(make_echo("Box", "Discrete", 2))
        model = GAIL("MlpPolicy", env, demos, generator_kwargs=PLAIN, **SMALL).learn(64)
        plain = model.to_sb3(env=make_echo("Box", "Discrete", 4))
        new = plain.get_vec_normalize_env()
        assert new is not env and not new.training and not new.norm_reward
        np.testing.assert_array_equal(new.obs_rms.mean, env.obs_rms.mean)
        own = VecNormalize(make_echo("Box", "Discrete", 4))
        plain = model.to_sb3(env=own)
        assert plain.get_vec_normalize_env() is own and own.training
        np.testing.assert_array_equal(own.obs_rms.var, env.obs_rms.var)

    def test_an_entry_that_vec_normalize_leaves_out(self):
        model = cloned("Dict", normalize_observations=True)
        env = VecNormalize(make_echo("Dict", "Discrete"), norm_obs_keys=[])
        with pytest.raises(UserError, match=r"entry 'bit' of obs.*add it to norm_obs_keys"):
            model.to_sb3(env=env)

    def test_what_cannot_be_folded(self):
        pytest.importorskip("sb3_contrib.crossq")
        model = BC(
            "MlpPolicy", None, wide(), policy_of="crossq", normalize_observations=True, **SMALL
        ).learn(2)
        with pytest.raises(InapplicableError, match=r"BatchRenorm.*pass env=VecNormalize\(venv\)"):
            model.to_sb3()


class TestOptimizer:
    def test_fresh_or_carried(self):
        model = cloned()
        assert not model.to_sb3().policy.optimizer.state
        plain = model.to_sb3(carry_optimizer=True)
        ours = model.policy.optimizer.state
        twins = zip(model.policy.parameters(), plain.policy.parameters(), strict=True)
        moved = [(ours[p], plain.policy.optimizer.state[q]) for p, q in twins if p in ours]
        assert moved
        for source, target in moved:
            assert source["step"] == target["step"]
            assert th.equal(source["exp_avg"], target["exp_avg"])

    def test_layers_that_normalise_begin_anew(self):
        data = wide()
        model = TD3BC("MlpPolicy", None, data, batch_size=32, **SMALL).learn(20)
        policy = model.to_sb3().policy
        first, _, second, _ = policy.actor.mu
        state = policy.actor.optimizer.state
        assert first.weight not in state and first.bias not in state
        assert state[second.weight]["step"] == 10  # policy_delay is 2


def test_offline_gaussians_become_sacs():
    """IQL's actor is one of ours; SAC's own has the same mean, and its deviation in a bias."""
    data = wide()
    kwargs = {"batch_size": 32, "normalize_observations": True, **SMALL}
    model = IQL("MlpPolicy", None, data, **kwargs).learn(30)
    plain = model.to_sb3()
    assert type(plain.policy).__module__ == "stable_baselines3.sac.policies"
    observations = data.observations[:50]
    assert_same(model, plain, observations)
    _, log_std, _ = plain.actor.get_action_dist_params(th.as_tensor(observations))
    expected = model.policy.actor.log_std.clamp(-5, 2).expand_as(log_std)
    assert th.allclose(log_std, expected)


WITHOUT_US = """
import sys
import importlib.abc

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("sb3_il_plus", "imitation"):
            raise ImportError("not installed here: " + name)

sys.meta_path.insert(0, Refuse())
import numpy as np
import stable_baselines3
observations = np.load("observations.npy")
for name in sys.argv[1:]:
    model = getattr(stable_baselines3, name.partition("_")[0]).load(name, device="cpu")
    np.save(name, model.predict(observations, deterministic=True)[0])
assert not any(module.startswith("sb3_il_plus") for module in sys.modules)
"""


def test_loaded_where_our_package_is_not_installed(tmp_path):
    data = wide()
    kwargs = {"normalize_observations": True, **SMALL}
    offline = {"batch_size": 32, **kwargs}
    models = {
        "PPO_bc": BC("MlpPolicy", None, data, **kwargs).learn(20),
        "PPO_gail": GAIL("MlpPolicy", make_plain(data), data, generator_kwargs=PLAIN, **kwargs),
        "TD3_td3_bc": TD3BC("MlpPolicy", None, data, **offline).learn(20),
        "SAC_iql": IQL("MlpPolicy", None, data, **offline).learn(20),
    }
    for name, model in models.items():
        model.to_sb3().save(tmp_path / name)
    observations = np.asarray(data.observations[:20])
    np.save(tmp_path / "observations.npy", observations)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_US, *models],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name, model in models.items():
        expected, _ = model.predict(observations, deterministic=True)
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected, atol=1e-4)


def make_plain(data):
    """An environment of the data's spaces, which is never stepped."""
    return placeholder_env(data.observation_space, data.action_space)


class TestRefusals:
    def test_another_kind_of_policy(self):
        with pytest.raises(
            InapplicableError,
            match=r"SAC cannot go on with the ActorCriticPolicy of BC; .*'ppo'.* can; "
            "policy_of='sac' makes one that does",
        ):
            cloned(action="Box").to_sb3(SAC)
        with pytest.raises(InapplicableError, match="PPO cannot go on with the SACPolicy of BC"):
            cloned(action="Box", policy_of="sac").to_sb3(PPO)

    def test_a_recurrent_policy_is_not_ppos(self):
        model = cloned(policy_of="recurrent_ppo")
        with pytest.raises(
            InapplicableError, match=r"RecurrentActorCriticPolicy.*'recurrent_ppo' c"
        ):
            model.to_sb3(PPO)
        assert type(model.to_sb3()).__name__ == "RecurrentPPO"

    def test_names_that_are_none(self):
        with pytest.raises(
            InapplicableError, match="algorithm_class='gail' is of the family 'imitation'"
        ):
            cloned().to_sb3("gail")
        with pytest.raises(InapplicableError, match="42 is no SB3 algorithm; pass a class such as"):
            cloned().to_sb3(42)


def test_policies_of_our_own_are_handed_over_with_a_warning():
    demos = echo_demonstrations("Dict", "Discrete", seed=0)
    model = ConditionalBC("BranchedPolicy", None, demos, device="cpu", seed=0).learn(20)
    with pytest.warns(HandOverWarning, match="BranchedPolicy, which is not SB3's own.*sb3_il_plus"):
        plain = model.to_sb3(env=make_echo("Dict", "Discrete", 2), **PLAIN)
    assert type(plain) is PPO
    assert_same(model, plain, make_echo("Dict", "Discrete", 30, seed=1).reset())
    plain.learn(32)


def test_exploration_by_state_is_passed_once():
    """SB3's algorithms pass `use_sde` to the policy themselves; twice is an error."""
    model = cloned(action="Box", policy_kwargs={"net_arch": [8], "use_sde": True})
    assert model.to_sb3().use_sde is True
