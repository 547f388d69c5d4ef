"""Settings of all tests, and what tests of more than one folder share."""

import os
import signal
from pathlib import Path

# Small networks and small machines: more threads than one cost time, here and in subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import pytest
import torch as th
from stable_baselines3 import PPO

th.set_num_threads(1)

# A shell without job control lets background processes, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

collect_ignore = ["plugin_example"]
"""A package of its own, whose tests run where it is installed: see test_plugins.py."""


@pytest.fixture(scope="session", autouse=True)
def expert_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trained experts are shared by all tests, and never come from or go to the user's cache."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # whose folder is its own; the one above is common
        folder = folder.parent
    os.environ["SB3_IL_PLUS_CACHE"] = str(folder / "cache")


@pytest.fixture(scope="session")
def expert_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear policy that balances CartPole's pole, in a zip of SB3."""
    model = PPO("MlpPolicy", gym.make("CartPole-v1"), policy_kwargs={"net_arch": []}, device="cpu")
    with th.no_grad():
        push_right = th.tensor([0.0, 0.5, 5.0, 2.0])
        model.policy.action_net.weight.copy_(th.stack([-push_right, push_right]))
        model.policy.action_net.bias.zero_()
    path = tmp_path_factory.mktemp("expert") / "balance.zip"
    model.save(path)
    return path
