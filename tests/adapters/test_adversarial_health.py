"""What is measured of adversarial training, and when a user is warned."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from scripted_experts import CARTPOLE

import sb3_il_plus
from sb3_il_plus import AIRL, GAIL
from sb3_il_plus.adapters import health
from sb3_il_plus.adapters.health import AdversarialHealthWarning, HealthMonitor, Round
from sb3_il_plus.environments import make_vec

PPO = {"n_steps": 32, "batch_size": 64, "n_epochs": 1}
HEALTHY = Round(accuracy_expert=0.99, accuracy_generator=0.6, reward_std=0.4)
SATURATED = Round(accuracy_expert=0.99, accuracy_generator=1.0, reward_std=0.4)
CONSTANT = Round(accuracy_expert=0.5, accuracy_generator=0.5, reward_std=1e-5)
CERTAIN = Round(accuracy_expert=1.0, accuracy_generator=1.0, reward_std=1e-5)


def build(cls, demos, **kwargs):
    kwargs = {"generator_kwargs": PPO, "demo_batch_size": 64, "seed": 0, **kwargs}
    return cls("MlpPolicy", make_vec(CARTPOLE, 2, seed=0), demos, **kwargs)


def judged(*rounds):
    monitor = HealthMonitor(patience=3)
    return [len(monitor.judge(this)) for this in rounds]


def test_a_warning_after_some_rounds_in_a_row_and_only_once():
    assert judged(*[SATURATED] * 5) == [0, 0, 1, 0, 0]
    assert judged(*[CONSTANT] * 5) == [0, 0, 1, 0, 0]
    assert judged(SATURATED, SATURATED, HEALTHY, SATURATED, SATURATED, SATURATED)[-2:] == [0, 1]
    assert judged(*[SATURATED] * 3, HEALTHY, *[SATURATED] * 3, *[CONSTANT] * 3)[3:] == [0] * 6 + [1]
    assert judged(*[HEALTHY] * 20) == [0] * 20


def test_one_cause_gives_one_warning():
    monitor = HealthMonitor(patience=3)
    (message,) = [message for _ in range(6) for message in monitor.judge(CERTAIN)]
    assert "told expert from generator" in message


def test_nan_is_no_reward_to_learn_from():
    assert judged(*[Round(0.5, 0.5, float("nan"))] * 3) == [0, 0, 1]


def test_warnings_name_figures_remedy_and_page():
    monitor = HealthMonitor(patience=1)
    (saturated,), (constant,) = monitor.judge(SATURATED), monitor.judge(CONSTANT)
    assert "more than 98% of the transitions of both (now 99.0% and 100.0%)" in saturated
    assert "try gradient_penalty=10" in saturated
    assert "standard deviation 1e-05, below 0.001" in constant
    assert "normalize_reward_inputs='demonstrations'" in constant
    root = Path(sb3_il_plus.__file__).parents[1]
    for message in (saturated, constant):
        page = re.search(r"docs/\S+\.md", message)[0]
        if (root / "pyproject.toml").is_file():
            assert (root / page).is_file()


@pytest.mark.parametrize("cls", [GAIL, AIRL])
def test_logs_accuracy_entropy_and_the_scale_of_the_reward(cls, cartpole_demos):
    model = build(cls, cartpole_demos, disc_learning_rate=0.0, n_disc_updates_per_round=40)
    model.learn(64)
    (row,) = model.history
    data = model.trainer._gen_replay_buffer._buffer._arrays
    generated = [data[name] for name in ("obs", "acts", "next_obs", "dones")]
    if cls is GAIL:
        paid = model.reward_net.predict(*generated)
        logits = np.log(np.expm1(paid))
        accuracy = np.mean(logits < 0)
        assert row["train/disc_accuracy_generator"] == pytest.approx(accuracy, abs=0.05)
    else:
        paid = model.discriminator.predict(*generated)  # AIRL pays the shaped reward
    figures = {"mean": paid.mean(), "std": paid.std(), "min": paid.min(), "max": paid.max()}
    for name, value in figures.items():
        assert row[f"train/reward_{name}"] == pytest.approx(value, rel=1e-4), name
    both = (row["train/disc_accuracy_expert"] + row["train/disc_accuracy_generator"]) / 2
    assert row["train/disc_accuracy"] == pytest.approx(both)
    assert 0 < row["train/disc_entropy"] <= np.log(2) + 1e-6


def test_gail_warns_once_in_each_learn_where_the_discriminator_is_always_right(cartpole_demos):
    elsewhere = cartpole_demos.from_columns(
        {**cartpole_demos.columns(), "observations": cartpole_demos.observations + np.float32(3)},
        cartpole_demos.observation_space,
        cartpole_demos.action_space,
    )
    model = build(GAIL, elsewhere, disc_learning_rate=0.01)
    for _ in range(2):
        with pytest.warns(AdversarialHealthWarning, match="GAIL: for 10 rounds") as caught:
            model.learn(30 * 64)
        ours = [str(each.message) for each in caught if each.category is AdversarialHealthWarning]
        assert len(ours) == 1 and "gradient_penalty=10" in ours[0]
        assert caught[-1].filename == __file__
    assert model.history[-1]["train/disc_accuracy_generator"] > health.SATURATED_ACCURACY


def test_healthy_training_warns_of_nothing(cartpole_demos):
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdversarialHealthWarning)
        build(GAIL, cartpole_demos, disc_learning_rate=1e-4).learn(20 * 64)
