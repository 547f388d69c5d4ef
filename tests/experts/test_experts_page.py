"""The page about experts shows code that runs."""

import re
from pathlib import Path

from stable_baselines3 import PPO

PAGE = (Path(__file__).parents[2] / "docs" / "experts.md").read_text(encoding="utf-8")


def test_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "rl-trained-agents" / "ppo" / "CartPole-v1_1"
    folder.mkdir(parents=True)
    PPO("MlpPolicy", "CartPole-v1", device="cpu", seed=0).save(folder / "CartPole-v1.zip")
    loading, remembering = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    known = {}
    exec(compile(loading, "experts.md", "exec"), known)
    assert known["demonstrations"].n_episodes == 10
    assert (tmp_path / "expert.zip").is_file()
    known |= {"observations": known["demonstrations"].observations_at([0, 1]), "state": None}
    exec(compile(remembering, "experts.md", "exec"), {**known, "dones": [True, True]})


def test_every_wrapper_is_in_the_table():
    from sb3_il_plus.experts.wrappers import wrapper_named

    for name in re.findall(r"^\| `(\w+(?:Wrapper|Observation))` \|", PAGE, flags=re.MULTILINE):
        assert wrapper_named(f"some.module.{name}", {}, "Pendulum-v1", 200) is not None
