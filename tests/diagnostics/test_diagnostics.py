"""Diagnostics on episodes whose flaws are known, and on real imitators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from scripted_experts import CARTPOLE, balance

from sb3_il_plus import GAIL, collect, make
from sb3_il_plus.data import Demonstrations
from sb3_il_plus.diagnostics import (
    action_agreement,
    compounding_error,
    covariate_shift,
    discriminator_calibration,
    plot_agreement,
    plot_calibration,
    plot_compounding_error,
    plot_shift,
)
from sb3_il_plus.diagnostics.calibration import calibration
from sb3_il_plus.diagnostics.compounding import growth_exponent
from sb3_il_plus.diagnostics.shift import energy_distance
from sb3_il_plus.errors import DataError, InapplicableError, UserError

BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def episodes(
    drift: float, n: int = 20, length: int = 40, seed: int = 0, **others
) -> Demonstrations:
    """Standard normal observations whose mean drifts away by `drift` per step."""
    rng = np.random.default_rng(seed)
    path = drift * np.arange(length + 1)[:, None]
    return Demonstrations.from_arrays(
        [(rng.normal(size=(length + 1, 2)) + path).astype(np.float32) for _ in range(n)],
        [rng.integers(2, size=length) for _ in range(n)],
        observation_space=BOX,
        action_space=spaces.Discrete(2),
        **{"rewards": [np.ones(length)] * n, **others},
    )


def test_energy_distance_of_few_points() -> None:
    left, right = np.array([[0.0], [1.0]]), np.array([[2.0], [5.0]])
    between = (2 + 5 + 1 + 4) / 4
    assert energy_distance(left, right) == pytest.approx(np.sqrt(2 * between - 1 - 3))
    assert np.isnan(energy_distance(left[:1], right))
    # A known figure: of N(0, 1) and N(m, 1) it is close to m for large m.
    rng = np.random.default_rng(0)
    far = energy_distance(rng.normal(size=(800, 1)), rng.normal(size=(800, 1)) + 50)
    assert far == pytest.approx(np.sqrt(2 * 50 - 2 * 2 / np.sqrt(np.pi)), rel=0.01)


def test_shift_grows_with_the_drift_and_not_without() -> None:
    expert = episodes(0)
    same = covariate_shift(expert, episodes(0, seed=1))
    away = covariate_shift(expert, episodes(0.1, seed=1))
    assert same.steps.tolist() == [1.5 + 4 * i for i in range(10)]
    assert same.distances.max() < 0.35 and same.floor.max() < 0.45
    assert (np.diff(away.distances[2:]) > 0).all()
    assert away.distances[-1] > 1.5 > away.distances[0]
    assert away.mean == pytest.approx(away.distances.mean())


def test_shift_of_choices_and_dicts() -> None:
    space = spaces.Dict({"cell": spaces.Discrete(3, start=1), "x": spaces.Box(-9, 9, (1,))})

    def demos(cell: int) -> Demonstrations:
        return Demonstrations.from_arrays(
            [
                {"cell": np.full(9, cell), "x": np.linspace(0, e + 1, 9, dtype=np.float32)[:, None]}
                for e in range(4)
            ],
            [np.zeros(8, dtype=np.int64)] * 4,
            observation_space=space,
            action_space=spaces.Discrete(2),
        )

    assert covariate_shift(demos(1), demos(1), n_windows=2).distances.max() < 0.8
    assert covariate_shift(demos(1), demos(3), n_windows=2).distances.min() > 100


def test_shift_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(DataError, match="1 episode of the expert tells nothing"):
        covariate_shift(episodes(0, n=1), episodes(0))
    other = Demonstrations.from_arrays(
        [np.zeros((3, 5), dtype=np.float32)],
        [np.zeros(2, dtype=np.int64)],
        action_space=spaces.Discrete(2),
    )
    with pytest.raises(InapplicableError, match="cannot be compared with those of"):
        covariate_shift(episodes(0), other)
    with pytest.raises(UserError, match="n_windows=0 must be at least 1"):
        covariate_shift(episodes(0), episodes(0), n_windows=0)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_exponent_of_known_losses(power: float) -> None:
    length = 40
    lost = np.diff(0.01 * np.arange(length + 1) ** power)
    rewards = [np.ones(length) - lost] * 6
    found = compounding_error(episodes(0), episodes(0, n=6, rewards=rewards), n_resamples=20)
    assert found.exponent == pytest.approx(power, abs=1e-6)
    assert found.regret[-1] == pytest.approx(0.01 * length**power)
    assert found.low[-1] == pytest.approx(found.high[-1]), "episodes do not differ"


def test_an_episode_that_ends_early_earns_nothing_more() -> None:
    expert, short = episodes(0, length=40), episodes(0, length=10)
    found = compounding_error(expert, short, n_resamples=10)
    assert found.regret[:10] == pytest.approx(0) and found.regret[-1] == pytest.approx(30)
    assert np.isnan(growth_exponent(np.arange(1, 5), np.zeros(4)))
    with pytest.raises(DataError, match="these episodes have none"):
        compounding_error(expert, episodes(0, rewards=None))


def test_agreement_along_an_episode() -> None:
    recorded = episodes(0, n=5, length=20)

    class SameAtFirst:
        """Answers as recorded in the first half of an episode, and otherwise the opposite."""

        def __init__(self) -> None:
            self.asked = 0

        def predict(self, observations, deterministic):
            rows = np.arange(self.asked, self.asked + len(observations))
            self.asked += len(observations)
            late = rows % 20 >= 10
            return np.where(late, 1 - recorded.actions[rows], recorded.actions[rows]), None

    found = action_agreement(SameAtFirst(), recorded, n_windows=4)
    assert found.shares.tolist() == [1, 1, 0, 0] and found.errors.tolist() == [0, 0, 1, 1]
    assert (found.mean_share, found.mean_error) == (0.5, 0.5)


def test_calibration_of_known_probabilities() -> None:
    expert, generated = np.array([0.95, 0.85, 0.25]), np.array([0.05, 0.25] * 30)
    found = calibration(expert, generated)
    # Both sides weigh one half: 1/6 for each of the first, 1/120 for each of the others.
    assert found.accuracy == pytest.approx(2 / 6 + 60 / 120)
    brier = (0.05**2 + 0.15**2 + 0.75**2) / 6 + (0.05**2 + 0.25**2) / 4
    assert found.brier_score == pytest.approx(brier)
    assert found.weights[[0, 2, 8, 9]] == pytest.approx([1 / 4, 1 / 6 + 1 / 4, 1 / 6, 1 / 6])
    assert found.frequencies[2] == pytest.approx((1 / 6) / (1 / 6 + 1 / 4))
    assert np.isnan(found.probabilities[5])
    gaps = [0.05 / 4, abs(0.25 - 0.4) * (1 / 6 + 1 / 4), 0.15 / 6, 0.05 / 6]
    assert found.expected_error == pytest.approx(sum(gaps))
    assert calibration(np.ones(3), np.ones(5)).accuracy == 0.5


def test_real_imitators_and_plots(tmp_path: Path) -> None:
    """A clone stays where its expert goes, what was never trained does not."""
    demos = collect(balance, CARTPOLE, 12, seed=0, n_envs=12)
    start = make("bc", CARTPOLE, demonstrations=demos, seed=0)
    clone = make("bc", CARTPOLE, demonstrations=demos, seed=0, batch_size=64).learn(2000)
    shift, error, agreement = {}, {}, {}
    for name, model in (("untrained", start), ("clone", clone)):
        seen = collect(model, CARTPOLE, 12, seed=1, n_envs=12)
        shift[name] = covariate_shift(demos, seen, n_windows=5)
        error[name] = compounding_error(demos, seen, n_resamples=50)
        agreement[name] = action_agreement(model, demos)
    # Measured: 1.52 and 0.29, where chance gives 0.43; shares 0.83 and 0.97; losses 65 and 0.
    assert shift["clone"].mean < 1.5 * shift["clone"].floor.mean() < shift["untrained"].mean
    assert agreement["clone"].mean_share > 0.93 > agreement["untrained"].mean_share
    assert error["clone"].regret[-1] < 20 < error["untrained"].regret[-1]

    kwargs = {"n_steps": 128, "batch_size": 64}
    demos = demos[:3]
    gail = GAIL(
        "MlpPolicy", CARTPOLE, demos, generator_kwargs=kwargs, disc_learning_rate=1e-2, seed=0
    )
    before, after = (
        discriminator_calibration(
            gail.learn(n), demos, collect(gail, CARTPOLE, 3, seed=1, n_envs=3, deterministic=False)
        )
        for n in (1, 2048)
    )
    # Measured: 0.50 and 0.96, 0.25 and 0.04.
    assert abs(before.accuracy - 0.5) < 0.2 and after.accuracy > 0.8
    assert after.brier_score < 0.15 < before.brier_score
    with pytest.raises(InapplicableError, match="BC has no discriminator"):
        discriminator_calibration(clone, demos, demos)

    plot_shift(shift, tmp_path / "shift")
    plot_compounding_error(error, tmp_path / "error")
    plot_agreement(agreement, tmp_path / "agreement")
    plot_calibration({"before": before, "after": after}, tmp_path / "calibration")
    assert len(list(tmp_path.glob("*.png"))) == len(list(tmp_path.glob("*.svg"))) == 4
    with pytest.raises(UserError, match="nothing to draw"):
        plot_shift({}, tmp_path / "empty")
