"""Demonstrations of the scripted experts."""

import pytest
from scripted_experts import CARTPOLE, PENDULUM, balance, swing_up

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.collect import collect
from sb3_il_plus.environments import make_vec


@pytest.fixture(scope="session")
def cartpole_demos() -> Demonstrations:
    return collect(balance, make_vec(CARTPOLE, 5), n_episodes=10, seed=0)


@pytest.fixture(scope="session")
def pendulum_demos() -> Demonstrations:
    return collect(swing_up, make_vec(PENDULUM, 5), n_episodes=20, seed=0)
