"""RL Zoo's files are read whole, without importing the package and without evaluating anything."""

import builtins
import subprocess
import sys

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from torch import nn

from sb3_il_plus.errors import InapplicableError, MissingExtraError, UserError
from sb3_il_plus.experts import zoo
from sb3_il_plus.experts.zoo import (
    Hyperparameters,
    LinearSchedule,
    parse_expression,
    parse_schedule,
    tuned_hyperparameters,
)

pytest.importorskip("yaml")
rl_zoo3 = pytest.mark.skipif(
    zoo.importlib.util.find_spec("rl_zoo3") is None, reason="rl_zoo3 is not installed"
)

ALGORITHMS = [
    "a2c",
    "ars",
    "ddpg",
    "dqn",
    "ppo",
    "qrdqn",
    "recurrent_ppo",
    "sac",
    "td3",
    "tqc",
    "trpo",
]


@rl_zoo3
def test_an_entry_becomes_arguments():
    tuned = tuned_hyperparameters("ppo", "CartPole-v1")
    assert tuned.total_timesteps == 100_000
    assert tuned.n_envs == 8
    assert tuned.policy == "MlpPolicy"
    assert tuned.normalize_arguments() is None
    assert tuned.source == "RL Zoo's ppo for CartPole-v1"
    arguments = tuned.algorithm_arguments(spaces.Discrete(2))
    assert arguments["learning_rate"] == LinearSchedule(0.001)
    assert arguments["clip_range"](0.5) == pytest.approx(0.1)
    assert arguments["n_epochs"] == 20
    assert not {"policy", "n_envs", "n_timesteps"} & set(arguments)


ENTRIES = [
    "atari",
    "CartPole-v1",
    "MountainCar-v0",
    "HalfCheetah-v3",
    "Ant-v3",
    "Reacher-v2",
    "LunarLander-v2",
    "LunarLander-v3",
]


@pytest.mark.parametrize(
    ("env_id", "entry"),
    [
        ("CartPole-v1", "CartPole-v1"),
        ("LunarLander-v2", "LunarLander-v2"),
        ("seals/CartPole-v0", "CartPole-v1"),
        ("seals/MountainCar-v0", "MountainCar-v0"),
        ("seals/HalfCheetah-v1", "HalfCheetah-v3"),
        ("Ant-v5", "Ant-v3"),
        ("Reacher-v4", "Reacher-v2"),
        ("LunarLander-v4", "LunarLander-v3"),
        ("ALE/Pong-v5", "atari"),
        ("PongNoFrameskip-v4", "atari"),
        ("HalfCheetahBulletEnv-v0", None),
        ("minigrid/CartPole-v1", None),
        ("mine", None),
    ],
)
def test_environments_find_the_entry_of_their_kin(env_id, entry):
    assert zoo._entry_name(env_id, ENTRIES) == entry


@rl_zoo3
@pytest.mark.parametrize(
    ("algorithm", "env_id"),
    [
        ("ppo", "seals/CartPole-v0"),
        ("sac", "seals/Humanoid-v1"),
        ("tqc", "Ant-v5"),
        ("td3", "Hopper-v4"),
        ("recurrent_ppo", "Acrobot-v1"),
    ],
)
def test_the_zoo_has_the_kin_of_these(algorithm, env_id):
    base = env_id.removeprefix("seals/").partition("-v")[0]
    source = tuned_hyperparameters(algorithm, env_id).source
    assert source.startswith(f"RL Zoo's {algorithm} for {base}-v")


@rl_zoo3
@pytest.mark.parametrize(
    ("algorithm", "env_id"), [("ppo", "NoSuch-v0"), ("maskable_ppo", "CartPole-v1")]
)
def test_an_unknown_environment_gets_defaults_and_a_warning(algorithm, env_id):
    with pytest.warns(UserWarning, match=f"no tuned hyperparameters of {algorithm} for {env_id}"):
        tuned = tuned_hyperparameters(algorithm, env_id)
    assert tuned.settings == {}
    assert tuned.total_timesteps == 100_000
    assert tuned.policy is None


@rl_zoo3
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_entry_of_every_file_is_understood(algorithm):
    entries = zoo._entries(algorithm)
    assert len(entries) >= 5
    for name in entries:
        tuned = tuned_hyperparameters(algorithm, name)
        assert tuned.total_timesteps >= 1000
        tuned.normalize_arguments()
        unwrapped = tuned.updated(
            dict.fromkeys(("env_wrapper", "frame_stack"))
        ).algorithm_arguments(spaces.Box(-1, 1, (2,)))
        for key, value in unwrapped.items():
            assert not isinstance(value, str) or value in ("auto", "MlpPolicy"), (name, key, value)


@rl_zoo3
def test_rl_zoo3_is_not_imported():
    code = (
        "import sys\n"
        "from sb3_il_plus.experts.zoo import tuned_hyperparameters\n"
        "tuned_hyperparameters('ppo', 'CartPole-v1')\n"
        "assert 'rl_zoo3' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_rl_zoo3_names_the_command(monkeypatch):
    zoo._entries.cache_clear()
    monkeypatch.setattr(zoo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sb3_il_plus\[zoo\]'"):
        tuned_hyperparameters("ppo", "CartPole-v1")
    zoo._entries.cache_clear()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dict(net_arch=[8], act_fn=nn.ReLU)", {"net_arch": [8], "act_fn": nn.ReLU}),
        ("dict(log_std_init=-3.67, ortho=False)", {"log_std_init": -3.67, "ortho": False}),
        ("dict(net_arch=dict(pi=[], vf=[32,]), )", {"net_arch": {"pi": [], "vf": [32]}}),
        ("{'norm_obs': True, 'norm_reward': False}", {"norm_obs": True, "norm_reward": False}),
        ("dict(activation_fn=nn.GELU, eps=1e-5, shape=(1, 'a', None))",
         {"activation_fn": nn.GELU, "eps": 1e-5, "shape": (1, "a", None)}),
        ("HerReplayBuffer", HerReplayBuffer),
        ("  dict()\n", {}),
    ],
)  # fmt: skip
def test_expressions(text, value):
    assert parse_expression(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch owned')",
        "dict(a=open('owned', 'w'))",
        "dict(**{'a': 1})",
        "dict([('a', 1)])",
        "{**{}}",
        "nn.Module",
        "nn.Linear",
        "nn.warnings",
        "nn.ReLU()",
        "nn.ReLU.__init__",
        "os",
        "[i for i in range(3)]",
        "lambda: 1",
        "1 + 1",
        "f'{1}'",
        "dict(",
        "",
        "-" * 100_000 + "1",
        "\x00",
    ],
)
def test_anything_else_is_refused_and_never_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtins, "eval", lambda *_: pytest.fail("eval was called"))
    with pytest.raises(UserError, match="is not understood"):
        parse_expression(text)
    assert list(tmp_path.iterdir()) == []


def test_schedules():
    assert parse_schedule("lin_3e-4") == LinearSchedule(3e-4)
    assert parse_schedule("lin_0.2")(0.25) == pytest.approx(0.05)
    assert parse_schedule("auto") == "auto"
    with pytest.raises(UserError, match="'lin_fast' is not understood"):
        parse_schedule("lin_fast")


def test_normalisation():
    def arguments(**settings):
        return Hyperparameters(settings, "a test").normalize_arguments()

    assert arguments() is None
    assert arguments(normalize=False, gamma=0.9) is None
    assert arguments(normalize=True, gamma=0.9) == {"gamma": 0.9}
    assert arguments(normalize=True) == {}
    text = "dict(norm_obs=True, norm_reward=False)"
    assert arguments(normalize=text, gamma=0.5) == {
        "norm_obs": True,
        "norm_reward": False,
        "gamma": 0.5,
    }
    assert arguments(normalize={"clip_obs": 5.0}) == {"clip_obs": 5.0}


def test_action_noise():
    space = spaces.Box(-1, 1, (3,))

    def noise(kind):
        settings = {"noise_type": kind, "noise_std": 0.5}
        return Hyperparameters(settings, "a test").algorithm_arguments(space)

    arguments = noise("normal")
    assert set(arguments) == {"action_noise"}
    assert isinstance(arguments["action_noise"], NormalActionNoise)
    np.testing.assert_array_equal(arguments["action_noise"]._sigma, np.full(3, 0.5))
    assert isinstance(noise("ornstein-uhlenbeck")["action_noise"], OrnsteinUhlenbeckActionNoise)
    with pytest.raises(UserError, match="noise_type='pink' is unknown; choose from normal"):
        noise("pink")


def test_an_entry_for_a_wrapped_environment_is_refused_until_the_wrapper_is_dropped():
    tuned = Hyperparameters({"frame_stack": 4, "train_freq": [1, "episode"]}, "RL Zoo's x for y")
    with pytest.raises(
        InapplicableError, match=r"RL Zoo's x for y.*frame_stack: 4.*'frame_stack': None"
    ):
        tuned.algorithm_arguments(spaces.Discrete(2))
    unwrapped = tuned.updated({"frame_stack": None})
    assert unwrapped.algorithm_arguments(spaces.Discrete(2)) == {"train_freq": (1, "episode")}


def test_changes_win():
    tuned = Hyperparameters({"gamma": 0.9, "n_envs": 8}, "a test")
    changed = tuned.updated({"gamma": 0.5, "n_envs": None})
    assert changed.settings == {"gamma": 0.5}
    assert changed.n_envs == 1
    assert tuned.settings == {"gamma": 0.9, "n_envs": 8}
