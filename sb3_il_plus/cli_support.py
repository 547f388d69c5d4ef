"""What the commands of `cli` share: readable errors, and understanding what people type.

As `cli`, it imports nothing heavy at module level.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sb3_il_plus.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from sb3_il_plus.spec import AlgorithmSpec
    from sb3_il_plus.tables.specification import AlgorithmSettings

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130

_DEBUG = inspect.Parameter(
    "debug",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--debug", help="Show an error's traceback.")],
)


def new_app(description: str) -> typer.Typer:
    """A command line without commands."""
    return typer.Typer(
        name="sb3-il-plus",
        help=description,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command with readable errors and the option `--debug`."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def guarded(*, debug: bool, **arguments: Any) -> None:
            try:
                function(**arguments)
            except KeyboardInterrupt:
                stop("interrupted", EXIT_INTERRUPTED)
            except BrokenPipeError:  # the reader, such as `head`, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            except (UserError, OSError) as error:
                if debug:
                    raise
                stop(f"error: {' '.join(str(error).split())}", EXIT_BAD_INPUT)

        signature = inspect.signature(function, eval_str=True)
        guarded.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), _DEBUG]
        )
        guarded.__annotations__ = {
            parameter.name: parameter.annotation
            for parameter in inspect.signature(guarded).parameters.values()
        }
        return app.command(name)(guarded)

    return register


def stop(message: str, exit_code: int) -> NoReturn:
    """Print one line on standard error and end the program."""
    print(message, file=sys.stderr)
    raise typer.Exit(exit_code)


def console(stderr: bool = False) -> Console:
    """A Rich console."""
    from rich.console import Console

    return Console(stderr=stderr)


@contextmanager
def readable_warnings() -> Iterator[None]:
    """Print what was assumed as plain lines on standard error."""
    from sb3_il_plus.data.hints import DataWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        try:
            yield
        finally:
            for warning in caught:
                print(f"warning: {warning.message}", file=sys.stderr)


def parse_settings(assignments: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Turn `["batch_size=64", "generator_kwargs.n_steps=256"]` into nested values, read as YAML.

    :param option: that they were typed after, for messages
    :raises UserError: an assignment has no `=`, or its value is no YAML
    """
    import yaml

    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        *path, last = key.strip().split(".")
        if not separator or not all([*path, last]):
            raise UserError(f"{option} {assignment!r} must look like KEY=VALUE")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"{option} {assignment!r}: the value is no YAML: {error}") from error
        target = settings
        for part in path:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise UserError(
                    f"{option} {assignment!r}: {part!r} was set to a single value before"
                )
        target[last] = value
    return settings


_OPTIONS = {"environment": "--env", "demonstrations": "--demos", "expert": "--expert"}


def check_sources(spec: AlgorithmSpec, given: Mapping[str, str | None]) -> None:
    """Make sure that an algorithm is given what it learns from.

    :param given: source -> what the user typed for it, if anything
    :raises UserError: names the options that are missing, or superfluous
    """
    missing = [_OPTIONS[name] for name in _OPTIONS if name in spec.consumes and not given[name]]
    if missing:
        raise UserError(f"{spec.name} learns from {' and '.join(missing)}, which you did not give")
    if given["expert"] and "expert" not in spec.consumes:
        raise UserError(
            f"{spec.name} cannot ask an expert: leave out --expert, and give it demonstrations "
            "that 'sb3-il-plus collect' made of the expert"
        )


def algorithm_settings(
    spec: AlgorithmSpec, env_id: str | None, timesteps: int | None, changes: dict[str, Any]
) -> AlgorithmSettings:
    """The preset of an algorithm in an environment, with changes to it.

    :raises UserError: a hyperparameter is unknown; the message names the nearest
    """
    from sb3_il_plus.tables.presets import tuned_settings
    from sb3_il_plus.tables.tasks import check_hyperparameters

    check_hyperparameters(spec, changes)
    return tuned_settings(spec, env_id, timesteps, changes)


def find_expert(text: str, env_id: str, trained: bool = False, trust: bool = False) -> Any:
    """Load the agent at a path or on the Hub, or train the expert of an algorithm's name.

    :param trained: it is a path in any case
    :param trust: let SB3 load a file that cannot be read without executing it
    :raises UserError: it is neither, or does not fit the environment
    """
    from sb3_il_plus.experts.loading import load_expert
    from sb3_il_plus.tables.compare import expert_settings

    if trained:
        return load_expert(text, env_id, trust=trust)
    settings = expert_settings(text)
    if settings.path is not None:
        return load_expert(settings.path, env_id, trust=trust)
    from sb3_il_plus.experts.training import train_expert

    return train_expert(env_id, settings.algorithm or "ppo", progress_bar=sys.stderr.isatty())
