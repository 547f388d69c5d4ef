"""DAgger where few demonstrations are not enough: Hopper, with an agent of the RL Zoo to ask."""

from pathlib import Path

import pytest

from sb3_il_plus import DAgger, evaluate, load_expert
from sb3_il_plus.environments import make_vec

AGENT = Path(__file__).parents[2].parent / "shared" / "rl_zoo_agents" / "ars" / "Hopper-v3_1"


@pytest.mark.slow
@pytest.mark.skipif(not AGENT.exists(), reason="needs the agents of the RL Zoo")
def test_reaches_its_expert_on_hopper() -> None:
    pytest.importorskip("mujoco")
    expert = load_expert(AGENT, "Hopper-v4")
    model = DAgger(
        "MlpPolicy",
        make_vec("Hopper-v4", 4),
        expert=expert,
        loss="mse",
        batch_size=256,
        normalize_observations=True,
        beta_rampdown_rounds=1,
        rollout_round_min_timesteps=2_000,
        policy_kwargs={"net_arch": [64, 64]},
        seed=0,
        device="cpu",
    )
    model.learn(16_000)
    assert model.n_expert_queries == model.num_timesteps
    asked, learned = (evaluate(agent, "Hopper-v4", 5, seed=1) for agent in (expert, model))
    assert asked.mean_return > 3000
    # BC on two episodes of an expert reaches a third; three seeds of this reached 98 % and more.
    assert learned.mean_return > 0.9 * asked.mean_return
