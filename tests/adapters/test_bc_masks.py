"""BC into MaskablePPO's policy: what is forbidden has no probability in the loss, nor in acting."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate_masked
from scipy.special import log_softmax
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_il_plus import BC, Demonstrations, collect, evaluate
from sb3_il_plus.errors import DataError

HORIZON = 10


class SecondBest(gym.Env):
    """Choose the largest of three numbers whose choice is allowed; the largest of all never is.

    :param shows_mask: observe a dict with the entry `action_mask`
    """

    action_space = spaces.Discrete(3)

    def __init__(self, shows_mask: bool = False) -> None:
        self.shows_mask = shows_mask
        numbers = spaces.Box(-3, 3, (3,), np.float32)
        self.observation_space = (
            spaces.Dict({"numbers": numbers, "action_mask": spaces.MultiBinary(3)})
            if shows_mask
            else numbers
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._step = 0
        return self._observe(), {}

    def step(self, action):
        reward = float(action == np.argsort(self._numbers)[1])
        self._step += 1
        return self._observe(), reward, False, self._step == HORIZON, {}

    def action_masks(self):
        return np.arange(3) != self._numbers.argmax()

    def _observe(self):
        self._numbers = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        if self.shows_mask:
            return {"numbers": self._numbers, "action_mask": self.action_masks().astype(np.int8)}
        return self._numbers


def second_best(observation) -> int:
    numbers = observation["numbers"] if isinstance(observation, dict) else observation
    return int(np.argsort(numbers)[1])


def venv(shows_mask=False, n_envs=5):
    return DummyVecEnv([lambda: Monitor(SecondBest(shows_mask))] * n_envs)


def demonstrations(shows_mask=False, n_episodes=60) -> Demonstrations:
    data = collect(second_best, venv(shows_mask), n_episodes=n_episodes, seed=0)
    if shows_mask:
        return data
    numbers = data.observations_at(np.arange(len(data)))
    columns = {**data.columns(), "action_masks": np.eye(3)[numbers.argmax(axis=1)] == 0}
    return Demonstrations.from_columns(columns, data.observation_space, data.action_space)


def build(shows_mask, **kwargs) -> BC:
    policy = "MultiInputPolicy" if shows_mask else "MlpPolicy"
    arguments = {"learning_rate": 3e-3, "seed": 0, "policy_kwargs": {"net_arch": [32]}}
    data = kwargs.pop("data", None) or demonstrations(shows_mask)
    return BC(policy, None, data, policy_of="maskable_ppo", **{**arguments, **kwargs})


@pytest.mark.parametrize("shows_mask", [False, True])
def test_the_loss_is_over_the_allowed_choices(shows_mask):
    data = demonstrations(shows_mask, n_episodes=5)
    model = build(shows_mask, data=data, batch_size=len(data), ent_weight=0.1)
    batch = next(iter(model.trainer._demo_data_loader))
    losses = model.trainer.loss_calculator(model.policy, batch["obs"], batch["acts"])
    observations = batch["obs"] if shows_mask else batch["obs"]["sb3_il_plus.observations"]
    numbers = (observations["numbers"] if shows_mask else observations).numpy()
    if shows_mask:
        observations = {k: v for k, v in observations.items() if not k.startswith("sb3_il_plus")}
    with th.no_grad():
        logits = model.policy.get_distribution(observations).distribution.logits.numpy()
    allowed = np.eye(3)[numbers.argmax(axis=1)] == 0
    pairs = logits[allowed].reshape(-1, 2)
    chosen = np.cumsum(allowed, axis=1)[np.arange(len(pairs)), batch["acts"].numpy()] - 1
    log_p = log_softmax(pairs, axis=1)
    expected = -log_p[np.arange(len(pairs)), chosen].mean()
    assert losses.neglogp.item() == pytest.approx(expected, rel=1e-5)
    assert losses.entropy.item() == pytest.approx(-(np.exp(log_p) * log_p).sum(axis=1).mean())


@pytest.mark.filterwarnings("ignore:.*env.action_masks to get variables")
@pytest.mark.parametrize("shows_mask", [False, True])
def test_it_learns_and_never_does_what_is_forbidden(shows_mask):
    # Random allowed choices get 5 of 10, the expert 10; these get at least 9.5.
    model = build(shows_mask).learn(400)
    assert evaluate(model, venv(shows_mask), 20, seed=1).mean_return > 9
    # Whoever collects with it records the masks that it obeyed.
    again = collect(model, venv(shows_mask), n_episodes=5, seed=2)
    assert again.action_masks.shape == (50, 3) and not again.action_masks.all()
    mean, _ = evaluate_masked(model, venv(shows_mask), 20)
    assert mean > 9
    if shows_mask:  # SB3's own evaluation hands over no masks, but the observation has them
        assert evaluate_policy(model, venv(True), 20)[0] > 9


def test_without_masks_all_choices_are_allowed():
    data = collect(second_best, venv(), n_episodes=5, seed=0)
    assert data.action_masks is None
    model = build(False, data=data)
    observations = th.as_tensor(data.observations_at(np.arange(50)))
    actions = th.as_tensor(data.actions.copy())
    with th.no_grad():
        losses = model.trainer.loss_calculator(model.policy, observations, actions)
        log_p = model.policy.get_distribution(observations).distribution.logits.numpy()
    expected = -log_softmax(log_p, axis=1)[np.arange(50), data.actions].mean()
    assert losses.neglogp.item() == pytest.approx(expected, rel=1e-5)


def test_masks_stay_with_their_episodes_when_some_are_held_out():
    model = build(False, validation_fraction=0.2, validation_freq=10).learn(20)
    assert all("train/validation_loss" in row for row in model.history[-2:])


def test_an_expert_that_does_what_its_mask_forbids_is_named():
    data = demonstrations(shows_mask=True, n_episodes=5)
    columns = {name: np.array(column) for name, column in data.columns().items()}
    columns["observations['action_mask']"][HORIZON + 4] = 0  # episode 0 has 11 observations
    wrong = Demonstrations.from_columns(columns, data.observation_space, data.action_space)
    message = r"observations\['action_mask'\]: episode 1, step 3: the mask forbids the action that"
    with pytest.raises(DataError, match=message):
        build(True, data=wrong)
