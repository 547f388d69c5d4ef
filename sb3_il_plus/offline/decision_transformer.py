"""Decision Transformer: which action is next, in an episode that earns what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Unpack

import numpy as np
import torch as th
import torch.nn.functional as F
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.algorithm import CommonArguments, DemonstrationAlgorithm
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import Batches, to_tensor, to_tensors
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.offline.checks import check_offline_data
from sb3_il_plus.offline.trajectory_policy import RewardReporter, TrajectoryPolicy
from sb3_il_plus.randomness import child_generator
from sb3_il_plus.supervised.validated import ValidatedLearning, ValidationArguments


class DecisionTransformerArguments(CommonArguments, ValidationArguments, total=False):
    """Constructor arguments that `DecisionTransformer` passes through."""


class DecisionTransformer(ValidatedLearning):
    """Decision Transformer (Chen et al. 2021, arXiv:2106.01345): offline RL as sequence modelling.

    A transformer reads (return-to-go, observation, action) of the last K steps and predicts the
    action: its squared error where actions are continuous, its cross entropy for choices. Asked for
    a large return, it does what good episodes do. Defaults are those of the authors' Gym
    experiments (appendix A, table 9), but for the numbers of the task: `target_return` and the
    scale of returns, which is the size of the largest one in the data (there 1000).

    Windows are padded at their end, where attention is causal, in place of their beginning; that is
    the same. One timestep is one gradient update. Acting, it is asked for `target_return` at first
    and for what is left of it later, which takes rewards; SB3's `predict` is not given any. The
    package's `evaluate` reports them; with SB3's own, act in `report_rewards(env)`. Where nobody
    reports, it goes on asking for the whole.

    :param policy: `MlpPolicy`, which is `TrajectoryPolicy`; its arguments (`embed_dim`, `n_layers`,
        `n_heads`, `dropout`, `max_timestep`) are `policy_kwargs`
    :param env: optional; for its spaces, its `VecNormalize`, and SB3's callbacks
    :param demonstrations: data with rewards
    :param context_length: K, steps of a window; 20 (30 in Pong, 50 in the other Atari games)
    :param target_return: undiscounted return to ask for; None for the largest in the data. It can
        be changed at any time. The paper asks for about that of an expert
    :param learning_rate: of AdamW; 1e-4
    :param weight_decay: of AdamW; 1e-4
    :param warmup_steps: updates in which the learning rate rises from 0; 10000 in the paper, which
        makes 100,000 updates
    :param batch_size: windows in each update; 64
    :param max_grad_norm: 0.25
    :param normalize_observations: as in the authors' code
    :param kwargs: see `ValidatedLearning` and `DemonstrationAlgorithm`
    :raises DataError: there are no rewards, fewer transitions than `batch_size`, or episodes longer
        than `max_timestep`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = dict.fromkeys(
        DemonstrationAlgorithm.policy_aliases, TrajectoryPolicy
    )
    policy: Any
    minibatch_size = None

    def __init__(  # type: ignore[misc]  # one default is not that of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        context_length: int = 20,
        target_return: float | None = None,
        learning_rate: float | Schedule = 1e-4,
        weight_decay: float = 1e-4,
        warmup_steps: int = 10_000,
        batch_size: int = 64,
        max_grad_norm: float = 0.25,
        normalize_observations: bool = True,
        _init_setup_model: bool = True,
        **kwargs: Unpack[DecisionTransformerArguments],
    ) -> None:
        for name, value in (("context_length", context_length), ("batch_size", batch_size)):
            if value < 1:
                raise UserError(f"{name}={value} must be at least 1")
        self.context_length = context_length
        self._target_return = target_return
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.batch_size = batch_size
        self.max_grad_norm = max_grad_norm
        self._batches: Batches | None = None
        super().__init__(
            policy,
            env,
            demonstrations,
            learning_rate=learning_rate,
            normalize_observations=normalize_observations,
            **kwargs,
        )
        if _init_setup_model:
            self._setup_model()

    @property
    def target_return(self) -> float | None:
        """What it is asked for; None for the largest return in the data."""
        return self._target_return

    @target_return.setter
    def target_return(self, value: float | None) -> None:
        self._target_return = self.policy.target_return = value

    def report_rewards(self, env: VecEnv) -> RewardReporter:
        """An environment to act in that tells the policy what each step earned."""
        return RewardReporter(env, self.policy)

    def learn_online(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: it values nothing, so it cannot tell which of its own actions were good.

        :raises InapplicableError: always
        """
        raise InapplicableError(
            "DecisionTransformer imitates episodes, and has no values that experience could "
            "correct: collect episodes with it, give them to set_demonstrations beside the data, "
            "and learn again; or train an algorithm with values, such as IQL"
        )

    # -- set-up --------------------------------------------------------------------------------

    def _setup_model(self) -> None:
        self._build_policy()
        self._connect_data()

    def _build_policy_kwargs(self) -> dict[str, Any]:
        policy_kwargs = super()._build_policy_kwargs()
        optimizer_kwargs = {
            "weight_decay": self.weight_decay,
            **(policy_kwargs.get("optimizer_kwargs") or {}),
        }
        return {
            **policy_kwargs,
            "optimizer_kwargs": optimizer_kwargs,
            "context_length": self.context_length,
            "target_return": self._target_return,
        }

    def _connect_data(self) -> None:
        if self.demonstrations is not None:
            check_offline_data(self.demonstrations, self.batch_size)
        super()._connect_data()

    def _learn_from(self, demonstrations: Demonstrations, batches: Batches) -> None:
        """The first data decides about the scale of returns, and what is asked for."""
        longest, known = int(demonstrations.episode_lengths.max()), self.policy.max_timestep
        if 0 < known < longest:
            raise DataError(
                f"an episode has {longest} steps, and the policy knows times below {known}: pass "
                f"policy_kwargs=dict(max_timestep={longest}), or 0 to leave the time out"
            )
        if self.policy.return_scale.isnan():
            returns = demonstrations.episode_returns
            self.policy.best_return.fill_(float(returns.max()))
            self.policy.return_scale.fill_(float(np.abs(returns).max()) or 1.0)

    def _build_batches(
        self, demonstrations: Demonstrations, purpose: str, batch_size: int | None = None
    ) -> Batches:
        observed = demonstrations.observations_at(np.arange(len(demonstrations)))
        return Windows(
            demonstrations,
            self._as_env_observes(observed),
            self.context_length,
            batch_size or self.batch_size,
            child_generator(self._base_seed, purpose),
            self.device,
        )

    # -- learning ------------------------------------------------------------------------------

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        if self._n_updates < self.warmup_steps:
            for group in self._optimizer.param_groups:
                group["lr"] *= (self._n_updates + 1) / self.warmup_steps

    def _make_updates(
        self, n_updates: int, after_update: Callable[[], bool], log_interval: int
    ) -> None:
        assert self._batches is not None
        for number in range(n_updates):
            self.policy.set_training_mode(True)  # a callback that acts turns the dropout off
            loss = self._loss(self._batches.rows(self._batches.sampler.next()))
            self._optimizer.zero_grad()
            loss.backward()
            th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            self._optimizer.step()
            if number % log_interval == 0:
                self.logger.record("train/loss", loss.item())
                self._dump_logs()
            if not after_update():
                return

    def _loss(self, rows: dict[str, Any]) -> th.Tensor:
        policy = self.policy
        actions = policy.encode_actions(rows["acts"])
        features = policy.features_of(rows["obs"])
        outputs = policy(features, actions, rows["returns"], rows["timesteps"])
        if policy.n_choices:
            errors = F.cross_entropy(outputs.flatten(0, 1), actions.flatten(0, 1), reduction="none")
        else:
            errors = (outputs - actions).square().mean(-1).flatten()
        weights = rows["weights"].flatten()
        return (errors * weights).sum() / weights.sum()

    def _validation_loss(self, held_out: Batches) -> float:
        parts = [(n, self._loss(rows).item()) for n, rows in held_out.in_order()]
        counts, losses = zip(*parts, strict=True)
        return float(np.average(losses, weights=counts))


class Windows(Batches):
    """Windows of K steps, one from each step of the data to K - 1 later ones of its episode.

    A part has `obs`, `acts`, `returns` (to go), `timesteps` and `weights`, shape (B, K, ...); the
    weight is 0 where the episode is over.

    :param demonstrations: data with rewards
    :param observations: of each step, as the policy sees them
    :param length: K
    :param batch_size: windows in each batch
    :param rng: source of the shuffling
    :param device: where the tensors are kept
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        observations: Any,
        length: int,
        batch_size: int,
        rng: np.random.Generator,
        device: th.device | str,
    ) -> None:
        super().__init__(len(demonstrations), batch_size, rng)
        self._length, self._device = length, device
        offsets, episode = demonstrations.offsets, demonstrations.episode_index
        self._ends = offsets[1:][episode]
        self._columns = {
            "obs": to_tensors(observations, device),
            "acts": to_tensor(demonstrations.actions, device),
            "returns": to_tensor(returns_to_go(demonstrations), device),
            "timesteps": to_tensor(np.arange(len(demonstrations)) - offsets[episode], device),
        }

    def rows(self, index: np.ndarray) -> dict[str, Any]:
        """Windows that begin at the steps `index`."""
        steps = index[:, None] + np.arange(self._length)
        ends = self._ends[index, None]
        rows = th.from_numpy(np.minimum(steps, ends - 1)).to(self._device)
        found: dict[str, Any] = {name: column[rows] for name, column in self._columns.items()}  # type: ignore[index]
        return {**found, "weights": to_tensor((steps < ends).astype(np.float32), self._device)}

    def n_transitions(self, index: np.ndarray) -> int:
        """Real steps, without the padding."""
        return int(np.minimum(self._ends[index] - index, self._length).sum())


def returns_to_go(demonstrations: Demonstrations) -> np.ndarray:
    """What each step and all later ones of its episode earned, shape (N,)."""
    assert demonstrations.rewards is not None
    earned = np.cumsum(np.asarray(demonstrations.rewards, dtype=np.float64))
    before = earned - demonstrations.rewards
    total = earned[demonstrations.offsets[1:] - 1]
    to_go: np.ndarray = total[demonstrations.episode_index] - before
    return to_go
