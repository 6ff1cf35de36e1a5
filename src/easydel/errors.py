"""Errors a user can act on: each says what is wrong, where, the value, the limit and what to do."""

import difflib
import sys
import warnings
from collections.abc import Iterable, Sequence


class ConfigError(ValueError):
    """A setting, or two settings together, that cannot work."""


class DataError(ValueError):
    """Preference rows that cannot be trained on."""


class WeightsError(ValueError):
    """A model folder that cannot be read, or does not fit the model it claims to be."""


class Interrupted(KeyboardInterrupt):
    """A run that a signal ended, after saving its state. Not an `Exception`, as handlers of errors should not catch it.

    Attributes:
        signal: its name, such as SIGTERM.
    """

    def __init__(self, signal: str, when: str) -> None:
        super().__init__(f"{signal} ended the run {when}")
        self.signal = signal


def with_notes(error: BaseException) -> str:
    """Returns the message of an error and the notes on it, on one line."""
    return " ".join([str(error), *getattr(error, "__notes__", ())])


def warn(message: str) -> None:
    """Warns at the line outside of this package that called into it, however deep inside the reason was found.

    `stacklevel=` counts calls, and is wrong as soon as one is added.
    """
    package, frame, depth, level = __name__.partition(".")[0], sys._getframe(), 1, 1
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == package:
            level = depth + 1  # its caller
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, stacklevel=level)


def nearest(name: str, choices: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the choice closest to a misspelled name, or `""` without a close one.

    >>> nearest("sigmiod", ["sigmoid", "hinge"])
    " Did you mean 'sigmoid'?"
    >>> nearest("zzz", ["sigmoid", "hinge"])
    ''
    """
    close = closest(name, choices)
    return f" Did you mean {close!r}?" if close else ""


def closest(name: str, choices: Iterable[str]) -> str | None:
    """Returns the choice closest to a misspelled name, or None without a close one."""
    return next(iter(difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)), None)


def unsupported(field: str, value: str, choices: Iterable[str]) -> ConfigError:
    """Returns the error for a name that is not among the choices, with the nearest and all of those.

    >>> unsupported("precision", "hihg", ["default", "high"])
    ConfigError("precision 'hihg' is not supported. Did you mean 'high'? Supported: default, high.")
    """
    names = list(choices)
    return ConfigError(f"{field} {value!r} is not supported.{nearest(value, names)} Supported: {', '.join(names)}.")


def some(names: Sequence[str], limit: int = 5) -> str:
    """Returns the first `limit` names and the number of the others.

    >>> some(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
