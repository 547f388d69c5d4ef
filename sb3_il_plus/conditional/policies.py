"""Policies that read a command, as ordinary SB3 policies of actor-critic algorithms.

    CommandInputPolicy    the command is one more input
    BranchedPolicy        a head of its own for each command
    CilPolicy             the same with the network of Codevilla et al. 2018
    FilmPolicy            the command scales and shifts the layers of the head
    GoalPolicy            the command is a goal (a `Box`), one more input
    UnconditionalPolicy   the command is there and not read: what conditioning is compared with

They go wherever such a policy goes: `PPO(BranchedPolicy, env)`, or BC, DAgger, GAIL and AIRL.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from sb3_il_plus.conditional.commands import COMMAND, command_space, discrete_command_space
from sb3_il_plus.conditional.networks import (
    BranchedLinear,
    CommandedBranch,
    ConditionalHeads,
    FilmLayers,
    layer_sizes,
    mlp,
)
from sb3_il_plus.conditional.perception import (
    CilPerception,
    CommandLast,
    Perception,
    WithoutCommand,
)
from sb3_il_plus.errors import InapplicableError, UserError

_SMALL_ARCH = {"pi": [64, 64], "vf": [64, 64]}
_CIL_ARCH = {"pi": [256, 256], "vf": [256, 256]}


class ConditionalPolicy(MultiInputActorCriticPolicy):
    """Base of the policies: what they observe, and the layers of their heads.

    :param observation_space: a Dict with the entry `"command"`
    :param action_space: any that SB3's actor-critic policies act in
    :param lr_schedule: of the optimiser
    :param net_arch: layers of the head, SB3's way: `{"pi": [...], "vf": [...]}` or a list for both
    :param activation_fn: of the head
    :param dropout: behind every layer of the head; that of the perception is one of its arguments
    :param features_extractor_class: what sees the other entries
    :param features_extractor_kwargs: its arguments
    :param kwargs: as SB3's `ActorCriticPolicy`
    :raises InapplicableError: there is no command, or not one that this policy can read
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        *,
        dropout: float = 0.0,
        features_extractor_class: type[BaseFeaturesExtractor] = Perception,
        features_extractor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._check_command(observation_space)
        self._dropout = dropout
        super().__init__(
            observation_space,  # type: ignore[arg-type]
            action_space,
            lr_schedule,
            net_arch=_SMALL_ARCH if net_arch is None else net_arch,
            activation_fn=activation_fn,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            **kwargs,
        )

    def _check_command(self, observation_space: spaces.Space) -> None:
        command_space(observation_space, type(self).__name__)

    def obs_to_tensor(self, observation: Any) -> tuple[Any, bool]:
        """As SB3's, and says which command is none.

        :raises UserError: a command lies outside its space, so that nothing was learned of it
        """
        space = command_space(self.observation_space, type(self).__name__)
        if isinstance(space, spaces.Discrete):
            commands = np.asarray(observation[COMMAND]).reshape(-1)
            unknown = commands[(commands < 0) | (commands >= space.n)]
            if len(unknown):
                raise UserError(
                    f"command {unknown[0]} is none that {type(self).__name__} has a branch or an "
                    f"input for: they are 0 to {int(space.n) - 1}"
                )
        return super().obs_to_tensor(observation)

    def _build_mlp_extractor(self) -> None:
        actor_sizes, critic_sizes = layer_sizes(self.net_arch)
        heads = self._build_heads(
            [self.features_dim, *actor_sizes], [self.features_dim, *critic_sizes]
        )
        self.mlp_extractor = heads.to(self.device)  # type: ignore[assignment]

    def _build_heads(self, actor_sizes: list[int], critic_sizes: list[int]) -> ConditionalHeads:
        """Make the layers between the features and the outputs.

        :param actor_sizes: of the features and of each layer
        :param critic_sizes: the same of the critic
        """
        layers = partial(mlp, activation_fn=self.activation_fn, dropout=self._dropout)
        return ConditionalHeads(
            layers(actor_sizes), layers(critic_sizes), actor_sizes[-1], critic_sizes[-1]
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "dropout": self._dropout}


class CommandInputPolicy(ConditionalPolicy):
    """The command is one more measurement: one-hot, or a goal as it is."""


class GoalPolicy(ConditionalPolicy):
    """The command is a goal, one more measurement."""

    def _check_command(self, observation_space: spaces.Space) -> None:
        space = command_space(observation_space, type(self).__name__)
        if not isinstance(space, spaces.Box):
            raise InapplicableError(
                f"GoalPolicy reads a goal, so {COMMAND!r} must be a Box, not {space}; for commands "
                "take BranchedPolicy, CommandInputPolicy or FilmPolicy"
            )


class UnconditionalPolicy(ConditionalPolicy):
    """The command is not read: on the same data, what a policy without commands would learn."""

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """Whatever extracts the features, it does not see the command."""
        assert isinstance(self.observation_space, spaces.Dict)
        return WithoutCommand(
            self.observation_space, self.features_extractor_class, self.features_extractor_kwargs
        )


class _CommandApartPolicy(ConditionalPolicy):
    """Base of the policies whose heads treat the command apart from all other features."""

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """Whatever extracts the features of the other entries, the command stands behind them."""
        assert isinstance(self.observation_space, spaces.Dict)
        return CommandLast(
            self.observation_space, self.features_extractor_class, self.features_extractor_kwargs
        )

    @property
    def _command_size(self) -> int:
        extractor = self.features_extractor
        assert isinstance(extractor, CommandLast)
        return extractor.command_size


class BranchedPolicy(_CommandApartPolicy):
    """A head for each command; only the commanded one acts, and only it receives gradient.

    Codevilla et al. 2018, arXiv:1710.02410, figure 3(b). The critic reads the command as an input.
    """

    def _check_command(self, observation_space: spaces.Space) -> None:
        discrete_command_space(observation_space, type(self).__name__)

    def _build_heads(self, actor_sizes: list[int], critic_sizes: list[int]) -> ConditionalHeads:
        n_commands = self._command_size
        seen = actor_sizes[0] - n_commands
        actor = CommandedBranch(
            n_commands, [seen, *actor_sizes[1:]], self.activation_fn, self._dropout
        )
        latent = actor_sizes[-1] if len(actor_sizes) > 1 else seen
        critic = mlp(critic_sizes, self.activation_fn, self._dropout)
        return ConditionalHeads(
            actor, critic, latent + n_commands, critic_sizes[-1], command_size=n_commands
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        # SB3 has built one output layer for all commands; each has its own instead.
        shared, n_commands = self.action_net, self._command_size
        assert isinstance(shared, nn.Linear)
        sizes = [shared.in_features - n_commands, shared.out_features]
        self.action_net = CommandedBranch(n_commands, sizes, activation_fn=None)
        if self.ortho_init:
            self.action_net.apply(partial(self.init_weights, gain=0.01))
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    @staticmethod
    def init_weights(module: nn.Module, gain: float = 1) -> None:
        """Orthogonal initialisation, as SB3's, which does not know of branches."""
        MultiInputActorCriticPolicy.init_weights(module, gain)
        if isinstance(module, BranchedLinear):
            module.initialize(partial(nn.init.orthogonal_, gain=gain), bias=0.0)


class CilPolicy(BranchedPolicy):
    """The branched network of Codevilla et al. 2018, for images and measurements.

    See `CilPerception` for what sees; behind it are 256 and 256 units for each command, with 50 %
    dropout, and Xavier initialisation with biases of 0.1 (supplement of Dosovitskiy et al. 2017).
    `features_extractor_kwargs={"speed_entry": "speed"}` adds the head of CILRS. Where the policy is
    also sampled from while it learns (PPO, GAIL's generator), dropout does harm: set it to 0.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        *,
        dropout: float = 0.5,
        features_extractor_class: type[BaseFeaturesExtractor] = CilPerception,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            _CIL_ARCH if net_arch is None else net_arch,
            activation_fn,
            dropout=dropout,
            features_extractor_class=features_extractor_class,
            **kwargs,
        )

    @staticmethod
    def init_weights(module: nn.Module, gain: float = 1) -> None:
        """Xavier initialisation, whatever the gain that SB3 would use."""
        if isinstance(module, BranchedLinear):
            module.initialize(nn.init.xavier_uniform_, bias=0.1)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.constant_(module.bias, 0.1)


class FilmPolicy(_CommandApartPolicy):
    """The command, or goal, scales and shifts every layer of the head (see `FilmLayers`)."""

    def _build_heads(self, actor_sizes: list[int], critic_sizes: list[int]) -> ConditionalHeads:
        seen = actor_sizes[0] - self._command_size
        if len(actor_sizes) == 1:
            raise InapplicableError("FilmPolicy needs a layer to modulate: net_arch has none")
        actor = FilmLayers(
            self._command_size, [seen, *actor_sizes[1:]], self.activation_fn, self._dropout
        )
        critic = mlp(critic_sizes, self.activation_fn, self._dropout)
        return ConditionalHeads(actor, critic, actor_sizes[-1], critic_sizes[-1])
