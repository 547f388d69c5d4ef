"""The conformance kit: every check that applies to an algorithm, run in one line.

    from sb3_il_plus.testing import check_algorithm

    def test_my_algorithm():
        check_algorithm("mine")

With pytest, each check can be a test of its own:

    @pytest.mark.parametrize("check", checks_for("mine"), ids=str)
    def test_conformance(check):
        check()
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sb3_il_plus.registry import registry
from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.testing import (
    callbacks,
    claims,
    construction,
    handover,
    learning,
    prediction,
    saving,
)
from sb3_il_plus.testing.check import Check, ConformanceError
from sb3_il_plus.testing.task import Task

CHECKS: tuple[Check, ...] = (
    *claims.CHECKS,
    *construction.CHECKS,
    *learning.CHECKS,
    *callbacks.CHECKS,
    *prediction.CHECKS,
    *saving.CHECKS,
    *handover.CHECKS,
)
"""Every check there is."""


@dataclass(frozen=True)
class AlgorithmCheck:
    """One check of one algorithm, ready to run: call it.

    :param check: the question
    :param spec: the algorithm
    :param options: of the `Task`
    """

    check: Check
    spec: AlgorithmSpec
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.spec.name}-{self.check.name}"

    def __call__(self) -> None:
        """Run it in a folder of its own.

        :raises ConformanceError: the algorithm fails; the message says what came back
        """
        with (
            tempfile.TemporaryDirectory(prefix="conformance_") as folder,
            warnings.catch_warnings(),
        ):
            # SB3 warns about tiny rollouts and missing GPUs; the kit asks for the former.
            warnings.simplefilter("ignore")
            try:
                self.check.function(Task(self.spec, Path(folder), **self.options))
            except Exception as error:
                kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
                raise ConformanceError(
                    f"{self.spec.name} fails {self.check.name}: {kind}{error}"
                ) from error


@dataclass(frozen=True)
class Report:
    """What `check_algorithm` did.

    :param algorithm: its name
    :param seconds: name of each check that passed -> how long it took
    :param not_applicable: names of the checks that make no sense for this algorithm
    """

    algorithm: str
    seconds: dict[str, float]
    not_applicable: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.algorithm} passes {len(self.seconds)} checks in "
            f"{sum(self.seconds.values()):.1f} s; {len(self.not_applicable)} do not apply"
        )


def checks_for(
    algorithm: str | AlgorithmSpec | type,
    *,
    hyperparameters: Mapping[str, Any] | None = None,
    timesteps: int = 48,
    seed: int = 0,
) -> list[AlgorithmCheck]:
    """List the checks that apply to an algorithm, without running or importing anything of it.

    :param algorithm: its name, its spec, or its class with the spec as attribute `spec`; a spec
        that the registry does not know is registered for the running process
    :param hyperparameters: constructor arguments that make it quick on a tiny task (the kit knows
        SB3's names for them: see `sb3_il_plus.testing.task.QUICK`)
    :param timesteps: of a short training
    :param seed: of everything random
    :raises UserError: there is no such algorithm, or it is a plugin that failed to import
    """
    options = {"hyperparameters": hyperparameters or {}, "timesteps": timesteps, "seed": seed}
    spec = _find_spec(algorithm)
    return [AlgorithmCheck(check, spec, options) for check in CHECKS if check.applies(spec)]


def check_algorithm(
    algorithm: str | AlgorithmSpec | type,
    *,
    hyperparameters: Mapping[str, Any] | None = None,
    timesteps: int = 48,
    seed: int = 0,
) -> Report:
    """Check that an algorithm keeps the package's contract; see `checks_for` for the arguments.

    :return: which checks ran, and for how long
    :raises UserError: its class cannot be imported
    :raises ConformanceError: it fails; the message names the algorithm, and every check that failed
        with what came back
    """
    checks = checks_for(algorithm, hyperparameters=hyperparameters, timesteps=timesteps, seed=seed)
    checks[0].spec.load()  # what is missing is said once, not by every check
    seconds, failures = {}, []
    for check in checks:
        start = time.perf_counter()
        try:
            check()
        except ConformanceError as error:
            failures.append(error)
        else:
            seconds[check.check.name] = time.perf_counter() - start
    if failures:
        summary = f"{len(failures)} of {len(checks)} checks failed:\n"
        raise ConformanceError(summary + "\n".join(map(str, failures))) from failures[0]
    ran = {check.check.name for check in checks}
    skipped = tuple(check.name for check in CHECKS if check.name not in ran)
    return Report(checks[0].spec.name, seconds, skipped)


def _find_spec(algorithm: str | AlgorithmSpec | type) -> AlgorithmSpec:
    if isinstance(algorithm, str):
        return registry.get(algorithm)
    spec = getattr(algorithm, "spec", algorithm)
    if not isinstance(spec, AlgorithmSpec):
        raise TypeError(f"{algorithm!r} is no name, no AlgorithmSpec and no class with one")
    return registry.register(spec)
