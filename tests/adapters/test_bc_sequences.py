"""BC into RecurrentPPO's policy: the loss is that of a step-by-step memory, which is learned."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scipy.special import expit, log_softmax
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_il_plus import BC, Demonstrations, evaluate
from sb3_il_plus.adapters.batches import packed
from sb3_il_plus.errors import DataError, InapplicableError
from sb3_il_plus.testing.environments import echo_demonstrations

LENGTHS = [3, 7, 4, 6]
RNG = np.random.default_rng(0)
SMALL = {"net_arch": [], "lstm_hidden_size": 5, "enable_critic_lstm": False}


def some_data() -> Demonstrations:
    n = sum(LENGTHS)
    return Demonstrations.from_arrays(
        RNG.normal(size=(n, 3)),
        RNG.integers(0, 4, n),
        episode_lengths=LENGTHS,
        action_space=spaces.Discrete(4),
    )


def build(data, **kwargs) -> BC:
    arguments = {"policy_of": "recurrent_ppo", "seed": 0, "ent_weight": 0.0, "policy_kwargs": SMALL}
    return BC("MlpLstmPolicy", None, data, **{**arguments, **kwargs})


def unrolled(policy, observations: np.ndarray) -> np.ndarray:
    """The log-probabilities of all choices, with an LSTM written out in NumPy."""
    w = {name: value.detach().numpy() for name, value in policy.named_parameters()}
    hidden, cell = np.zeros(5), np.zeros(5)
    rows = []
    for x in observations:
        gates = (
            w["lstm_actor.weight_ih_l0"] @ x
            + w["lstm_actor.bias_ih_l0"]
            + w["lstm_actor.weight_hh_l0"] @ hidden
            + w["lstm_actor.bias_hh_l0"]
        )
        i, f, g, o = gates.reshape(4, 5)
        cell = expit(f) * cell + expit(i) * np.tanh(g)
        hidden = expit(o) * np.tanh(cell)
        rows.append(log_softmax(w["action_net.weight"] @ hidden + w["action_net.bias"]))
    return np.array(rows)


@pytest.mark.parametrize("sequence_length", [None, 3])
def test_the_loss_is_that_of_an_lstm_unrolled_step_by_step(sequence_length):
    data = some_data()
    model = build(data, sequence_length=sequence_length, batch_size=20)
    rows = []
    for episode in data.episodes():
        for start in range(0, len(episode), sequence_length or len(episode)):
            window = slice(start, start + (sequence_length or len(episode)))
            log_p = unrolled(model.policy, episode.observations[:-1][window])
            rows += list(log_p[np.arange(len(log_p)), episode.actions[window]])
    assert model._validation_loss(model._batches) == pytest.approx(-np.mean(rows), rel=1e-4)


def test_predicting_carries_the_same_memory():
    data = some_data()
    model = build(data, batch_size=20)
    observations = data.episode(1).observations[:-1].astype(np.float32)
    state, start, chosen = None, np.ones(1, dtype=bool), []
    for row in observations:
        action, state = model.predict(row[None], state, start, deterministic=True)
        chosen.append(action[0])
        start = np.zeros(1, dtype=bool)
    assert chosen == unrolled(model.policy, observations).argmax(axis=1).tolist()


def gradient(model: BC) -> th.Tensor:
    """Of one batch, as upstream accumulates it."""
    model.trainer.optimizer.zero_grad()
    for batch in map(packed, model._batches.parts(np.arange(4))):
        loss = model.trainer.loss_calculator(model.policy, batch["obs"], batch["acts"]).loss
        (loss * len(batch["obs"]) / model.trainer.batch_size).backward()
    return th.cat([p.grad.flatten() for p in model.policy.lstm_actor.parameters()])


@pytest.mark.parametrize(("minibatch_size", "parts"), [(7, 4), (14, 2)])
def test_gradients_accumulate_over_sequences_of_different_lengths(minibatch_size, parts):
    data = Demonstrations.concatenate([some_data(), some_data()])
    whole, split = (
        build(data, batch_size=28, minibatch_size=size) for size in (None, minibatch_size)
    )
    assert len(list(split._batches.parts(np.arange(4)))) == parts
    th.testing.assert_close(gradient(split), gradient(whole), rtol=1e-4, atol=1e-7)


class Recall(gym.Env):
    """Say in every step the bit that was shown in the first one."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._step, self._bit = 0, int(self.np_random.integers(2))
        return np.array([2 * self._bit - 1], np.float32), {}

    def step(self, action):
        self._step += 1
        right = float(action == self._bit)
        return np.zeros(1, np.float32), right, False, self._step == 6, {}


def recalled() -> Demonstrations:
    shown = [[2 * bit - 1] + [0] * 5 for bit in (0, 1) * 8]
    said = [[bit] * 6 for bit in (0, 1) * 8]
    return Demonstrations.from_arrays(
        np.array(shown, dtype=np.float32).reshape(-1, 1),
        np.array(said).ravel(),
        episode_lengths=[6] * 16,
        env=Recall(),
    )


def venv(n_envs=2):
    return DummyVecEnv([lambda: Monitor(Recall())] * n_envs)


@pytest.mark.parametrize("policy_of", ["recurrent_ppo", "ppo"])
def test_what_needs_memory_is_learned_by_a_policy_that_has_one(policy_of):
    is_recurrent = policy_of == "recurrent_ppo"
    kwargs = {"lstm_hidden_size": 16} if is_recurrent else {}
    evaluation = EvalCallback(venv(), eval_freq=150, n_eval_episodes=20, verbose=0, warn=False)
    model = BC(
        "MlpPolicy",
        None,
        recalled(),
        policy_of=policy_of,
        learning_rate=1e-2,
        policy_kwargs={"net_arch": [], **kwargs},
        seed=0,
    ).learn(150, callback=evaluation)
    mean = evaluate(model, venv(), 20, seed=0).mean_return
    # Without memory only the first of six steps is more than a guess.
    assert mean == 6 if is_recurrent else mean < 5
    assert is_recurrent == (evaluation.last_mean_reward == 6)
    assert is_recurrent == (evaluate_policy(model, venv(), 20)[0] == 6)


def test_dict_observations_and_normalisation():
    data = echo_demonstrations("Dict", "Discrete")
    model = BC("MultiInputPolicy", None, data, policy_of="recurrent_ppo", sequence_length=5)
    batch = next(iter(model._batches))
    assert {key: tuple(value.shape) for key, value in batch["obs"].items()} == {
        "bit": (6, 5, 1),
        "command": (6, 5),
    }
    assert model.learn(3).num_timesteps == 3
    env = VecNormalize(venv())
    env.obs_rms.mean, env.obs_rms.var = np.full(1, 5.0), np.full(1, 4.0)
    model = BC("MlpPolicy", env, recalled(), policy_of="recurrent_ppo")
    assert float(next(iter(model._batches))["obs"].max()) == pytest.approx(-2)


def test_bad_arguments_are_named():
    with pytest.raises(
        InapplicableError, match=r"sequence_length=5 is for policies with a memory;"
    ):
        BC("MlpPolicy", None, some_data(), sequence_length=5)
    with pytest.raises(DataError, match=r"batch_size=100 does not fit 20 transitions"):
        build(some_data(), batch_size=100)
