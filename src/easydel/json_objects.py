"""Reads JSON files: one place for what is said of those that are damaged, with file, line, column and reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from easydel.errors import WeightsError

MakeError = Callable[[str], Exception]


def read_object(file: Path, error: MakeError = WeightsError, *, hint: str = "") -> dict[str, Any]:
    """Returns the JSON object in a file.

    Args:
        error: makes the exception from its message.
        hint: what to do about a file that holds none; the end of the message.

    Raises:
        error: it is not UTF-8, not JSON, or not an object.
        OSError: it cannot be read.
    """
    return parse_object(file.read_bytes(), file, error, hint=hint)


def parse_object(
    text: bytes, file: object, error: MakeError, *, line: int | None = None, hint: str = ""
) -> dict[str, Any]:
    r"""Returns the JSON object in a text, see `read_object`.

    >>> parse_object(b'{"loss": 0.', "metrics.jsonl", ValueError, line=7)
    Traceback (most recent call last):
    ValueError: metrics.jsonl, line 7, column 11: not valid JSON: Expecting ',' delimiter.

    Args:
        file: what the message calls the place.
        line: where the text stands in its file, if it is one line of it.
    """
    hint = f" {hint}" if hint else ""
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        place, reason = located(file, problem, line)
        raise error(f"{place}: not valid JSON: {reason}.{hint}") from None
    if not isinstance(value, dict):
        place = file if line is None else f"{file}, line {line}"
        raise error(f"{place}: a JSON object is needed, and this is of type {type(value).__name__}.{hint}")
    return value


def located(file: object, problem: Exception, line: int | None = None) -> tuple[str, str]:
    """Returns (file, line and column as far as they are known; the reason) of what Python's decoder raised.

    Args:
        line: where the decoded text begins in its file; None where that is not known.
    """
    if isinstance(problem, json.JSONDecodeError):
        return f"{file}, line {problem.lineno + (line or 1) - 1}, column {problem.colno}", problem.msg
    reason = "its lists and objects are nested too deep" if isinstance(problem, RecursionError) else str(problem)
    return str(file) if line is None else f"{file}, line {line}", reason
