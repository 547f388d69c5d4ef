"""How soon the page in a browser answers a key with a new frame.

    PYTHONPATH=tests:tests/human python tests/benchmarks/bench_human.py [--presses 200]

Needs Chromium and chromedriver. A real browser on this machine presses keys in CartPole-v1, and
notes the time from the key until the picture that answers it is loaded: in turns, where a key is a
step, and at the environment's 50 steps in a second, where it waits for the next one.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from people import served
from selenium.webdriver.common.keys import Keys
from visitor import visitor

from sb3_il_plus.human.record import record

_MEASURE = """
const [presses, takeBack, done] = arguments;
const image = document.getElementById("frame");
const strike = (kind, key) => dispatchEvent(new KeyboardEvent(kind, { key }));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const answered = (count) => new Promise((resolve) => {
  image.onload = () => { if (Number(document.body.dataset.count) > count) { resolve(); } };
});
(async () => {
  const times = [];
  for (let i = 0; i < presses; i++) {
    const key = i % 2 ? "ArrowRight" : "ArrowLeft";
    const answer = answered(Number(document.body.dataset.count));
    const start = performance.now();
    strike("keydown", key);
    await answer;
    times.push(performance.now() - start);
    strike("keyup", key);
    if (takeBack) {
      strike("keydown", "Backspace");
      while (document.body.dataset.phase !== "ready") { await pause(5); }
    }
    await pause(20 + 20 * Math.random());
  }
  done(times);
})();
"""


def measure(turns: bool, presses: int, folder: Path) -> np.ndarray:
    """Milliseconds of each answer."""

    def play(front_end):
        return record("CartPole-v1", folder / f"{turns}.npz", show=front_end, turns=turns)

    profile = folder / f"profile-{turns}"
    with visitor(profile) as browser, served(play) as (front_end, wait):
        browser.driver.set_script_timeout(120)
        browser.open(front_end.address)
        browser.wait(lambda: browser.phase == "ready")
        times = browser.driver.execute_async_script(_MEASURE, presses, not turns)
        browser.tap(Keys.ESCAPE)
        wait()
    return np.array(times)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presses", type=int, default=200)
    presses = parser.parse_args().presses
    with tempfile.TemporaryDirectory() as folder:
        for turns, name in ((True, "in turns"), (False, "at 50 steps in a second")):
            times = measure(turns, presses, Path(folder))
            print(
                f"{name}: median {np.median(times):.1f} ms, "
                f"95 % within {np.percentile(times, 95):.1f} ms ({presses} keys)"
            )


if __name__ == "__main__":
    main()
