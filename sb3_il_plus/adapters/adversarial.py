"""What GAIL and AIRL share: a generator (any SB3 algorithm) against a discriminator.

`imitation.algorithms.adversarial` does the learning, through its own `train_gen` and `train_disc`.
This file builds the reward net, pays the generator, connects loggers and callbacks, and saves what
upstream cannot: discriminator, normalisers and both optimisers.
"""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Unpack, get_args

import numpy as np
from gymnasium import spaces
from imitation.rewards.reward_nets import NormalizedRewardNet, RewardNet
from imitation.rewards.reward_wrapper import RewardVecEnvWrapper
from imitation.util.networks import RunningNorm, training
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus import normalization
from sb3_il_plus.adapters import reward_inputs
from sb3_il_plus.adapters.absorbing import (
    AbsorbingEnds,
    AbsorbingRewardNet,
    LaterRewards,
    check_absorbing,
)
from sb3_il_plus.adapters.bridge import BridgeLogger
from sb3_il_plus.adapters.discriminator import DiscriminatorTrainer, add_spectral_norm
from sb3_il_plus.adapters.discriminator_data import DiscriminatorData, Horizon
from sb3_il_plus.adapters.generator import ForwardCallback, GeneratorArguments
from sb3_il_plus.adapters.health import (
    AdversarialHealthWarning,
    HealthMonitor,
    RewardScale,
    Round,
)
from sb3_il_plus.adapters.horizon import check_horizon
from sb3_il_plus.adapters.learned_reward import LearnedReward
from sb3_il_plus.adapters.observations import FlatSpace, in_policys_axes
from sb3_il_plus.adapters.reward_features import holds_images, needs_features
from sb3_il_plus.adapters.reward_inputs import DemonstrationNorm
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.randomness import child_generator

InputNorm = Literal["demonstrations", "running"]

_INPUT_NORMS: dict[str | None, dict[str, Any]] = {
    "demonstrations": {"normalize_input_layer": DemonstrationNorm},
    "running": {"normalize_input_layer": RunningNorm},
    None: {},
}

_NORMALIZER = "reward_normalizer.normalize_output_layer"


class AdversarialArguments(GeneratorArguments, total=False):
    """Constructor arguments that subclasses pass through (see `AdversarialAlgorithm`)."""

    demo_batch_size: int
    n_disc_updates_per_round: int
    gen_train_timesteps: int | None
    gen_replay_buffer_capacity: int | None
    disc_learning_rate: float
    gradient_penalty: float
    spectral_norm: bool
    label_smoothing: float
    reward_net_class: type[RewardNet] | None
    reward_net_kwargs: dict[str, Any] | None
    normalize_reward_inputs: InputNorm | None
    normalize_rewards: bool
    relabel_rewards: bool
    horizon: Horizon


class AdversarialAlgorithm(LearnedReward, DiscriminatorData):
    """Alternate between training a generator on a learned reward and the reward on both's data.

    One timestep is one environment step. A round is one rollout of the generator, its update, and
    then `n_disc_updates_per_round` updates of the discriminator.

    :param policy: policy alias or class of the generator
    :param env: where the generator acts; its own rewards are never used
    :param demonstrations: the expert's transitions; fewer than a batch are drawn with replacement
    :param demo_batch_size: expert transitions in each discriminator update, beside as many of the
        generator's
    :param n_disc_updates_per_round: discriminator updates after each round of the generator
    :param gen_train_timesteps: environment steps in a round; None for one rollout (on-policy) or
        `OFF_POLICY_ROUND`
    :param gen_replay_buffer_capacity: generator transitions that the discriminator draws from; None
        for those of the last round or, with `relabel_rewards`, in the generator's replay buffer
    :param disc_learning_rate: of the discriminator's Adam
    :param gradient_penalty: weight of WGAN-GP's penalty on the discriminator's gradients, between
        expert and generator data; 10 in Kostrikov et al. 2019 (see `discriminator.py`)
    :param spectral_norm: divide the weights of the reward net's layers by their spectral norm
        (Miyato et al. 2018), so that its output changes by no more than its input
    :param label_smoothing: what is taken from the experts' label 1; 0.1 in Salimans et al. 2016
    :param reward_net_class: an `imitation` reward net, which is given a `Dict` as a flat `Box` (see
        `FlatSpace`); None for the algorithm's own choice: an MLP, for images and dicts behind a
        features extractor like the policy's
    :param reward_net_kwargs: its arguments, for instance `{"hid_sizes": (64, 64)}`, or
        `{"use_action": False, "use_next_state": True}`
    :param normalize_reward_inputs: standardise the reward net's inputs with the statistics of the
        `"demonstrations"`, or with `"running"` ones of expert and generator, as upstream's examples
        do; None leaves them, which suits observations of similar scale, and images
    :param normalize_rewards: standardise the generator's rewards with running statistics
    :param relabel_rewards: off-policy generators only: compute rewards when transitions are
        replayed, by the present reward net (discriminator-actor-critic, Kostrikov et al. 2019)
    :param horizon: what to do when episodes differ in length, which tells the learner about the
        reward: `"error"`, `"allow"` it, or `"pad"` episodes that end with an absorbing state (see
        `absorbing.py`; observations have to be vectors)
    :param kwargs: see `GeneratorAlgorithm` and `DemonstrationAlgorithm`
    :raises InapplicableError: the generator does not suit the algorithm or the spaces
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Any = None,
        *,
        demo_batch_size: int = 512,
        n_disc_updates_per_round: int = 8,
        gen_train_timesteps: int | None = None,
        gen_replay_buffer_capacity: int | None = None,
        disc_learning_rate: float = 1e-3,
        gradient_penalty: float = 0.0,
        spectral_norm: bool = False,
        label_smoothing: float = 0.0,
        reward_net_class: type[RewardNet] | None = None,
        reward_net_kwargs: dict[str, Any] | None = None,
        normalize_reward_inputs: InputNorm | None = None,
        normalize_rewards: bool = True,
        relabel_rewards: bool = True,
        horizon: Horizon = "error",
        _init_setup_model: bool = True,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        if horizon not in get_args(Horizon):
            raise UserError(f"horizon={horizon!r} must be 'error', 'allow' or 'pad'")
        if horizon == "pad":
            check_absorbing(self.observation_space)
        if normalize_reward_inputs not in _INPUT_NORMS:
            raise UserError(
                f"normalize_reward_inputs={normalize_reward_inputs!r} must be 'demonstrations', "
                "'running' or None"
            )
        self.demo_batch_size = demo_batch_size
        self.n_disc_updates_per_round = n_disc_updates_per_round
        self.gen_train_timesteps = gen_train_timesteps
        self.gen_replay_buffer_capacity = gen_replay_buffer_capacity
        self.disc_learning_rate = disc_learning_rate
        self.gradient_penalty = gradient_penalty
        self.spectral_norm = spectral_norm
        self.label_smoothing = label_smoothing
        self.reward_net_class = reward_net_class
        self.reward_net_kwargs = {} if reward_net_kwargs is None else dict(reward_net_kwargs)
        self.normalize_reward_inputs: InputNorm | None = normalize_reward_inputs
        self.normalize_rewards = normalize_rewards
        self.relabel_rewards = relabel_rewards
        self.horizon: Horizon = horizon
        self._check_discriminator_arguments()
        space = self.observation_space
        self._reward_space = FlatSpace(space) if isinstance(space, spaces.Dict) else space
        self._rng = child_generator(self._base_seed, "demonstrations")
        self._health = HealthMonitor()
        if _init_setup_model:
            self._setup_model()

    # -- what GAIL and AIRL differ in ------------------------------------------------------------

    @abc.abstractmethod
    def _default_reward_net(self) -> Callable[..., RewardNet]:
        """What builds the reward net where the user names no class."""

    @abc.abstractmethod
    def _trainer_class(self) -> Callable[..., DiscriminatorTrainer]:
        """What builds upstream's trainer."""

    # -- building --------------------------------------------------------------------------------

    def _check_discriminator_arguments(self) -> None:
        for name, least in (
            ("demo_batch_size", 1),
            ("n_disc_updates_per_round", 1),
            ("gradient_penalty", 0),
        ):
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)} must be at least {least}")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing={self.label_smoothing} must be in [0, 1)")
        if self.normalize_reward_inputs is not None and holds_images(self.observation_space):
            raise InapplicableError(
                f"normalize_reward_inputs={self.normalize_reward_inputs!r} is for vectors; the "
                "pixels of images are scaled to [0, 1] already: leave it None"
            )

    def _setup_reward(self) -> None:
        self.discriminator = self._build_reward_net()
        self._fit_reward_inputs()

    def _build_reward_net(self) -> RewardNet:
        arguments = {**_INPUT_NORMS[self.normalize_reward_inputs], **self.reward_net_kwargs}
        cls: Callable[..., RewardNet] = self.reward_net_class or self._default_reward_net()
        if self.reward_net_class is None and needs_features(self._reward_space):
            arguments = {**self._extractor_arguments(), **arguments}
        build = partial(cls, **arguments)
        if self.horizon == "pad":
            net: RewardNet = AbsorbingRewardNet(self._reward_space, self.action_space, build)
        else:
            net = build(self._reward_space, self.action_space)
        if self.spectral_norm:
            add_spectral_norm(net)
        return net.to(self.device)

    def _extractor_arguments(self) -> dict[str, Any]:
        """The policy's features extractor, for a reward net that has one."""
        return {
            "features_extractor_class": self.policy.features_extractor_class,
            "features_extractor_kwargs": self.policy.features_extractor_kwargs,
        }

    def _fit_reward_inputs(self) -> None:
        net = self.discriminator
        if self.demonstrations is None:
            return
        if self.normalize_observations:  # the policy's extractor, and so the net's, standardises
            observed = self._as_env_observes(self.demonstrations.observations)
            normalization.set_statistics(net, observed)
        if reward_inputs.is_fitted(net):
            data = self._transitions_of(self.demonstrations, np.arange(len(self.demonstrations)))
            names = ("obs", "acts", "next_obs", "dones")
            reward_inputs.fit(net, *net.preprocess(*(data[name] for name in names)))

    def _setup_trainer(self) -> None:
        """Connect generator, reward net, environment and demonstrations."""
        self.trainer = self._trainer_class()(
            demonstrations=None,  # handed over batch by batch
            demo_batch_size=self.demo_batch_size,
            venv=self._reward_env(),
            gen_algo=self.generator_model,
            reward_net=self.discriminator,
            n_disc_updates_per_round=self.n_disc_updates_per_round,
            disc_opt_kwargs={"lr": self.disc_learning_rate},
            gen_train_timesteps=self._round_timesteps(),
            gen_replay_buffer_capacity=self.gen_replay_buffer_capacity,
            custom_logger=BridgeLogger(self),
            allow_variable_horizon=self.horizon != "error",
            gradient_penalty=self.gradient_penalty,
            label_smoothing=self.label_smoothing,
            rng=self._rng,
        )
        self.discriminator_optimizer = self.trainer._disc_opt
        self.reward_scale = RewardScale(self.trainer.reward_train)
        # Upstream's own place for this wrapper has no effect in GAIL; this one works for both.
        self.reward_normalizer = NormalizedRewardNet(self.reward_scale, RunningNorm)
        self.reward_normalizer.to(self.device)
        paid = self.reward_normalizer if self.normalize_rewards else self.reward_scale
        self._paid = self._with_later_rewards(paid)
        self.trainer.venv_wrapped.reward_fn = self._paid.predict_processed

    def _with_later_rewards(self, net: RewardNet) -> RewardNet:
        """`net` for a learner with the generator's discount: after an end, rewards go on."""
        generator: Any = self.generator_model
        return LaterRewards(net, generator.gamma) if self.horizon == "pad" else net

    def _present_rewards(
        self, obs: Columns, acts: np.ndarray, next_obs: Columns, dones: np.ndarray
    ) -> np.ndarray:
        flat = self._flat(obs), acts, self._flat(next_obs), dones
        # Replayed transitions were counted in the running statistics when they were new.
        return self._paid.predict_processed(*flat, update_stats=False)

    def _round_timesteps(self) -> int:
        return self.gen_train_timesteps or super()._round_timesteps()

    # -- learning --------------------------------------------------------------------------------

    def _check_before_learning(self) -> None:
        super()._check_before_learning()
        if self.horizon == "error":
            check_horizon(
                self._require_demonstrations(), self.env, type(self).__name__, can_pad=True
            )

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        self._health = HealthMonitor()  # it warns once in each `learn`
        return super()._setup_learn(*args, **kwargs)

    def _train_round(self, n_timesteps: int, callback: ForwardCallback) -> None:
        own_callback = self.trainer.gen_callback
        self.trainer.gen_callback = CallbackList([own_callback, callback])
        try:
            self.trainer.train_gen(n_timesteps)
        finally:
            self.trainer.gen_callback = own_callback
        if callback.go_on:
            self._train_discriminator()

    def _train_discriminator(self) -> None:
        updates = []
        for _ in range(self.n_disc_updates_per_round):
            with training(self.trainer.reward_train):
                updates.append(
                    self.trainer.train_disc(
                        expert_samples=self._draw_expert_batch(),
                        gen_samples=self._draw_generator_batch(),
                    )
                )
        scale = self.reward_scale.pop()
        for name, value in scale.items():
            self.logger.record(f"train/{name}", value)
        for message in self._health.judge(Round.of(updates, scale["reward_std"])):
            warnings.warn(
                f"{type(self).__name__}: {message}", AdversarialHealthWarning, stacklevel=4
            )

    # -- the learned reward ----------------------------------------------------------------------

    @property
    def reward_net(self) -> RewardNet:
        """The learned reward, r(s, a, s', done): GAIL's form of its logit, AIRL's unshaped net.

        It is given arrays: of a `Dict`, the vectors of `FlatSpace`. `predict_reward` takes both.
        """
        return self.trainer.reward_test

    def predict_reward(
        self, obs: Columns, acts: np.ndarray, next_obs: Columns, dones: np.ndarray
    ) -> np.ndarray:
        """The learned reward of n transitions, as the environment shows them.

        :param obs: shape (n, *observation shape), or a dict of such
        :param acts: shape (n, *action shape)
        :param next_obs: as `obs`
        :param dones: shape (n,)
        :return: shape (n,)
        """
        before, after = (
            self._flat(in_policys_axes(each, self.observation_space)) for each in (obs, next_obs)
        )
        return self.reward_net.predict_processed(before, acts, after, dones)

    def _reward_wrapper(self, venv: VecEnv) -> RewardVecEnvWrapper:
        """With `horizon="pad"`, a step that ends an episode is paid for all that would follow.

        That is for an agent with the generator's discount.
        """
        if self.horizon != "pad":
            return RewardVecEnvWrapper(venv, self.predict_reward)
        paid = self._with_later_rewards(self.reward_net)
        return RewardVecEnvWrapper(AbsorbingEnds(venv), paid.predict_processed)

    def _reward_parts(self) -> tuple[str, ...]:
        return ("discriminator",)

    # -- saving ----------------------------------------------------------------------------------

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, variables = super()._get_torch_save_params()
        own = ["discriminator", "discriminator_optimizer", _NORMALIZER]
        return [*modules, *own], variables

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "rng": self._rng.bit_generator.state}

    def _load_state(self, state: dict[str, Any]) -> None:
        super()._load_state(state)
        self._rng.bit_generator.state = state["rng"]
