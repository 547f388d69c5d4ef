"""DAgger and GAIL with policies that read a command: what they learn from holds it, too."""

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus import AIRL, BC, GAIL, DAgger, Demonstrations, evaluate
from sb3_il_plus.conditional import BranchedPolicy, CommandInputPolicy, UnconditionalPolicy
from sb3_il_plus.conditional.driving import DrivingExpert, DrivingVecEnv
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.testing.environments import HORIZON, echo_demonstrations, make_echo


def test_dagger_learns_to_drive_as_told():
    success = {}
    for policy in (BranchedPolicy, UnconditionalPolicy):
        model = DAgger(
            policy,
            DrivingVecEnv(4),
            expert=DrivingExpert(),
            loss="mse",
            batch_size=60,
            balance_over="command",
            rollout_round_min_timesteps=250,
            n_epochs=20,
            seed=0,
            device="cpu",
        )
        model.learn(1000)
        success[policy] = evaluate(model, DrivingVecEnv(50), 100, seed=1).mean_return
    # What the learner drove and the expert labelled has the commands that the learner was given.
    assert set(model.demonstrations.observations["command"]) == {0, 1, 2, 3}
    assert success[BranchedPolicy] >= 0.9
    assert success[UnconditionalPolicy] <= 0.5


def adversary(algorithm, policy, **arguments):
    arguments = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, **arguments}
    return algorithm(
        policy,
        make_echo("Dict", n_envs=4),
        echo_demonstrations("Dict", "Discrete", n_episodes=32),
        demo_batch_size=arguments["batch_size"],
        generator_kwargs=arguments,
        seed=0,
        device="cpu",
    )


@pytest.mark.slow
def test_gail_learns_to_do_as_told():
    model = adversary(
        GAIL, BranchedPolicy, n_steps=64, batch_size=64, n_epochs=10, learning_rate=3e-3
    ).learn(4096)
    # One of the two bits to say is the command: who does not read it is right in 3/4 of them.
    assert evaluate(model, make_echo("Dict"), 20, seed=1).mean_return > 0.9 * HORIZON


@pytest.mark.parametrize(
    "algorithm, policy",
    [(GAIL, BranchedPolicy), (GAIL, CommandInputPolicy), (AIRL, BranchedPolicy)],
)
def test_the_discriminator_reads_the_command(algorithm, policy):
    """The right answer to one command is the wrong one to the other, and the reward says so."""
    model = adversary(algorithm, policy)
    demonstrations = model.demonstrations
    model.learn(1)
    index = np.arange(len(demonstrations))
    told = demonstrations.observations_at(index)
    told_otherwise = {**told, "command": 1 - told["command"]}
    rest = demonstrations.actions, demonstrations.next_observations_at(index), index < 0
    rewards, others = (model.predict_reward(each, *rest) for each in (told, told_otherwise))
    assert np.abs(rewards - others).min() > 1e-6


def data():
    """Four steps of one command among sixteen."""
    return Demonstrations.from_arrays(
        {"state": np.zeros((17, 2), np.float32), "command": np.array([0] * 13 + [1] * 4)},
        np.zeros(16, np.int64),
        episode_lengths=[16],
        observation_space=spaces.Dict(
            {"state": spaces.Box(-1, 1, (2,), np.float32), "command": spaces.Discrete(2)}
        ),
        action_space=spaces.Discrete(3),
    )


@pytest.mark.parametrize("balance_over, counts", [("command", [4, 4]), (None, [13, 3])])
def test_batches_are_balanced_over_an_entry(balance_over, counts):
    batch_size = sum(counts)
    model = BC(BranchedPolicy, None, data(), batch_size=batch_size, balance_over=balance_over)
    rows = model._batches.rows(model._batches.sampler.next())
    assert np.bincount(rows["obs"]["command"]).tolist() == counts


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"balance_over": "comand"}, "balance_over='comand' must be an entry of the observation"),
        ({"balance_over": "state"}, r"choice \(Discrete\); there are {.*'state': Box"),
        (
            {"balance_over": "command", "policy_of": "recurrent_ppo"},
            "balances single steps, and RecurrentMultiInputActorCriticPolicy learns from sequences",
        ),
    ],
)
def test_entries_that_cannot_be_balanced_over(arguments, message):
    with pytest.raises(InapplicableError, match=message):
        BC("MultiInputPolicy", None, data(), **arguments)
