"""Fixtures of the tests with people."""

import os

import pytest

os.environ["SDL_VIDEODRIVER"] = "dummy"
os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"


@pytest.fixture
def cartpole():
    from sb3_il_plus.human.game import visible_env

    env = visible_env("CartPole-v1")
    yield env
    env.close()
