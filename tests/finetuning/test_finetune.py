"""Fine-tuning: what is frozen stays, what is anchored is pulled back, nothing acts at random."""

import copy
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.vec_env import VecNormalize
from torch.distributions import Categorical, kl_divergence

from sb3_il_plus import BC, IQL, Demonstrations, evaluate, finetune
from sb3_il_plus.data.returns import returns_to_go
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.finetuning.callbacks import Anchor, CriticWarmup
from sb3_il_plus.finetuning.critic import fit_critic
from sb3_il_plus.finetuning.parts import divergence
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo

SMALL = {"policy_kwargs": {"net_arch": [16]}, "device": "cpu", "seed": 0}
PLAIN = {"n_steps": 16, "batch_size": 16, "n_epochs": 2}
KINDS = [
    ("ppo", "Discrete", PPO),
    ("a2c", "Box", A2C),
    ("sac", "Box", SAC),
    ("td3", "Box", TD3),
]


def cloned(policy_of="ppo", action="Discrete", n=150, observation="Box", rewards=False):
    demos = echo_demonstrations(observation, action, seed=0)
    if not rewards:
        demos = replace(demos, rewards=None)
    policy = "MultiInputPolicy" if observation == "Dict" else "MlpPolicy"
    return BC(policy, None, demos, policy_of=policy_of, **SMALL).learn(n)


def arguments_of(policy_of):
    return PLAIN if policy_of == "ppo" else {}


def actor_state(model):
    critics = ("critic", "value_net", "vf_", "target")
    return {
        name: value.clone()
        for name, value in model.policy.state_dict().items()
        if not any(part in name for part in critics)
    }


class Watch(BaseCallback):
    """Keeps the actor's weights as they are when each rollout begins, and what it sees and does."""

    def __init__(self):
        super().__init__()
        self.states, self.observations, self.actions = [], [], []

    def _on_rollout_start(self):
        self.states.append((self.model.num_timesteps, actor_state(self.model)))

    def _on_step(self):
        self.observations.append(self.model._last_obs)  # which SB3 replaces after this
        self.actions.append(np.array(self.locals["actions"]))
        return True


@pytest.mark.parametrize(("policy_of", "action", "kind"), KINDS)
def test_the_actor_waits_for_the_critic(policy_of, action, kind):
    watch = Watch()
    model = finetune(
        cloned(policy_of, action),
        make_echo("Box", action),
        96,
        warmup_timesteps=48,
        callback=watch,
        **arguments_of(policy_of),
    )
    assert type(model) is kind
    first = watch.states[0][1]
    for steps, state in watch.states:
        same = all(th.equal(state[name], value) for name, value in first.items())
        if steps <= 48:
            assert same, f"the actor changed before step {steps}"
    assert not all(th.equal(actor_state(model)[name], value) for name, value in first.items())


@pytest.mark.parametrize("policy_of", ["ppo", "sac"])
def test_the_critic_learns_meanwhile(policy_of):
    clone = cloned(policy_of, "Box")
    plain = clone.to_sb3(**arguments_of(policy_of))
    before = {name: value.clone() for name, value in plain.policy.state_dict().items()}
    plain.set_env(make_echo("Box", "Box"))
    plain.learn(32, callback=CriticWarmup(1000))
    changed = {
        name
        for name, value in plain.policy.state_dict().items()
        if not th.equal(before[name], value)
    }
    assert changed and all("value_net" in name or "critic" in name for name in changed)
    if policy_of == "sac":
        assert plain.log_ent_coef.item() == 0.0


def test_no_action_is_random():
    """A fresh SAC would act at random for 100 steps."""
    clone = cloned("td3", "Box")
    watch = Watch()
    finetune(clone, make_echo("Box", "Box"), 20, warmup_timesteps=20, callback=watch)
    expected, _ = clone.predict(np.concatenate(watch.observations), deterministic=True)
    np.testing.assert_allclose(np.concatenate(watch.actions), expected, atol=1e-5)


class TestCriticOnDemonstrations:
    def test_it_learns_the_returns_and_nothing_else_changes(self):
        clone = cloned(rewards=True)
        plain, told = (clone.to_sb3(gamma=0.5, **PLAIN) for _ in range(2))
        fit_critic(told, clone.demonstrations, 300, learning_rate=1e-2)
        data = clone.demonstrations
        wanted = returns_to_go(data.rewards, data.offsets, 0.5)
        observations = plain.policy.obs_to_tensor(data.observations_at(np.arange(len(data))))[0]
        errors = [
            np.abs(model.policy.predict_values(observations).detach().flatten().numpy() - wanted)
            for model in (plain, told)
        ]
        assert errors[1].mean() < 0.5 * errors[0].mean()
        before, after = actor_state(plain), actor_state(told)
        assert all(th.equal(after[name], value) for name, value in before.items())

    @pytest.mark.parametrize(("ended", "worth"), [("terminations", 1.375), ("truncations", 4.0)])
    def test_what_was_cut_goes_on(self, ended, worth):
        """A reward of 1 in both steps, in a state that never changes."""
        episode = {
            "observations": np.zeros((3, 1)),
            "actions": [0, 0],
            "rewards": [1.0, 1.0],
            ended: [False, True],
        }
        demos = Demonstrations.from_columns(
            {"terminations": [False] * 2, "truncations": [False] * 2, **episode, "offsets": [0, 2]},
            gym.spaces.Box(-1, 1, (1,)),
            gym.spaces.Discrete(2),
        )
        model = BC("MlpPolicy", None, demos, batch_size=1, **SMALL).to_sb3(gamma=0.75, **PLAIN)
        fit_critic(model, demos, 600, batch_size=1, learning_rate=1e-2)
        value = model.policy.predict_values(th.zeros(1, 1)).item()
        assert value == pytest.approx(worth, rel=0.15)

    def test_it_is_part_of_the_recipe(self):
        class First(BaseCallback):
            def _on_training_start(self):
                states = self.model.policy.obs_to_tensor(np.zeros((1, 2)))[0]
                self.value = self.model.policy.predict_values(states).item()

            def _on_step(self):
                return True

        values = {}
        clone = cloned(n=1, rewards=True)
        env = make_echo("Box", "Discrete")
        shifted = replace(clone.demonstrations, rewards=clone.demonstrations.rewards - 10)
        for name, given in {
            "default": {"demonstrations": shifted, "critic_updates": 200},
            "none": {"demonstrations": shifted, "critic_updates": 0},
        }.items():
            first = First()
            finetune(clone, env, 16, callback=first, **given, **PLAIN)
            values[name] = first.value
        scaled = VecNormalize(make_echo("Box", "Discrete"), norm_obs=False)
        finetune(clone, scaled, 16, callback=first, demonstrations=shifted, **PLAIN)
        assert values["default"] < values["none"] - 1
        assert first.value == pytest.approx(values["none"], abs=1e-3)

    def test_demonstrations_without_rewards(self):
        clone = cloned(n=1)
        with pytest.raises(
            DataError, match="have no rewards, which a critic learns from; critic_u"
        ):
            finetune(
                clone,
                make_echo("Box", "Discrete"),
                16,
                demonstrations=clone.demonstrations,
                **PLAIN,
            )


class TestDivergence:
    def test_of_choices_is_kl(self):
        first, second = cloned(n=10).policy, cloned(n=60).policy
        observations = th.as_tensor(make_echo("Box", "Discrete", 20).reset())
        p, q = (
            Categorical(each.get_distribution(observations).distribution.probs)
            for each in (first, second)
        )
        expected = kl_divergence(p, q).mean()
        assert divergence(second, first, observations).item() == pytest.approx(
            expected.item(), rel=1e-4
        )
        assert expected > 0.01

    def test_of_sacs_is_that_of_gaussians_before_the_tanh(self):
        first, second = cloned("sac", "Box", 10).policy, cloned("sac", "Box", 60).policy
        observations = th.as_tensor(make_echo("Box", "Box", 20).reset())
        (m, s, _), (n, t, _) = (
            each.actor.get_action_dist_params(observations) for each in (first, second)
        )
        by_hand = t - s + (s.exp() ** 2 + (m - n) ** 2) / (2 * t.exp() ** 2) - 0.5
        found = divergence(second, first, observations)
        assert found.item() == pytest.approx(by_hand.sum(-1).mean().item(), rel=1e-4)

    @pytest.mark.parametrize(("policy_of", "action", "_"), [*KINDS, ("dqn", "Discrete", DQN)])
    def test_gradients_flow_to_the_first_alone(self, policy_of, action, _):
        policy, reference = cloned(policy_of, action, 5).policy, cloned(policy_of, action, 9).policy
        observations = th.as_tensor(make_echo("Box", action, 20).reset())
        divergence(policy, reference, observations).backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in policy.parameters())
        assert all(p.grad is None for p in reference.parameters())


class TestAnchor:
    def test_its_gradient_is_added_with_its_weight(self):
        """One step of SGD on a reward that says nothing moves the actor by the anchor alone."""
        model = A2C(
            "MlpPolicy",
            make_echo("Box", "Discrete"),
            policy_kwargs={"net_arch": [8], "optimizer_class": th.optim.SGD},
            learning_rate=0.1,
            device="cpu",
            seed=0,
        )
        anchor = Anchor(0.5, timesteps=10**9, batch_size=8)
        anchor.init_callback(model._setup_learn(1)[1].model or model)
        anchor._on_training_start()
        with th.no_grad():
            model.policy.action_net.bias.copy_(th.tensor([1.0, 0.0, 0.0, 0.0]))
        states = make_echo("Box", "Discrete", 8).reset()
        anchor._draw = lambda: th.as_tensor(states)
        twin = copy.deepcopy(model.policy)
        divergence(twin, anchor.reference, th.as_tensor(states)).backward()
        expected = twin.action_net.bias.detach() - 0.1 * 0.5 * twin.action_net.bias.grad
        model.policy.optimizer.zero_grad()
        model.policy.optimizer.step()
        assert th.allclose(model.policy.action_net.bias, expected, atol=1e-6)

    @pytest.mark.parametrize(("policy_of", "action", "kind"), KINDS)
    def test_a_strong_one_holds_the_policy(self, policy_of, action, kind):
        """Rewards that teach the contrary move a policy less, the stronger it is held."""
        distances = []
        for weight in (0.0, 30.0):
            clone = cloned(policy_of, action)
            model = finetune(
                clone,
                make_contrary(action),
                96,
                warmup_timesteps=0,
                anchor_weight=weight,
                anchor_timesteps=10**9,
                learning_rate=1e-2,
                **arguments_of(policy_of),
            )
            observations = th.as_tensor(make_echo("Box", action, 50, seed=1).reset())
            with th.no_grad():
                distances.append(divergence(model.policy, clone.policy, observations).item())
        assert distances[1] < 0.5 * distances[0]

    def test_its_weight_decays_and_is_logged(self):
        rows = []

        class Rows(BaseCallback):
            def _on_rollout_start(self):
                rows.append(self.logger.name_to_value["finetune/anchor_weight"])

            def _on_step(self):
                return True

        finetune(
            cloned(),
            make_echo("Box", "Discrete"),
            96,
            warmup_timesteps=16,
            anchor_weight=2.0,
            anchor_timesteps=32,
            callback=Rows(),
            **PLAIN,
        )
        assert rows == [0.0, 2.0, 1.0, 0.0, 0.0, 0.0]


def make_contrary(action):
    """An EchoEnv that pays for what is wrong."""
    venv = make_echo("Box", action)
    for each in venv.envs:
        each.env = gym.wrappers.TransformReward(each.env, lambda reward: -reward)
    return venv


def test_nothing_of_ours_stays_in_the_model(tmp_path):
    model = finetune(
        cloned(),
        make_echo("Box", "Discrete"),
        64,
        callback=[CheckpointCallback(16, str(tmp_path))],
        **PLAIN,
    )
    assert not model.policy.optimizer._optimizer_step_pre_hooks
    saved = sorted(tmp_path.glob("*.zip"))
    assert len(saved) == 4 and PPO.load(saved[0], device="cpu").num_timesteps == 16


def test_dict_observations():
    clone = cloned(observation="Dict")
    model = finetune(clone, make_echo("Dict", "Discrete"), 48, **PLAIN)
    assert model.num_timesteps == 48


def test_offline_policies_go_on_with_their_data():
    demos = echo_demonstrations("Box", "Box", seed=0)
    model = IQL("MlpPolicy", None, demos, batch_size=16, **SMALL).learn(30)
    tuned = finetune(model, make_echo("Box", "Box"), 40, warmup_timesteps=10)
    assert type(tuned) is SAC
    assert tuned.replay_buffer.size() == len(demos) + 40


def test_demonstrations_with_rewards_fill_the_replay_buffer():
    clone = cloned("sac", "Box", rewards=True)
    tuned = finetune(clone, make_echo("Box", "Box"), 10, warmup_timesteps=0)
    assert tuned.replay_buffer.size() == len(clone.demonstrations) + 10
    bare = cloned("sac", "Box")
    assert finetune(bare, make_echo("Box", "Box"), 10).replay_buffer.size() == 10


def test_a_model_of_sb3_is_tuned_as_it_is():
    plain = cloned().to_sb3(**PLAIN)
    assert finetune(plain, make_echo("Box", "Discrete"), 32) is plain
    assert plain.num_timesteps == 32
    with pytest.raises(UserError, match="learning_rate: a PPO of SB3 is fine-tuned as it is; b"):
        finetune(plain, None, 32, learning_rate=1.0)
    with pytest.raises(UserError, match="begins with one of our models or one of SB3's, not with"):
        finetune("bc.zip", None, 32)


def test_the_deviation_of_actions():
    clone = cloned(action="Box")
    model = finetune(clone, make_echo("Box", "Box"), 16, initial_std=0.25, **PLAIN)
    assert th.allclose(model.policy.log_std.exp(), th.tensor(0.25), atol=0.02)
    with pytest.raises(UserError, match=r"initial_std=0.25 must be positive, and is for on-policy"):
        finetune(cloned(), make_echo("Box", "Discrete"), 16, initial_std=0.25, **PLAIN)


class TestRefusals:
    def test_numbers(self):
        for given, message in (
            ({"warmup_timesteps": -1}, "warmup_timesteps=-1 must be at least 0"),
            ({"anchor_weight": -1.0}, "anchor_weight=-1.0 must be at least 0"),
            ({"critic_updates": -1}, "critic_updates=-1 must be at least 0"),
            ({"anchor_timesteps": -5}, "anchor_timesteps=-5 must be at least 0"),
        ):
            with pytest.raises(UserError, match=message):
                finetune(cloned(n=1), make_echo("Box", "Discrete"), 16, **given, **PLAIN)
        with pytest.raises(UserError, match="total_timesteps=0 must be at least 1"):
            finetune(cloned(n=1), make_echo("Box", "Discrete"), 0)

    def test_trpo_has_no_optimizer_for_its_actor(self):
        with pytest.raises(InapplicableError, match="TRPO does not change its policy by an optim"):
            finetune(cloned(n=1), make_echo("Box", "Discrete"), 16, "trpo")
        tuned = finetune(
            cloned(n=1),
            make_echo("Box", "Discrete"),
            16,
            "trpo",
            warmup_timesteps=0,
            anchor_weight=0,
            n_steps=16,
        )
        assert tuned.num_timesteps == 16

    def test_memories_have_no_distance(self):
        clone = cloned("recurrent_ppo", n=1)
        with pytest.raises(InapplicableError, match=r"depends on their memories.*anchor_weight=0"):
            finetune(clone, make_echo("Box", "Discrete"), 64, warmup_timesteps=0, **PLAIN)
        tuned = finetune(clone, make_echo("Box", "Discrete"), 32, anchor_weight=0, **PLAIN)
        assert tuned.num_timesteps == 32


@pytest.mark.slow
def test_what_was_cloned_is_kept_and_improved():
    """A clone of few labels gets better, and never much worse on the way."""
    demos = echo_demonstrations("Box", "Discrete", n_episodes=1, seed=0)
    clone = BC("MlpPolicy", None, demos, batch_size=8, **SMALL).learn(60)
    env = make_echo("Box", "Discrete", 4)
    first = evaluate(clone, make_echo("Box", "Discrete", 20, seed=5), 20).mean_return
    tuned = finetune(clone, env, 8_000, learning_rate=1e-3, n_steps=64, batch_size=64)
    last = evaluate(tuned, make_echo("Box", "Discrete", 20, seed=5), 20).mean_return
    assert last >= first and last > 7.5
