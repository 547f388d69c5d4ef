"""Random mini-batches of 256 from 1 million transitions in memory, against SB3 and d3rlpy.

python tests/benchmarks/bench_sampling.py

d3rlpy is compared where it is installed (it asks for gymnasium 1.0 or later).
"""

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from timing import alternate

from sb3_il_plus import Demonstrations
from sb3_il_plus.data.batches import TransitionSampler

BATCH_SIZE, LENGTH = 256, 1000
OBSERVATION_SPACE = spaces.Box(-np.inf, np.inf, (17,), np.float32)
ACTION_SPACE = spaces.Box(-1, 1, (6,), np.float32)


def halfcheetah_like(n_episodes: int) -> Demonstrations:
    """Data of HalfCheetah's shapes, in episodes of 1000 steps cut by a time limit."""
    rng, n = np.random.default_rng(0), n_episodes * LENGTH
    offsets = np.arange(n_episodes + 1) * LENGTH
    truncations = np.zeros(n, dtype=bool)
    truncations[offsets[1:] - 1] = True
    return Demonstrations(
        observations=rng.normal(size=(n + n_episodes, 17)).astype(np.float32),
        actions=rng.uniform(-1, 1, size=(n, 6)).astype(np.float32),
        rewards=rng.normal(size=n).astype(np.float32),
        terminations=np.zeros(n, dtype=bool),
        truncations=truncations,
        offsets=offsets,
        observation_space=OBSERVATION_SPACE,
        action_space=ACTION_SPACE,
    )


def filled_buffer(demonstrations: Demonstrations) -> ReplayBuffer:
    return demonstrations.to_replay_buffer(device="cpu")


def repeated(draw, n_batches: int):
    def run():
        for _ in range(n_batches):
            draw()

    return run


def compare(name: str, ours, theirs, n_ours: int, n_theirs: int) -> None:
    """Print both in microseconds, and how many times faster ours is."""
    our_seconds, their_seconds = alternate(
        lambda: repeated(ours, n_ours), lambda: repeated(theirs, n_theirs), repeats=11
    )
    our_time, their_time = our_seconds / n_ours * 1e6, their_seconds / n_theirs * 1e6
    print(
        f"{name}: ours {our_time:.1f} us a batch, theirs {their_time:.1f} us, "
        f"ratio {their_time / our_time:.1f}"
    )


def d3rlpy_buffer(demonstrations: Demonstrations):
    from d3rlpy.dataset import BasicTransitionPicker, Episode, InfiniteBuffer, ReplayBuffer

    episodes = [
        Episode(
            episode.observations[:-1],
            episode.actions,
            episode.rewards[:, None],
            episode.terminated,
        )
        for episode in demonstrations.episodes()
    ]
    return ReplayBuffer(
        InfiniteBuffer(), episodes=episodes, transition_picker=BasicTransitionPicker()
    )


def main() -> None:
    demonstrations = halfcheetah_like(n_episodes=1000)
    sampler = TransitionSampler(demonstrations, BATCH_SIZE, device="cpu", seed=0)
    buffer = filled_buffer(demonstrations)
    compare("SB3 ReplayBuffer.sample", sampler.sample, lambda: buffer.sample(BATCH_SIZE), 1000, 300)
    try:
        import d3rlpy  # noqa: F401
    except (ImportError, ValueError) as error:  # its own check of gymnasium's version
        print(f"d3rlpy is not compared: {error}")
        return
    theirs = d3rlpy_buffer(demonstrations)
    compare(
        "d3rlpy sample_transition_batch",
        sampler.sample,
        lambda: theirs.sample_transition_batch(BATCH_SIZE),
        1000,
        20,
    )


if __name__ == "__main__":
    main()
