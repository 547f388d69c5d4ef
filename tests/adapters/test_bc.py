"""Behavioural cloning: it learns, its losses are the formulas, and it resumes bit for bit."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scripted_experts import CARTPOLE, PENDULUM
from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnRewardThreshold
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import BC, Demonstrations, evaluate
from sb3_il_plus.adapters.objectives import Objective
from sb3_il_plus.adapters.policy_kinds import ACTOR_CRITIC
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import DataError, InapplicableError, UserError


@pytest.mark.parametrize(("loss", "normalize"), [("likelihood", False), ("mse", True)])
def test_learns_cartpole_from_data_alone(cartpole_demos, loss, normalize):
    # Random play returns about 32; over 10 seeds the clones' mean returns lay between 470 and 500.
    returns = [
        evaluate(
            BC(
                "MlpPolicy",
                None,
                cartpole_demos,
                loss=loss,
                normalize_observations=normalize,
                seed=seed,
            ).learn(1000),
            CARTPOLE,
            4,
            seed=100,
            n_envs=4,
        ).mean_return
        for seed in range(3)
    ]
    assert np.mean(returns) > 450


@pytest.mark.parametrize("loss", ["likelihood", "mse"])
def test_learns_pendulum(pendulum_demos, loss):
    # Random play returns about -1200, the scripted expert -140; seeds 0 and 1 both reached -178.
    model = BC("MlpPolicy", PENDULUM, pendulum_demos, loss=loss, batch_size=128, seed=0).learn(5000)
    assert evaluate(model, PENDULUM, 10, seed=100, n_envs=5).mean_return > -450


def numpy_logits(policy: ActorCriticPolicy, observations: np.ndarray) -> np.ndarray:
    """The policy's last layer, recomputed from its weights without torch."""
    weights = {name: value.detach().numpy() for name, value in policy.named_parameters()}
    hidden = observations
    for layer in (0, 2):
        prefix = f"mlp_extractor.policy_net.{layer}"
        hidden = np.tanh(hidden @ weights[f"{prefix}.weight"].T + weights[f"{prefix}.bias"])
    return hidden @ weights["action_net.weight"].T + weights["action_net.bias"]


def half_squared_norm(policy: ActorCriticPolicy) -> float:
    return (
        sum(float((p.detach().numpy().astype(np.float64) ** 2).sum()) for p in policy.parameters())
        / 2
    )


def test_discrete_losses_equal_the_formulas(cartpole_demos):
    model = BC("MlpPolicy", None, cartpole_demos, seed=0, ent_weight=0.1, l2_weight=0.01)
    observations, actions = cartpole_demos.observations[:7], cartpole_demos.actions[:7]
    logits = numpy_logits(model.policy, observations)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    likelihood = np.mean([-np.log(p[i, a]) for i, a in enumerate(actions)])
    entropy = np.mean(-(p * np.log(p)).sum(axis=1))
    expected = likelihood - 0.1 * entropy + 0.01 * half_squared_norm(model.policy)
    batch = th.as_tensor(np.array(observations)), th.as_tensor(np.array(actions))
    assert float(model.trainer.loss_calculator(model.policy, *batch).loss) == pytest.approx(
        expected, rel=1e-5
    )
    brier = np.mean(((p - np.eye(2)[actions]) ** 2).sum(axis=1))
    metrics = Objective(ACTOR_CRITIC, "mse", l2_weight=0.01)(model.policy, *batch)
    assert float(metrics.mse) == pytest.approx(brier, rel=1e-5)
    assert float(metrics.loss) == pytest.approx(
        brier + 0.01 * half_squared_norm(model.policy), rel=1e-5
    )


def test_continuous_losses_equal_the_formulas(pendulum_demos):
    model = BC("MlpPolicy", None, pendulum_demos, seed=0, ent_weight=0.1)
    with th.no_grad():
        model.policy.log_std.fill_(-0.3)
    observations, actions = pendulum_demos.observations[:7], pendulum_demos.actions[:7]
    mean, std = numpy_logits(model.policy, observations), np.exp(-0.3)
    log_density = -((actions - mean) ** 2) / (2 * std**2) - np.log(std) - 0.5 * np.log(2 * np.pi)
    entropy = 0.5 + 0.5 * np.log(2 * np.pi) + np.log(std)
    batch = th.as_tensor(np.array(observations)), th.as_tensor(np.array(actions))
    loss = model.trainer.loss_calculator(model.policy, *batch).loss
    assert float(loss) == pytest.approx(-log_density.mean() - 0.1 * entropy, rel=1e-5)
    squared = float(Objective(ACTOR_CRITIC, "mse")(model.policy, *batch).mse)
    assert squared == pytest.approx(np.mean((mean - actions) ** 2), rel=1e-5)


@pytest.mark.parametrize(
    ("action_space", "probabilities_of"),
    [(spaces.MultiDiscrete([2, 3]), [2, 3]), (spaces.MultiBinary(3), None)],
)
def test_squared_error_of_several_choices(action_space, probabilities_of):
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(6, 4)).astype(np.float32)
    action_space.seed(0)
    actions = np.array([action_space.sample() for _ in range(6)])
    data = Demonstrations.from_arrays(observations, actions, action_space=action_space)
    model = BC("MlpPolicy", None, data, batch_size=6, seed=0)
    logits = numpy_logits(model.policy, observations)
    if probabilities_of is None:
        expected = (((1 / (1 + np.exp(-logits))) - actions) ** 2).sum(axis=1).mean()
    else:
        expected, start = 0.0, 0
        for column, n in enumerate(probabilities_of):
            part = np.exp(logits[:, start : start + n])
            part /= part.sum(axis=1, keepdims=True)
            expected += ((part - np.eye(n)[actions[:, column]]) ** 2).sum(axis=1).mean()
            start += n
    batch = th.as_tensor(observations), th.as_tensor(actions)
    assert float(Objective(ACTOR_CRITIC, "mse")(model.policy, *batch).mse) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("first", [1, 150, 157, 200])  # within, and at the end of, an epoch of 156
def test_resuming_equals_never_having_stopped(cartpole_demos, tmp_path, first):
    whole = BC("MlpPolicy", None, cartpole_demos, seed=3).learn(300)
    part = BC("MlpPolicy", None, cartpole_demos, seed=3).learn(first)
    part.save(tmp_path / "bc")
    resumed = BC.load(tmp_path / "bc", demonstrations=cartpole_demos)
    resumed.learn(300 - first, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps == 300
    for name, value in whole.policy.state_dict().items():
        assert th.equal(value, resumed.policy.state_dict()[name]), name


def test_reloaded_policy_predicts_the_same_and_holds_no_pickle(cartpole_demos, tmp_path):
    # imitation's own util.save_policy / bc.reconstruct_policy fail here: torch >= 2.6 refuses them.
    model = BC("MlpPolicy", None, cartpole_demos, normalize_observations=True, seed=0).learn(300)
    model.save(tmp_path / "bc")
    loaded = BC.load(tmp_path / "bc")
    observations = np.array(cartpole_demos.observations)
    expected = model.predict(observations, deterministic=True)[0]
    np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], expected)


def test_sb3_callbacks_count_updates_and_stop(cartpole_demos):
    stop = StopTrainingOnRewardThreshold(reward_threshold=400)
    evaluation = EvalCallback(
        make_vec(CARTPOLE, seed=5),
        eval_freq=250,
        n_eval_episodes=2,
        callback_on_new_best=stop,
        verbose=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # EvalCallback warns where the environments' types differ
        model = BC("MlpPolicy", None, cartpole_demos, seed=0).learn(20_000, callback=evaluation)
    assert model.num_timesteps < 20_000
    assert model.num_timesteps % 250 == 0
    assert evaluation.last_mean_reward >= 400


def test_learning_rate_schedule_reaches_the_optimiser(cartpole_demos):
    seen = []

    def watch(variables, _):
        seen.append(model.policy.optimizer.param_groups[0]["lr"])
        return True

    model = BC("MlpPolicy", None, cartpole_demos, learning_rate=lambda left: 0.01 * left, seed=0)
    model.learn(100, callback=watch)
    np.testing.assert_allclose(seen, 0.01 * (1 - np.arange(100) / 100), atol=1e-9)


def test_gradients_accumulate_to_those_of_one_big_batch(cartpole_demos):
    def trained(minibatch_size):
        return BC(
            "MlpPolicy",
            None,
            cartpole_demos,
            batch_size=64,
            minibatch_size=minibatch_size,
            class_weights="balanced",
            l2_weight=1e-3,
            learning_rate=0.1,
            policy_kwargs={"optimizer_class": th.optim.SGD},
            seed=0,
        ).learn(10)

    whole, split = trained(None), trained(16)
    assert split.num_timesteps == 10
    for name, value in whole.policy.state_dict().items():
        th.testing.assert_close(split.policy.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_each_batch_of_dict_observations_is_one_update(cartpole_demos):
    """Upstream's own loop takes the number of entries for the size of the batch."""
    observations = cartpole_demos.observations_at(np.arange(200))
    data = Demonstrations.from_arrays(
        {"position": observations[:, :2], "angle": observations[:, 2:]},
        cartpole_demos.actions[:200],
        action_space=cartpole_demos.action_space,
    )
    steps = []
    model = BC("MultiInputPolicy", None, data, batch_size=20, seed=0)
    model.policy.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    model.learn(25)
    assert len(steps) == model.num_timesteps == 25
    batch = next(iter(model.trainer._demo_data_loader))
    assert len(batch["obs"]) == len(batch["acts"]) == 20


def test_balanced_class_weights_find_the_rare_choice():
    # One step in twenty turns right, and only a third of those that look alike do.
    rng = np.random.default_rng(0)
    rare = rng.random(2000) < 0.05
    alike = rare | (rng.random(2000) < 0.1)
    data = Demonstrations.from_arrays(
        alike.astype(np.float32)[:, None], rare.astype(int), action_space=spaces.Discrete(2)
    )
    turns = [
        BC("MlpPolicy", None, data, class_weights=weights, batch_size=100, seed=0)
        .learn(200)
        .predict(np.ones((1, 1), dtype=np.float32), deterministic=True)[0]
        .item()
        for weights in (None, "balanced", [1.0, 20.0])
    ]
    assert turns == [0, 1, 1]


def test_policy_sees_what_a_vec_normalize_shows(cartpole_demos):
    env = VecNormalize(make_vec(CARTPOLE, 2, seed=0))
    env.obs_rms.mean, env.obs_rms.var = np.full(4, 5.0), np.full(4, 9.0)
    model = BC("MlpPolicy", env, cartpole_demos, batch_size=len(cartpole_demos), seed=0)
    batch = next(iter(model._batches))
    raw = np.sort(cartpole_demos.observations_at(np.arange(len(cartpole_demos))), axis=0)
    np.testing.assert_allclose(np.sort(batch["obs"].numpy(), axis=0), (raw - 5) / 3, atol=1e-5)


def test_images_are_transposed_once_and_stay_bytes():
    rng = np.random.default_rng(0)
    space = spaces.Box(0, 255, (36, 40, 3), np.uint8)
    images = rng.integers(0, 256, (20, 36, 40, 3), dtype=np.uint8)
    data = Demonstrations.from_arrays(
        images, rng.integers(0, 2, 20), observation_space=space, action_space=spaces.Discrete(2)
    )

    class Camera(gym.Env):
        observation_space, action_space = space, spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return images[0], {}

    model = BC("CnnPolicy", Camera(), data, batch_size=20, seed=0)
    assert model.observation_space.shape == (3, 36, 40)
    batch = next(iter(model._batches))["obs"]
    assert batch.shape == (20, 3, 36, 40) and batch.dtype == th.uint8
    model.learn(2)
    assert model.predict(images[0])[0].shape == ()


def test_bad_input_is_named(cartpole_demos):
    with pytest.raises(DataError, match=r"batch_size=6000 does not fit 5000 transitions"):
        BC("MlpPolicy", None, cartpole_demos, batch_size=6000)
    with pytest.raises(UserError, match=r"loss='huber' must be one of 'auto', 'likelihood', 'mse'"):
        BC("MlpPolicy", None, cartpole_demos, loss="huber")
    with pytest.raises(InapplicableError, match=r"needs env=..., demonstrations=..., or both"):
        BC("MlpPolicy", None)
    with pytest.raises(DataError, match=r"does not fit the environment's"):
        BC("MlpPolicy", PENDULUM, cartpole_demos)
    with pytest.raises(UserError, match=r"no demonstrations to learn from"):
        BC("MlpPolicy", CARTPOLE).learn(10)
    with pytest.raises(UserError, match=r"total_timesteps=0 must be at least 1"):
        BC("MlpPolicy", None, cartpole_demos).learn(0)
    one_step = Demonstrations.from_arrays(np.zeros((1, 4)), [0], action_space=spaces.Discrete(2))
    with pytest.raises(DataError, match=r"a single step"):
        BC("MlpPolicy", None, one_step)
