"""RL Zoo's folders: agents, settings and statistics are found; their YAML is never executed."""

import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import load_expert
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import FileError
from sb3_il_plus.experts.zoo_folder import Unread, ZooSettings, read_yaml, zoo_settings
from sb3_il_plus.model_files import model_in

PAIRS = "!!python/object/apply:collections.OrderedDict\n"

CONFIG = f"""{PAIRS}- - - batch_size
    - 64
  - - policy_kwargs
    - dict( activation_fn=nn.ReLU, net_arch=[dict(pi=[256,
      256])] )
  - - normalize
    - "dict(norm_obs=True, norm_reward=False)"
  - - env_wrapper
    - sb3_contrib.common.wrappers.TimeFeatureWrapper
  - - frame_stack
    - 4
"""

ARGUMENTS = f"""{PAIRS}- - - algo
    - ppo
  - - env
    - CartPole-v1
  - - env_kwargs
    - goal: !!python/tuple
      - 1
      - 2
  - - hyperparams
    - null
"""


@pytest.fixture(scope="module")
def model():
    return PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")


@pytest.fixture
def run_folder(model, tmp_path):
    """A folder as RL Zoo leaves it."""
    folder = tmp_path / "ppo" / "CartPole-v1_1"
    (folder / "CartPole-v1").mkdir(parents=True)
    for name in ("CartPole-v1", "best_model", "rl_model_1000_steps"):
        model.save(folder / f"{name}.zip")
    (folder / "CartPole-v1" / "args.yml").write_text(ARGUMENTS)
    VecNormalize(make_vec("CartPole-v1")).save(str(folder / "CartPole-v1" / "vecnormalize.pkl"))
    shutil.make_archive(str(folder / "train_eval_metrics"), "zip", folder / "CartPole-v1")
    return folder


def test_settings(run_folder):
    (run_folder / "CartPole-v1" / "config.yml").write_text(CONFIG)
    for name in ("CartPole-v1.zip", "best_model.zip"):
        settings = zoo_settings(run_folder / name)
        assert settings == ZooSettings(
            files=tuple(run_folder / "CartPole-v1" / name for name in ("config.yml", "args.yml")),
            algorithm="ppo",
            env_id="CartPole-v1",
            env_kwargs={"goal": (1, 2)},
            wrappers=(("sb3_contrib.common.wrappers.TimeFeatureWrapper", {}),),
            frame_stack=4,
            normalized=True,
        )
    assert zoo_settings(Path("nowhere.zip")) == ZooSettings()


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("normalize: true", True),
        ("normalize: false", False),
        ("batch_size: 3", False),
        ("normalize: {norm_obs: false}", False),
        ("""normalize: "{'norm_obs': False, 'norm_reward': True}" """, False),
        ('normalize: "dict(norm_reward=True)"', True),
    ],
)
def test_whether_observations_were_normalised(tmp_path, text, normalized):
    (tmp_path / "config.yml").write_text(text)
    assert zoo_settings(tmp_path / "agent.zip").normalized is normalized


def test_wrappers_in_all_their_forms(tmp_path):
    config = tmp_path / "config.yml"
    for text, wrappers in (
        ("env_wrapper: a.B", (("a.B", {}),)),
        ("env_wrapper: [a.B, {c.D: {x: 1}}]", (("a.B", {}), ("c.D", {"x": 1}))),
        ("env_wrapper: {c.D: {x: 1}}\nvec_env_wrapper: e.F", (("c.D", {"x": 1}), ("e.F", {}))),
        ("env_wrapper: null", ()),
        ("env_wrapper: None", ()),
    ):
        config.write_text(text)
        assert zoo_settings(tmp_path / "agent.zip").wrappers == wrappers


def test_the_agent_of_a_folder(run_folder):
    assert model_in(run_folder).name == "CartPole-v1.zip"  # the last of the run, not the best
    assert model_in(run_folder.parent).name == "CartPole-v1.zip"  # one folder further up
    expert = load_expert(run_folder)
    assert expert.metadata["algorithm"] == "ppo" and expert.metadata["env_id"] == "CartPole-v1"
    assert expert.metadata["vec_normalize"] == "vecnormalize.pkl"
    assert load_expert(run_folder / "best_model").statistics is not None
    (run_folder / "CartPole-v1.zip").unlink()
    with pytest.raises(FileError, match=r"holds 2 zip files .*best_model\.zip.*rl_model_1000"):
        load_expert(run_folder)


def test_missing_statistics_are_noticed(run_folder):
    (run_folder / "CartPole-v1" / "config.yml").write_text("normalize: true")
    (run_folder / "CartPole-v1" / "vecnormalize.pkl").unlink()
    with pytest.raises(
        FileError, match=r"normalised .*config\.yml says.* vec_normalize=, or False"
    ):
        load_expert(run_folder)
    assert load_expert(run_folder, vec_normalize=False).statistics is None


def test_files_of_our_own_hold_their_settings_themselves(model, run_folder):
    own = run_folder / "own.zip"
    load_expert(run_folder, vec_normalize=False).save(own)
    (run_folder / "CartPole-v1" / "config.yml").write_text("normalize: true\nframe_stack: 4")
    (run_folder / "CartPole-v1" / "vecnormalize.pkl").unlink()
    expert = load_expert(own, "CartPole-v1")
    assert (expert.statistics, expert.frame_stack) == (None, 1)


def test_arguments_of_the_environment_are_kept_and_warned_of(run_folder):
    arguments = ARGUMENTS.replace(
        "goal: !!python/tuple\n      - 1\n      - 2", "max_episode_steps: 20"
    )
    (run_folder / "CartPole-v1" / "args.yml").write_text(arguments)
    with pytest.warns(UserWarning, match="built with max_episode_steps=20"):
        expert = load_expert(run_folder, "CartPole-v1")
    assert expert.metadata["env_kwargs"] == {"max_episode_steps": 20}


# -- YAML that is not what it seems ----------------------------------------------------------------

PAYLOADS = [
    "!!python/object/apply:os.system ['touch TARGET']",
    "!!python/object/apply:subprocess.check_output [[touch, TARGET]]",
    "!!python/object/new:os.system ['touch TARGET']",
    "!!python/object/apply:eval [\"__import__('os').system('touch TARGET')\"]",
    "!!python/module:os",
    "!!python/name:os.system",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch TARGET']",
    "!harmless ['touch TARGET']",
]
EXPRESSIONS = [
    "__import__('os').system('touch TARGET')",
    "dict(a=open('TARGET', 'w'))",
    "[().__class__.__base__.__subclasses__()]",
    "nn.functional.threshold.__globals__",
]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("file", ["config.yml", "args.yml", "env_kwargs.yml"])
@pytest.mark.parametrize("place", ["whole", "needed", "unneeded", "key", "nested"])
def test_a_payload_in_yaml_never_runs(model, tmp_path, payload, file, place):
    target = tmp_path / "owned"
    payload = payload.replace("TARGET", str(target))
    model.save(tmp_path / "agent.zip")
    needed = {"config.yml": "frame_stack", "args.yml": "env_kwargs", "env_kwargs.yml": "size"}[file]
    text = {
        "whole": payload,
        "needed": f"{needed}: {payload}",
        "unneeded": f"seed: {payload}",
        "key": f"? {payload}\n: 1",
        "nested": f"{PAIRS}- - - {needed}\n    - {{a: [{payload}]}}",
    }[place]
    (tmp_path / file).write_text(text)
    if place in ("whole", "needed", "nested") or (place != "key" and file == "env_kwargs.yml"):
        with pytest.raises(FileError, match=file):
            load_expert(tmp_path / "agent.zip", "CartPole-v1")
        load_expert(tmp_path / "agent.zip", "CartPole-v1", wrappers=False)
    else:
        try:
            load_expert(tmp_path / "agent.zip", "CartPole-v1")
        except FileError as error:
            assert file in str(error)
    assert not target.exists()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_are_parsed_and_never_evaluated(model, tmp_path, expression):
    target = tmp_path / "owned"
    model.save(tmp_path / "agent.zip")
    text = expression.replace("TARGET", str(target))
    (tmp_path / "config.yml").write_text(f'normalize: "{text}"')
    with pytest.raises(FileError, match=r"config\.yml are damaged: .* not understood.*wrappers=Fa"):
        load_expert(tmp_path / "agent.zip")
    assert not target.exists()


def test_a_tag_that_is_not_needed_is_left_unread(tmp_path):
    path = tmp_path / "config.yml"
    path.write_text("a: !!python/name:torch.nn.ReLU\nb: 2")
    content = read_yaml(path)
    assert isinstance(content["a"], Unread) and content["a"].tag == "python/name:torch.nn.ReLU"
    assert content["b"] == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "is damaged: ParserError"),
        ("- 1\n- 2", "holds no settings"),
        ("[" * 1_500, "is damaged: RecursionError"),
        ("{a: 1}: 2", "is damaged: ConstructorError"),
        (f"{PAIRS}- 5", "is damaged: TypeError"),
        ("frame_stack: many", "are damaged: ValueError"),
        ("env_wrapper: 3", "are damaged: TypeError"),
        ("env_wrapper: {}", "are damaged: StopIteration"),
        ("env_kwargs: [1]", "are damaged: AttributeError"),
        ("\x00", "is damaged: ReaderError"),
    ],
)
def test_damaged_settings_are_named(model, tmp_path, text, complaint):
    model.save(tmp_path / "agent.zip")
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(FileError, match=rf"config\.yml.*{complaint}"):
        load_expert(tmp_path / "agent.zip", "CartPole-v1")


def test_merge_keys_do_not_grow(tmp_path):
    lines = ["l0: &l0 {k: 1}"]
    lines += [f"l{i}: &l{i} {{<<: [{', '.join([f'*l{i - 1}'] * 10)}]}}" for i in range(1, 12)]
    (tmp_path / "config.yml").write_text("\n".join(lines))
    assert zoo_settings(tmp_path / "agent.zip").frame_stack == 1


def test_an_agent_that_needs_other_wrappers_is_refused_with_the_remedy(model, tmp_path):
    model.save(tmp_path / "agent.zip")
    (tmp_path / "config.yml").write_text(
        "env_wrapper: stable_baselines3.common.atari_wrappers.AtariWrapper"
    )
    with pytest.raises(FileError, match=r"atari_wrappers\.AtariWrapper, .* wrappers=False"):
        load_expert(tmp_path / "agent.zip", "CartPole-v1")
    expert = load_expert(tmp_path / "agent.zip", gym.make("CartPole-v1"), wrappers=False)
    assert expert.predict(np.zeros(4, np.float32))[0] in (0, 1)
