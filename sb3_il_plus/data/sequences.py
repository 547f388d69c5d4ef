"""Batches of whole sequences, for policies with a memory.

An LSTM reads an episode step by step, so its batches are episodes, or windows of them. Sequences of
different lengths are padded to the longest one of their batch; padded steps have weight 0, and the
other weights are such that a mean over all rows is the mean over the real steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch as th

from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.sampling import Batches, take_rows, to_tensor, to_tensors
from sb3_il_plus.errors import DataError


class SequenceBatches(Batches):
    """Batches of observations and expert actions, whose rows are sequences.

    A part of n sequences, the longest of T steps, has `obs` and `acts` of shape (n, T, ...), and
    `weights` of shape (n, T).

    :param observations: shape (N, *observation shape) or a dict of such, as the policy sees them
    :param actions: shape (N, *action shape)
    :param episode_lengths: steps of each episode, shape (E,)
    :param sequence_length: longest sequence; longer episodes are cut into consecutive windows. None
        for whole episodes
    :param batch_size: transitions in each batch, about: it has as many sequences of the greatest
        length as fit, and at least one
    :param minibatch_size: transitions that are handed out at a time, about
    :param rng: source of the shuffling
    :param device: where the tensors are kept
    :raises DataError: there are fewer transitions than `batch_size`
    """

    def __init__(
        self,
        observations: Columns,
        actions: np.ndarray,
        episode_lengths: np.ndarray,
        sequence_length: int | None,
        batch_size: int,
        rng: np.random.Generator,
        device: th.device | str = "cpu",
        *,
        minibatch_size: int | None = None,
    ) -> None:
        if batch_size > len(actions):
            raise DataError(f"batch_size={batch_size} does not fit {len(actions)} transitions")
        self._starts, self._lengths = windows(episode_lengths, sequence_length)
        longest = int(self._lengths.max())
        n_sequences = min(max(1, batch_size // longest), len(self._starts))
        at_a_time = max(1, (minibatch_size or batch_size) // longest)
        super().__init__(len(self._starts), n_sequences, rng, _divisor(n_sequences, at_a_time))
        self._device = device
        self._observations = to_tensors(observations, device)
        self._actions = to_tensor(actions, device)

    def rows(self, index: np.ndarray) -> dict[str, Any]:
        """Sequences, padded by repeating their last step."""
        lengths = self._lengths[index, None]
        steps = np.arange(lengths.max())
        real = steps < lengths
        transitions = self._starts[index, None] + np.minimum(steps, lengths - 1)
        rows = th.from_numpy(transitions).to(self._device)
        return {
            "obs": take_rows(self._observations, rows),
            "acts": self._actions[rows],
            "weights": to_tensor(real / real.mean(), self._device),
        }

    def n_transitions(self, index: np.ndarray) -> int:
        """Real steps, without the padding."""
        return int(self._lengths[index].sum())

    def parts(self, index: np.ndarray) -> Iterator[dict[str, Any]]:
        """The sequences `index`, some at a time, each step weighing the same in the whole batch."""
        mean_length = self.n_transitions(index) / len(index)
        for start in range(0, len(index), self.minibatch_size):
            part = index[start : start + self.minibatch_size]
            rows = self.rows(part)
            # Upstream averages over the parts by their numbers of sequences, not of steps.
            rows["weights"] *= self.n_transitions(part) / len(part) / mean_length
            yield rows


def windows(
    episode_lengths: np.ndarray, sequence_length: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Cut episodes into consecutive windows of at most `sequence_length` steps.

    :return: first transition and number of steps of each window, shape (W,) each
    """
    longest = int(sequence_length or episode_lengths.max())
    per_episode = -(-episode_lengths // longest)
    episode = np.repeat(np.arange(len(episode_lengths)), per_episode)
    number = np.arange(len(episode)) - np.repeat(np.cumsum(per_episode) - per_episode, per_episode)
    first = np.cumsum(episode_lengths) - episode_lengths
    lengths = np.minimum(longest, episode_lengths[episode] - number * longest)
    return first[episode] + number * longest, lengths


def _divisor(n: int, at_most: int) -> int:
    """The greatest divisor of `n` that is not above `at_most`."""
    return max(size for size in range(1, min(n, at_most) + 1) if n % size == 0)
