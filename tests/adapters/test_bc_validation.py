"""Validation by episode: what is held out, when training stops, and which weights it ends with."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import CheckpointCallback

from sb3_il_plus import BC, Demonstrations
from sb3_il_plus.errors import UserError
from sb3_il_plus.supervised.early_stopping import EarlyStopping
from sb3_il_plus.testing.environments import echo_demonstrations
from sb3_il_plus.testing.task import differing

RNG = np.random.default_rng(0)


def noisy(n_episodes=12, length=10) -> Demonstrations:
    """Random choices: every update past the first few is overfitting."""
    n = n_episodes * length
    return Demonstrations.from_arrays(
        RNG.normal(size=(n, 4)),
        RNG.integers(0, 3, n),
        episode_lengths=[length] * n_episodes,
        action_space=spaces.Discrete(3),
    )


NOISY = noisy()


def build(demonstrations=NOISY, **kwargs) -> BC:
    arguments = {
        "batch_size": 10,
        "learning_rate": 1e-2,
        "validation_fraction": 0.25,
        "validation_freq": 5,
        "policy_kwargs": {"net_arch": [32]},
        "seed": 0,
    }
    return BC("MlpPolicy", None, demonstrations, **{**arguments, **kwargs})


def validation_losses(model: BC) -> dict[int, float]:
    """Timestep -> loss, as logged."""
    rows = [row for row in model.history if "train/validation_loss" in row]
    return {row["timesteps"]: row["train/validation_loss"] for row in rows}


def rows_of(batches) -> set[bytes]:
    observations = [rows["obs"].numpy() for _, rows in batches.in_order()]
    return {row.tobytes() for row in np.concatenate(observations).reshape(-1, 4)}


@pytest.mark.parametrize("policy_of", ["ppo", "recurrent_ppo"])
def test_no_episode_is_on_both_sides(policy_of):
    model = build(policy_of=policy_of)
    training, held_out = rows_of(model._batches), rows_of(model._held_out)
    assert len(training) == 90 and len(held_out) == 30
    sides = [
        {row.astype(np.float32).tobytes() in held_out for row in episode.observations[:-1]}
        for episode in NOISY.episodes()
    ]
    assert [len(side) for side in sides] == [1] * 12
    assert sum(side == {True} for side in sides) == 3


def test_the_validation_loss_is_the_mean_over_the_held_out_transitions():
    model = build(batch_size=7, ent_weight=1.0, l2_weight=1.0)  # 30 transitions are no 7s
    _, held_out = NOISY.split(0.25, seed=0)
    index = np.arange(len(held_out))
    observations = th.as_tensor(held_out.observations_at(index), dtype=th.float32)
    with th.no_grad():
        _, log_prob, _ = model.policy.evaluate_actions(
            observations, th.as_tensor(held_out.actions.copy())
        )
    loss = model._validation_loss(model._held_out)
    assert loss == pytest.approx(-float(log_prob.mean()), rel=1e-5)


def test_training_stops_after_patience_and_ends_with_the_best_weights():
    model = build(early_stopping_patience=3).learn(1000)
    losses = validation_losses(model)
    assert list(losses) == list(range(5, model.num_timesteps + 1, 5))
    best = min(losses, key=losses.__getitem__)
    assert model.num_timesteps == best + 3 * 5 < 1000
    assert model._validation_loss(model._held_out) == pytest.approx(losses[best], rel=1e-5)
    # The same run, ended by hand at its best, has the same weights.
    by_hand = build(validation_fraction=0.25).learn(best)
    assert differing(model.policy.state_dict(), by_hand.policy.state_dict()) == []


def test_without_patience_training_goes_on_and_ends_with_the_best_weights():
    model = build().learn(200)
    assert model.num_timesteps == 200
    losses = validation_losses(model)
    assert len(losses) == 40 and min(losses.values()) < losses[200]
    found = model._validation_loss(model._held_out)
    assert found == pytest.approx(min(losses.values()), rel=1e-5)


def test_by_default_each_pass_over_the_data_is_validated():
    model = build(validation_freq=None).learn(27)
    assert model.updates_per_epoch == 9
    assert list(validation_losses(model)) == [9, 18, 27]


@pytest.mark.parametrize("policy_of", ["ppo", "dqn", "recurrent_ppo"])
@pytest.mark.parametrize("first", [3, 30, 64])
def test_resuming_equals_never_having_stopped(policy_of, first, tmp_path):
    def fresh():
        return build(policy_of=policy_of, early_stopping_patience=10, seed=None)

    part = fresh()
    part.save(tmp_path / "start")  # both runs begin with the seed that was drawn
    whole = BC.load(tmp_path / "start", demonstrations=NOISY).learn(100)
    part = BC.load(tmp_path / "start", demonstrations=NOISY).learn(first)
    part.save(tmp_path / "part")
    resumed = BC.load(tmp_path / "part", demonstrations=NOISY)
    if part.num_timesteps == first:
        resumed.learn(100 - first, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    assert differing(whole.get_parameters(), resumed.get_parameters()) == []
    assert resumed.early_stopping.state() == whole.early_stopping.state()


def test_every_checkpoint_resumes_to_the_same_end(tmp_path):
    def fresh():
        return build(early_stopping_patience=3)

    whole = fresh().learn(1000, callback=CheckpointCallback(5, str(tmp_path), "bc"))
    end = whole.num_timesteps
    for steps in range(5, end + 1, 5):  # the last is written when training is about to stop
        resumed = BC.load(tmp_path / f"bc_{steps}_steps", demonstrations=NOISY)
        resumed.learn(1000 - steps, reset_num_timesteps=False)
        assert resumed.num_timesteps == end
        assert differing(whole.get_parameters(), resumed.get_parameters()) == []


def test_weights_put_in_between_are_kept():
    model, other = build().learn(100), build(seed=1)
    model.policy.load_state_dict(other.policy.state_dict())
    model.early_stopping.resume(model.policy)
    assert differing(model.policy.state_dict(), other.policy.state_dict()) == []


def test_a_new_training_forgets_the_best_of_the_last():
    model = build(early_stopping_patience=2).learn(1000)
    best = model.early_stopping.best_loss
    model.learn(5)  # begins anew, from the best weights
    assert model.num_timesteps == 5
    assert model.early_stopping.best_loss > best
    assert model.early_stopping.n_since_best == 0


def test_other_demonstrations_forget_it_too():
    model = build(early_stopping_patience=1).learn(1000)
    model.set_demonstrations(echo_like(NOISY))
    assert not model.early_stopping.is_exhausted
    assert model.learn(5, reset_num_timesteps=False).early_stopping.n_since_best == 0


def echo_like(data: Demonstrations) -> Demonstrations:
    return data[::-1]


def test_balanced_weights_count_the_episodes_that_are_trained_on():
    data = echo_demonstrations()
    model = BC("MlpPolicy", None, data, class_weights="balanced", validation_fraction=0.5, seed=0)
    training, _ = data.split(0.5, seed=0)
    counts = np.bincount(training.actions, minlength=4)
    expected = len(training) / (4 * counts)
    np.testing.assert_allclose(model._objective.class_weights, expected, rtol=1e-6)


def test_nothing_is_kept_where_nothing_is_validated(tmp_path):
    model = build(validation_fraction=0.0, validation_freq=None).learn(10)
    assert set(model.get_parameters()) == {"policy", "policy.optimizer"}
    assert validation_losses(model) == {}


def test_losses_that_are_no_numbers_are_never_the_best():
    network = th.nn.Linear(1, 1)
    stopping = EarlyStopping(patience=2)
    stopping.add(float("nan"), network)
    stopping.add(float("inf"), network)
    assert stopping.is_exhausted and stopping.state_dict() == {}
    stopping.finish(network)
    assert stopping.state() == {"best_loss": None, "n_since_best": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_fraction": 1.0}, r"validation_fraction=1.0 must lie within \[0, 1\)"),
        ({"validation_freq": 0}, r"validation_freq=0 must be at least 1"),
        ({"early_stopping_patience": 0}, r"early_stopping_patience=0 must be at least 1"),
        (
            {"early_stopping_patience": 2, "validation_fraction": 0.0},
            r"early_stopping_patience=2 counts validations: give validation_fraction=0.1 or so",
        ),
        ({"demonstrations": NOISY[:1]}, r"cannot hold out 0.25 of 1 episodes"),
        ({"batch_size": 100}, r"batch_size=100 does not fit 90 transitions"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        build(**arguments)
