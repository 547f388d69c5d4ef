"""`LeanAdam`: torch's fused Adam without what surrounds each of its steps.

Here an optimiser owns one or two tensors. Torch's own step then spends twice as long on finding
them, grouping them by device and telling its profiler as it spends on the arithmetic.
"""

from __future__ import annotations

from typing import Any

import torch as th

_KNOWN = {"betas", "eps", "weight_decay", "fused"}


class LeanAdam(th.optim.Adam):
    """Adam with torch's fused kernel, its state and its results.

    :param params: as of torch's
    :param lr: learning rate
    :param kwargs: of torch's, as far as `can_replace` allows
    """

    def __init__(self, params: Any, lr: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(params, lr=lr, **{**kwargs, "fused": True})
        self._rates: list[th.Tensor] = []

    @staticmethod
    def can_replace(optimizer_class: type, kwargs: dict[str, Any]) -> bool:
        """Whether an optimiser of that class and these arguments has the same results."""
        fused = kwargs.get("fused", False)
        return optimizer_class is th.optim.Adam and bool(fused) and kwargs.keys() <= _KNOWN

    @th.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closures
        """Make one step down the gradients that the parameters have."""
        rates: list[Any] = self._rates or [group["lr"] for group in self.param_groups]
        for group, rate in zip(self.param_groups, rates, strict=True):
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            states = [self._state_of(parameter) for parameter in parameters]
            steps = [state["step"] for state in states]
            th._foreach_add_(steps, 1)
            beta1, beta2 = group["betas"]
            th._fused_adam_(
                parameters,
                [parameter.grad for parameter in parameters],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    step.hooked = True  # type: ignore[attr-defined]  # or torch wraps it for its profiler

    def keep_rates_in_tensors(self) -> None:
        """Read learning rates from the device, so that a recorded step can have others."""
        self._rates = [
            th.zeros((), device=group["params"][0].device) for group in self.param_groups
        ]

    def fill_rates(self) -> None:
        """Put the present learning rates there."""
        for group, rate in zip(self.param_groups, self._rates, strict=True):
            rate.fill_(group["lr"])

    def _state_of(self, parameter: th.Tensor) -> dict[str, th.Tensor]:
        state: dict[str, th.Tensor] = self.state[parameter]
        if not state:
            state["step"] = th.zeros((), device=parameter.device)
            state["exp_avg"] = th.zeros_like(parameter)
            state["exp_avg_sq"] = th.zeros_like(parameter)
        return state
