"""A person at a real browser: Chromium, without a screen, driven through its keyboard.

Skipped where there is no Chromium, or no chromedriver.
"""

import os
import signal

import numpy as np
import pytest
from people import at_terminal, balance, observation_in, served
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from test_human_dagger import assert_equal, by_agent
from visitor import visitor

from sb3_il_plus import DAgger, Demonstrations
from sb3_il_plus.human.dagger import human_dagger
from sb3_il_plus.human.record import record

pytestmark = pytest.mark.slow

ARROWS = [Keys.ARROW_LEFT, Keys.ARROW_RIGHT]


@pytest.fixture
def browser(tmp_path):
    with visitor(tmp_path / "profile") as opened:
        yield opened


def test_a_whole_episode(browser, tmp_path):
    def play(front_end):
        return record("CartPole-v1", tmp_path / "mine.npz", show=front_end, turns=True)

    with served(play) as (front_end, wait):
        browser.open(front_end.address)
        browser.wait(lambda: browser.phase == "ready")
        image = browser.driver.find_element(By.ID, "frame")
        assert image.get_property("naturalWidth") == 600
        pressed = []
        while "saved" not in browser.text("message"):
            # The first ones balance, so that both keys are needed; the rest let the pole fall.
            observation = np.array(observation_in({"detail": browser.text("detail")}))
            pressed.append(balance(observation) if len(pressed) < 12 else 0)
            browser.tap(ARROWS[pressed[-1]])
            browser.wait(lambda: browser.count == len(pressed))
        browser.tap("x")
        browser.wait(lambda: "'x' means nothing here" in browser.text("message"))
        browser.tap(Keys.ESCAPE)
        browser.wait(lambda: browser.phase == "finished")
        assert wait().n_episodes == 1
    recorded = Demonstrations.load(tmp_path / "mine.npz")
    np.testing.assert_array_equal(recorded.actions, pressed)
    assert recorded.terminations[-1] and {0, 1} == set(pressed)
    assert browser.text("message").startswith("The session has ended")


def test_closed_and_opened_again(browser, tmp_path):
    def play(front_end):
        return record("CartPole-v1", tmp_path / "mine.npz", show=front_end)

    with served(play) as (front_end, wait):
        browser.open(front_end.address)
        browser.wait(lambda: browser.phase == "ready")
        browser.tap(Keys.ARROW_LEFT)
        browser.wait(lambda: browser.count >= 2)
        browser.open("about:blank")
        browser.open(front_end.address)
        browser.wait(lambda: browser.phase in ("paused", "ready"))
        browser.tap("p")
        browser.wait(lambda: browser.count >= 8)
        browser.tap(Keys.ESCAPE)
        recorded = wait()
    assert recorded.n_episodes <= 2 and (recorded.actions == 0).all()


def test_another_browser_reads_why_it_is_refused(browser, tmp_path):
    def play(front_end):
        return record("CartPole-v1", tmp_path / "mine.npz", show=front_end)

    with visitor(tmp_path / "second") as second, served(play) as (front_end, wait):
        browser.open(front_end.address)
        browser.wait(lambda: browser.phase == "ready")
        second.open(front_end.address)
        assert second.page.startswith("409: another browser has this session.")
        second.open(front_end.address.replace(front_end.token, "guess"))
        assert second.page.startswith("403: this address lacks the session's token.")
        assert browser.phase == "ready"
        browser.tap(Keys.ESCAPE)
        wait()


def test_a_killed_server_is_named_and_what_was_recorded_stays(browser, tmp_path):
    path = tmp_path / "mine.npz"
    child = at_terminal("record", "--env", "CartPole-v1", "--web", "--out", path, "--turns")
    child.expect(r"open (http://127.0.0.1:\d+/\S+/)")
    browser.open(child.match[1])
    browser.wait(lambda: browser.phase == "ready")
    while "saved" not in browser.text("message"):
        before = browser.count
        browser.tap(Keys.ARROW_LEFT)
        browser.wait(lambda seen=before: browser.count != seen)
    n_steps = browser.count
    os.kill(child.process, signal.SIGKILL)
    os.waitpid(child.process, 0)
    browser.wait_for("message", "The session cannot be reached: its server has stopped")
    assert "What was recorded is kept. Run the same command again" in browser.text("message")
    recorded = Demonstrations.load(path)
    assert recorded.n_episodes == 1 and len(recorded) == n_steps


def test_dagger_with_a_person_at_a_browser(browser, tmp_path):
    n_rounds, round_steps = 2, 60

    def train(front_end):
        return human_dagger(
            "CartPole-v1",
            tmp_path / "session",
            n_rounds=n_rounds,
            round_steps=round_steps,
            show=front_end,
            n_epochs=2,
        )

    with served(train) as (front_end, wait):
        browser.open(front_end.address)
        for _ in range(n_rounds):
            for state in range(round_steps):
                browser.wait_for("headline", f"state {state} of {round_steps}")
                observation = observation_in({"detail": browser.text("detail")})
                browser.tap(ARROWS[balance(observation)])
            browser.wait_for("headline", f"all {round_steps} states are labelled")
            browser.tap(Keys.ENTER)
        model = wait()
    agent = by_agent(lambda observation: balance(np.round(observation, 3)), n_rounds, round_steps)
    assert_equal(DAgger.load(tmp_path / "session" / "model.zip"), agent)
    assert model.n_expert_queries == n_rounds * round_steps
