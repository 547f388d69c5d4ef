"""Activation functions by name, so that YAML and the command line can ask for one: `"ReLU"`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules import activation

from sb3_il_plus.errors import UnknownNameError, suggest


def activation_named(name: str) -> type[nn.Module] | None:
    """The class in `torch.nn.modules.activation` of that name; None where there is none."""
    found = getattr(activation, name, None)
    is_class = isinstance(found, type) and issubclass(found, nn.Module) and found is not nn.Module
    return found if is_class else None


def with_activation(policy_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a policy's arguments in which `activation_fn` is a class, even if it was named.

    :raises UnknownNameError: torch has no activation of that name
    """
    name = policy_kwargs.get("activation_fn")
    if not isinstance(name, str):
        return dict(policy_kwargs)
    found = activation_named(name)
    if found is None:
        known = [other for other in activation.__all__ if activation_named(other)]
        raise UnknownNameError(f"torch has no activation called {name!r}{suggest(name, known)}")
    return {**policy_kwargs, "activation_fn": found}
