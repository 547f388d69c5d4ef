"""The page about BC shows code that runs, in its order."""

import re
from pathlib import Path

import numpy as np
from gymnasium import spaces

from sb3_il_plus.adapters.policy_kinds import kind_of, online_algorithm, policies_of

PAGE = (Path(__file__).parents[2] / "docs" / "bc.md").read_text()


def test_the_code_runs(pendulum_demos, cartpole_demos):
    rng = np.random.default_rng(0)
    shared = {
        "demonstrations": pendulum_demos[:5],
        "choices": cartpole_demos[:2],
        "observations": rng.normal(size=(40, 2)),
        "actions": np.arange(40) % 3,
        "action_masks": np.ones((40, 3), dtype=bool),
        "action_space": spaces.Discrete(3),
    }
    page = PAGE.replace("learn(10_000)", "learn(300)").replace("learn(200)", "learn(5)")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        exec(compile(block, "docs/bc.md", "exec"), shared)
    assert type(shared["agent"].policy).__name__ == "SACPolicy"


def test_the_table_lists_the_losses_of_each_kind():
    rows = [row.split("|")[1:4] for row in PAGE.splitlines() if row.startswith('| `"')]
    listed = {
        name: re.findall(r"`(\w+)`", losses)
        for names, _, losses in rows
        for name in re.findall(r'`"(\w+)"`', names)
    }
    assert len(listed) == 12
    for name, losses in listed.items():
        if name == "crossq":  # not in every version of sb3-contrib
            continue
        for policy in policies_of(online_algorithm(name)).values():
            assert list(kind_of(policy).losses) == losses, name
