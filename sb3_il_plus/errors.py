"""The errors a user can mend: each message names the thing, the value and the remedy.

The command line turns every `UserError` into one readable line; anything else is a defect of
ours and keeps its traceback.
"""


class UserError(ValueError):
    """Base of all errors that the caller can mend."""


class UnknownNameError(UserError):
    """No algorithm, environment or preset of this name; the message suggests the nearest."""


class InapplicableError(UserError):
    """An algorithm does not fit the task: its spaces, or what it needs to learn from."""


class DataError(UserError):
    """Demonstrations that cannot be used; the message names episode, step and column."""


class FileError(UserError):
    """A file that is damaged, of another kind, or cannot be read without executing it."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is needed and not installed; the message holds the pip command."""


def suggest(name: str, known: list[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest of `known`, or the list of them."""
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "; did you mean " + " or ".join(repr(match) for match in near) + "?"
    if len(known) <= 60:
        return f"; known: {', '.join(sorted(known))}"
    return ""
