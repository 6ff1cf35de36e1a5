"""Errors a user can act on: each says what is wrong, where, the value, the limit and the way out."""

import difflib
from collections.abc import Iterable, Sequence


class ConfigError(ValueError):
    """A setting, or two settings together, that cannot work."""


class DataError(ValueError):
    """Preference rows that cannot be trained on."""


class WeightsError(ValueError):
    """A model folder that cannot be read, or does not fit the model it claims to be."""


class Interrupted(KeyboardInterrupt):
    """A run that a signal ended, after it saved what was done. No `Exception`, as no handler of errors should take it.

    Attributes:
        signal: its name, such as SIGTERM.
    """

    def __init__(self, signal: str, when: str) -> None:
        super().__init__(f"{signal} ended the run {when}")
        self.signal = signal


def nearest(name: str, choices: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the choice closest to a misspelt name, or `""` when none is close.

    >>> nearest("sigmiod", ["sigmoid", "hinge"])
    " Did you mean 'sigmoid'?"
    >>> nearest("zzz", ["sigmoid", "hinge"])
    ''
    """
    close = closest(name, choices)
    return f" Did you mean {close!r}?" if close else ""


def closest(name: str, choices: Iterable[str]) -> str | None:
    """Returns the choice closest to a misspelt name, or None when none is close."""
    return next(iter(difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)), None)


def some(names: Sequence[str], limit: int = 5) -> str:
    """Returns the first `limit` names and how many there are besides.

    >>> some(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
