"""`HandsOver`: the mixin by which any of our models becomes a plain SB3 model (`to_sb3`).

What is handed over: the policy's weights, the normalisation of observations, and on request what
the optimiser has gathered. An algorithm says through small hooks what is special about it.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.handover import fitting, folding, optimizers, vec_normalize
from sb3_il_plus.handover.optimizers import OptimizerStates
from sb3_il_plus.normalization import StandardizedExtractor

EXPLORATION = 0.05
"""Share of random actions with which a DQN goes on: where SB3's ends, not where it begins."""


class HandOverWarning(UserWarning):
    """The model that was handed over needs code beside SB3's to be loaded."""


class HandsOver:
    """Mixin of models that can become plain SB3 ones."""

    carries_optimizer: ClassVar[bool] = False
    """Whether SB3 goes on with the same objective, so that the optimiser's state still fits."""

    policy: Any
    env: Any
    seed: int | None
    device: Any
    policy_kwargs: dict[str, Any]
    _vec_normalize_env: Any

    def to_sb3(
        self,
        algorithm_class: type[BaseAlgorithm] | str | None = None,
        env: GymEnv | str | None = None,
        *,
        carry_optimizer: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Make a plain SB3 model that acts as this one does, to learn on from rewards.

        SB3 saves and loads it, without this package. Statistics of `normalize_observations` go into
        the first layers, where observations beyond ten deviations are no longer clipped; or, if
        `env` is a `VecNormalize` that has seen nothing yet, into that. A `VecNormalize` that this
        model learned in is copied around `env`, with its statistics fixed.

        Off-policy algorithms begin without random actions (`learning_starts=0`; 5 % of them in
        DQN). See `finetune` for going on without losing what was learned.

        :param algorithm_class: class or registered name (`PPO`, `"sac"`); None for the one that
            the policy was made for
        :param env: to learn on in; None for the present one, or none
        :param carry_optimizer: whether to take the optimiser's state along; None to do so where the
            objective stays the same, which it does for offline RL. What reads observations whose
            scale changes begins anew
        :param kwargs: of the constructor of `algorithm_class`
        :return: a model of `algorithm_class`
        :raises InapplicableError: `algorithm_class` cannot go on with this policy; the message
            names those that can
        """
        online = self._online_class()
        if algorithm_class is not None:
            online = fitting.find_algorithm(algorithm_class)
        policy_class = self._plain_policy_class()
        fitting.check_fits(online, policy_class, self)
        extractor = folding.find_extractor(self.policy)
        wrapped, given = vec_normalize.carry(self._vec_normalize_env, self.env, env, online)
        model: Any = online(policy_class, wrapped, **self._arguments(online, kwargs))
        model.policy.load_state_dict(folding.without_extractor(self._plain_state()))
        changed: set[Any] = set()
        if extractor is not None and given is not None:
            vec_normalize.set_statistics(given, extractor)
        elif extractor is not None:
            changed = folding.fold(model.policy, extractor)
        if self.carries_optimizer if carry_optimizer is None else carry_optimizer:
            optimizers.put_states(model.policy, self._optimizer_states(), changed)
        self._finish_handover(model)
        _warn_of_other_code(policy_class)
        return model

    # -- what algorithms differ in ---------------------------------------------------------------

    def _online_class(self) -> type[BaseAlgorithm]:
        """The algorithm that goes on by default."""
        return fitting.default_algorithm(self._plain_policy_class(), self)

    def _online_arguments(self, online: type[BaseAlgorithm]) -> dict[str, Any]:
        """Constructor arguments that both have in common."""
        return {}

    def _plain_policy_class(self) -> type[BasePolicy]:
        """The class of the policy that is handed over."""
        return type(self.policy)

    def _plain_state(self) -> dict[str, Any]:
        """The weights, as that policy names them."""
        state: dict[str, Any] = self.policy.state_dict()
        return state

    def _optimizer_states(self) -> OptimizerStates:
        """What the policy's optimisers have gathered, by the names of parameters."""
        return optimizers.states_of(self.policy)

    def _finish_handover(self, model: Any) -> None:
        """Hand over what else there is."""

    # -- arguments -------------------------------------------------------------------------------

    def _arguments(self, online: type[BaseAlgorithm], given: Mapping[str, Any]) -> dict[str, Any]:
        known = inspect.signature(online).parameters
        own = {"seed": self.seed, "device": self.device, **self._online_arguments(online)}
        if issubclass(online, OffPolicyAlgorithm):
            own["learning_starts"] = 0
        if "exploration_initial_eps" in known:
            own["exploration_initial_eps"] = own["exploration_final_eps"] = EXPLORATION
        policy_kwargs = {**self._plain_policy_kwargs(), **(given.get("policy_kwargs") or {})}
        if "use_sde" in policy_kwargs:  # SB3's algorithms pass theirs, and twice is an error
            own["use_sde"] = policy_kwargs.pop("use_sde")
        return {**own, **given, "policy_kwargs": policy_kwargs}

    def _plain_policy_kwargs(self) -> dict[str, Any]:
        """The policy's arguments without what is ours, and what is only for speed."""
        arguments = dict(self._build_policy_kwargs())
        if arguments.get("features_extractor_class") is StandardizedExtractor:
            inner = arguments.pop("features_extractor_kwargs")
            arguments["features_extractor_class"] = inner["base_class"]
            arguments["features_extractor_kwargs"] = dict(inner["base_kwargs"])
        if "optimizer_kwargs" not in self.policy_kwargs:
            arguments.pop("optimizer_kwargs", None)
        return arguments

    def _build_policy_kwargs(self) -> dict[str, Any]:
        raise NotImplementedError


def _warn_of_other_code(policy_class: type[BasePolicy]) -> None:
    package = policy_class.__module__.partition(".")[0]
    if package not in ("stable_baselines3", "sb3_contrib"):
        warnings.warn(
            f"the policy is a {policy_class.__name__}, which is not SB3's own: where the model is "
            f"loaded, {package} has to be installed, too",
            HandOverWarning,
            stacklevel=3,
        )
