"""HalfCheetah and Hopper: Minari's and D4RL's files as they are published, and data made here."""

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus import IQL, TD3BC, Demonstrations, make_dataset, normalized_score

ZOO = Path(__file__).parents[2].parent / "shared" / "rl_zoo_agents"
LENGTH, N_EPISODES = 30, 4
QUICK = {"policy_kwargs": {"net_arch": [16]}, "batch_size": 32, "seed": 0, "device": "cpu"}


def episode(seed):
    """Columns of HalfCheetah's shapes, as float64, which is what both collections hold."""
    rng = np.random.default_rng(seed)
    return {
        "observations": rng.normal(size=(LENGTH + 1, 17)),
        "actions": rng.uniform(-1, 1, size=(LENGTH, 6)).astype(np.float32),
        "rewards": rng.normal(size=LENGTH),
    }


def check_halfcheetah(demos):
    """It has the episodes above, each of which a time limit cut, and can be learned from."""
    assert demos.n_episodes == N_EPISODES and len(demos) == N_EPISODES * LENGTH
    assert demos.truncations.sum() == N_EPISODES and not demos.terminations.any()
    for number, found in enumerate(demos.episodes()):
        expected = episode(number)
        np.testing.assert_allclose(found.actions, expected["actions"])
        np.testing.assert_allclose(found.rewards, expected["rewards"], rtol=1e-6)
        seen = found.observations[:-1]
        np.testing.assert_allclose(seen, expected["observations"][:-1], rtol=1e-6)
    model = TD3BC("MlpPolicy", None, demos, **QUICK).learn(3)
    action, _ = model.predict(episode(0)["observations"][0], deterministic=True)
    assert action.shape == (6,)


def test_minari_s_halfcheetah_medium(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    ends = np.arange(LENGTH) == LENGTH - 1
    buffers = [
        minari.data_collector.EpisodeBuffer(
            **episode(number), terminations=np.zeros(LENGTH, bool), truncations=ends
        )
        for number in range(N_EPISODES)
    ]
    with pytest.warns(UserWarning):  # that nothing is known of its author
        minari.create_dataset_from_buffers(
            "mujoco/halfcheetah/medium-v0",
            buffers,
            observation_space=spaces.Box(-np.inf, np.inf, (17,), np.float64),
            action_space=spaces.Box(-1, 1, (6,), np.float32),
        )
    demos = Demonstrations.load("mujoco/halfcheetah/medium-v0")
    assert demos.metadata["minari_id"] == "mujoco/halfcheetah/medium-v0"
    assert normalized_score(12135.0, demos.metadata["minari_id"]) == pytest.approx(100)
    check_halfcheetah(demos)


def test_d4rl_s_halfcheetah_medium(tmp_path):
    path = tmp_path / "halfcheetah_medium-v2.hdf5"
    columns = [episode(number) for number in range(N_EPISODES)]
    ends = np.tile(np.arange(LENGTH) == LENGTH - 1, N_EPISODES)
    with h5py.File(path, "w") as file:
        for name in ("actions", "rewards"):
            file[name] = np.concatenate([part[name] for part in columns]).astype(np.float32)
        seen = [part["observations"].astype(np.float32) for part in columns]
        file["observations"] = np.concatenate([part[:-1] for part in seen])
        file["next_observations"] = np.concatenate([part[1:] for part in seen])
        file["terminals"], file["timeouts"] = np.zeros_like(ends), ends
        file["infos/action_log_probs"] = np.zeros(len(ends))
    check_halfcheetah(Demonstrations.load(path))


@pytest.mark.slow
@pytest.mark.skipif(not ZOO.is_dir(), reason="the agents of RL Zoo are not here")
@pytest.mark.parametrize(
    ("env_id", "expert", "medium"),
    [("HalfCheetah-v4", "sac", "a2c"), ("Hopper-v4", "trpo", "a2c")],
)
def test_medium_expert_and_mixed_data_of_rl_zoo_s_agents(env_id, expert, medium):
    pytest.importorskip("mujoco")
    folder = env_id.replace("-v4", "-v3_1")
    agents = {"expert": ZOO / expert / folder, "medium": ZOO / medium / folder}
    mixed = "random + medium + expert"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium says that v5 is newer
        made = {
            recipe: make_dataset(env_id, recipe, n_episodes=6, reference=env_id, **agents)
            for recipe in ("medium", "expert", mixed)
        }
    returns = {recipe: demos.episode_returns for recipe, demos in made.items()}
    assert returns["medium"].mean() < returns["expert"].mean()
    assert returns[mixed][:2].max() < returns[mixed][4:].min(), "two of each agent, random first"
    for demos in made.values():
        model = IQL("MlpPolicy", None, demos, **QUICK).learn(20, log_interval=20)
        losses = [model.history[-1][f"train/{name}_loss"] for name in ("value", "actor", "critic")]
        assert np.isfinite(losses).all()
