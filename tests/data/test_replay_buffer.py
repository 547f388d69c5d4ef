"""Replay buffers: what SB3's own code put there comes out as it was seen, and fits back in."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import assume, given
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer, RolloutBuffer
from strategies import assert_equal, demonstrations

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.hints import DataWarning
from sb3_il_plus.errors import DataError

ENDED = [(True, False), (False, True)]
SPACES = spaces.Box(-99, 99, (1,)), spaces.Discrete(3)


def filled(size, n_envs, steps, **options):
    """A buffer to which SB3's own `add` gave numbered steps: environment e sees 100 e + step.

    :param steps: for each environment, the steps at which an episode ends, and whether by timeout
    """
    buffer = ReplayBuffer(size * n_envs, *SPACES, n_envs=n_envs, **options)
    n_steps, ends = steps
    now = 100.0 * np.arange(n_envs)[:, None]
    for step in range(n_steps):
        after = now + 1
        dones = np.array([step in ends[e] for e in range(n_envs)])
        infos = [{"TimeLimit.truncated": bool(ends[e].get(step))} for e in range(n_envs)]
        # An episode goes on where the numbers do; a new one begins half a step aside.
        buffer.add(now, after, np.full((n_envs, 1), step % 3), 1.0 * dones + step, dones, infos)
        now = np.where(dones[:, None], after + 0.5, after)
    return buffer


def ends_of(demos):
    last = demos.offsets[1:] - 1
    return list(zip(demos.terminations[last], demos.truncations[last], strict=True))


@given(demonstrations(ends=ENDED))
def test_round_trip(demos):
    assume(demos.rewards is not None)
    demos = Demonstrations.from_columns(
        demos.columns(), demos.observation_space, demos.action_space
    )
    buffer = demos.to_replay_buffer(device="cpu")
    is_dict = isinstance(demos.observation_space, spaces.Dict)
    assert type(buffer) is (DictReplayBuffer if is_dict else ReplayBuffer)
    assert buffer.full and buffer.size() == len(demos)
    assert_equal(Demonstrations.from_replay_buffer(buffer), demos)


def test_timeouts_terminations_and_what_is_unfinished():
    demos = Demonstrations.from_replay_buffer(filled(20, 1, (7, [{2: False, 5: True}])))
    assert demos.episode_lengths.tolist() == [3, 3, 1]
    assert demos.observations.ravel().tolist() == [0, 1, 2, 3, 3.5, 4.5, 5.5, 6.5, 7, 8]
    assert ends_of(demos) == [(True, False), (False, True), (False, False)]
    assert demos.rewards.tolist() == [0, 1, 3, 3, 4, 6, 6]
    assert demos.actions.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_several_environments_and_a_buffer_that_went_round():
    """The oldest steps are overwritten; each environment's steps stay in their order."""
    buffer = filled(4, 2, (6, [{4: False}, {3: True}]))
    assert buffer.full and buffer.pos == 2
    demos = Demonstrations.from_replay_buffer(buffer)
    assert demos.episode_lengths.tolist() == [3, 1, 2, 2]
    assert demos.observations.ravel().tolist() == [
        *(2, 3, 4, 5), *(5.5, 6.5), *(102, 103, 104), *(104.5, 105.5, 106.5)
    ]  # fmt: skip
    assert ends_of(demos) == [(True, False), (False, False), (False, True), (False, False)]


def test_an_episode_that_was_abandoned():
    """`learn` resets the environment wherever it is; no flag says so."""
    buffer = ReplayBuffer(9, *SPACES)
    for start in (0.0, 50.0):
        for step in range(2):
            now = np.array([[start + step]])
            buffer.add(now, now + 1, np.zeros((1, 1)), np.zeros(1), np.zeros(1), [{}])
    demos = Demonstrations.from_replay_buffer(buffer)
    assert demos.observations.ravel().tolist() == [0, 1, 2, 50, 51, 52]
    assert ends_of(demos) == [(False, False)] * 2


class TestWithoutTimeouts:
    options = {"handle_timeout_termination": False}  # noqa: RUF012

    def test_ends_are_truncations_unless_the_caller_knows_better(self):
        buffer = filled(20, 1, (4, [{1: True}]), **self.options)
        with pytest.warns(DataWarning, match="does not handle timeouts.*count as truncations"):
            demos = Demonstrations.from_replay_buffer(buffer)
        assert ends_of(demos) == [(False, True), (False, False)]
        demos = Demonstrations.from_replay_buffer(buffer, dones_are_terminal=True)
        assert ends_of(demos) == [(True, False), (False, False)]

    @pytest.mark.parametrize("size", [20, 5])
    def test_optimized_memory(self, size):
        """An episode's last observation was overwritten by the next one's first."""
        steps = 7, [{2: False, 5: False}]
        buffer = filled(size, 1, steps, optimize_memory_usage=True, **self.options)
        known = Demonstrations.from_replay_buffer(buffer, dones_are_terminal=True)
        unknown = Demonstrations.from_replay_buffer(buffer, dones_are_terminal=False)
        if size == 20:
            assert known.observations.ravel().tolist() == [0, 1, 2, 2, 3.5, 4.5, 5.5, 5.5, 7, 8]
            assert unknown.observations.ravel().tolist() == [0, 1, 2, 3.5, 4.5, 5.5, 7, 8]
            assert ends_of(known) == [(True, False), (True, False), (False, False)]
            assert ends_of(unknown) == [(False, True), (False, True), (False, False)]
        else:  # steps 3 to 6: that of the row at `pos` is invalid, as SB3's own sampling knows
            assert known.observations.ravel().tolist() == [3.5, 4.5, 5.5, 5.5, 7, 8]
            assert unknown.observations.ravel().tolist() == [3.5, 4.5, 5.5, 7, 8]

    def test_the_newest_end_is_not_overwritten_yet(self):
        buffer = filled(20, 1, (3, [{2: False}]), optimize_memory_usage=True, **self.options)
        demos = Demonstrations.from_replay_buffer(buffer, dones_are_terminal=False)
        assert demos.observations.ravel().tolist() == [0, 1, 2, 3]
        assert ends_of(demos) == [(False, True)]

    def test_nothing_known(self):
        ends = [{0: False, 1: False, 2: False}]
        buffer = filled(2, 1, (3, ends), optimize_memory_usage=True, **self.options)
        assert len(Demonstrations.from_replay_buffer(buffer, dones_are_terminal=False)) == 1


def test_scaled_actions():
    """SB3's algorithms store continuous actions between -1 and 1, whatever the bounds."""
    model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=60, seed=0, device="cpu")
    model.learn(60)
    assert np.abs(model.replay_buffer.actions[:60]).max() <= 1
    demos = Demonstrations.from_replay_buffer(model.replay_buffer)
    assert len(demos) == 60
    assert 1.5 < np.abs(demos.actions).max() <= 2
    as_stored = Demonstrations.from_replay_buffer(model.replay_buffer, scaled_actions=False)
    np.testing.assert_allclose(demos.actions, 2 * as_stored.actions, rtol=1e-6)
    # The physics agree: the torque that was applied explains the next velocity.
    sin, speed = demos.observations[:-1, 1], demos.observations[:-1, 2]
    after = np.clip(speed + (15 * sin + 3 * demos.actions[:, 0]) * 0.05, -8, 8)
    np.testing.assert_allclose(demos.observations[1:, 2], after, atol=1e-4)
    again = demos.to_replay_buffer(device="cpu")
    np.testing.assert_allclose(again.actions, model.replay_buffer.actions[:60], atol=1e-6)


def test_a_model_goes_on_with_a_filled_buffer():
    """Demonstrations of CartPole in the place of DQN's own buffer, with room for more."""
    model = DQN("MlpPolicy", "CartPole-v1", learning_starts=0, seed=0, device="cpu")
    model.learn(48)
    demos = Demonstrations.from_replay_buffer(model.replay_buffer)
    assert demos.terminations.sum() >= 1
    model.replay_buffer = demos.to_replay_buffer(buffer_size=1000, device="cpu")
    assert model.replay_buffer.size() == 48
    model.learn(20, reset_num_timesteps=False)
    assert model.replay_buffer.size() == 68
    batch = model.replay_buffer.sample(4)
    assert batch.observations.shape == (4, 4) and batch.actions.shape == (4, 1)


def test_parts_for_several_environments():
    demos = Demonstrations.from_replay_buffer(filled(20, 1, (7, [{2: False}])))
    with pytest.warns(DataWarning, match="the last 1 steps are left out, to fill 3 parts"):
        buffer = demos.to_replay_buffer(n_envs=3, buffer_size=30, device="cpu")
    assert (buffer.n_envs, buffer.buffer_size, buffer.pos, buffer.full) == (3, 10, 2, False)
    again = Demonstrations.from_replay_buffer(buffer)
    assert again.rewards.tolist() == demos.rewards[:6].tolist()
    assert np.flatnonzero(again.terminations).tolist() == [2]


def test_what_does_not_fit():
    demos = Demonstrations.from_replay_buffer(filled(20, 1, (7, [{}])))
    with pytest.raises(DataError, match="7 transitions for 1 environments do not fit into a b"):
        demos.to_replay_buffer(buffer_size=5)
    with pytest.raises(DataError, match="7 transitions for 8 environments do not fit"):
        demos.to_replay_buffer(n_envs=8)
    columns = demos.columns()
    del columns["rewards"]
    with pytest.raises(DataError, match="needs rewards, and these demonstrations have none"):
        Demonstrations.from_columns(columns, *SPACES).to_replay_buffer()
    with pytest.raises(DataError, match="the replay buffer is empty"):
        Demonstrations.from_replay_buffer(ReplayBuffer(5, *SPACES))
    flags = np.array([0, 0, 0, 0, 0, 0, 1], bool)
    both = {**demos.columns(), "terminations": flags, "truncations": flags}
    with pytest.warns(DataWarning, match="are stored as terminated"):
        buffer = Demonstrations.from_columns(both, *SPACES).to_replay_buffer()
    assert ends_of(Demonstrations.from_replay_buffer(buffer)) == [(True, False)]


def test_other_buffers():
    for other in (RolloutBuffer(4, *SPACES), None):
        with pytest.raises(DataError, match=f"a {type(other).__name__} is no ReplayBuffer; off-po"):
            Demonstrations.from_replay_buffer(other)


def test_saved_buffers_are_refused_with_the_remedy(tmp_path):
    model = DQN("MlpPolicy", "CartPole-v1", device="cpu", buffer_size=10)
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    with pytest.raises(ValueError, match=r"a pickle.*from_replay_buffer\(model.replay_buffer\)"):
        Demonstrations.load(tmp_path / "buffer.pkl")
