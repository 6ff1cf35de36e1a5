"""Values of a row as plain Python: what arrays, data frames and Arrow make of them is taken back."""

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from typing import Any

from easydel.errors import DataError

_LIKE_MESSAGES = re.compile(r"\s*(\[\s*)?\{\s*['\"](role|content|from|value)['\"]\s*:")
_MISSING = ("NAType", "NaTType")  # of pandas, which need not be there


def plain(value: Any, where: str) -> Any:
    """Returns a value with arrays as lists, numbers of numpy as Python's, and what stands for nothing as None.

    >>> plain({"a": (1, 2), "b": float("nan")}, "row 0")
    {'a': [1, 2], 'b': None}

    Raises:
        DataError: beginning with `where`, a string that is no Unicode text.
    """
    if isinstance(value, str):
        return _unicode(value, where)
    if isinstance(value, Mapping):
        return {_unicode(key, f"{where}: a key") if isinstance(key, str) else key: plain(each, where)
                for key, each in value.items()}  # fmt: skip
    if type(value).__module__ == "numpy":  # an array, or a number of one
        return plain(value.tolist(), where)
    if isinstance(value, list | tuple):
        return [plain(each, where) for each in value]
    return None if _is_nothing(value) else value


def is_empty(value: Any) -> bool:
    """Returns whether a plain value says nothing: None, no text, or a list or dict of nothing.

    >>> [is_empty(value) for value in (None, "", [], {}, 0, False, " ")]
    [True, True, True, True, False, False, False]
    """
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)


def without_nulls(value: Any) -> Any:
    """Returns a value without the keys of dicts that hold None, at any depth: Arrow gives every struct all keys.

    >>> without_nulls({"a": None, "b": [{"c": None, "d": 1}, None]})
    {'b': [{'d': 1}, None]}
    """
    if isinstance(value, Mapping):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def check_json(value: Any, where: str) -> Any:
    """Returns a plain value that JSON can say; a template writes any other as it likes, or not at all.

    Raises:
        DataError: beginning with `where`, a date or another such value, at any depth.
    """
    if isinstance(value, Mapping):
        for key, each in value.items():
            check_json(each, f"{where}: {key!r}")
    elif isinstance(value, list):
        for each in value:
            check_json(each, where)
    elif not (value is None or isinstance(value, str | int | float)):
        raise DataError(
            f"{where} is {value!r:.60} ({type(value).__name__}), which JSON has no word for: write it as text."
            f"{of_text(value)}"
        )
    return value


def of_text(value: Any) -> str:
    """Returns what to say of a value that stands where text was meant, and may have been text; "" for any other."""
    if isinstance(value, date | time | timedelta):
        return (
            " datasets.load_dataset makes dates of text in JSON that looks like one: name the file or folder instead, "
            "which is then read as it says, or give load_dataset the features."
        )
    if isinstance(value, int | float):
        return " A reader of csv or JSON may have made it of text: give the column a type, or quote it."
    return ""


def from_json(text: str, where: str, wanted: str) -> Any:
    """Returns what JSON text says.

    Raises:
        DataError: beginning with `where`, that it is no JSON, and what was `wanted`.
    """
    try:
        return plain(json.loads(text), where)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}). {wanted}") from error


def written_out(text: str, where: str) -> Any:
    """Returns the list or dict of messages that text spells out in JSON or in Python; None for any other text.

    >>> written_out('[{"role": "user", "content": "Hi"}]', "row 0"), written_out("[1]", "row 0")
    ([{'role': 'user', 'content': 'Hi'}], None)

    Raises:
        DataError: text that begins like messages and cannot be read.
    """
    if not _LIKE_MESSAGES.match(text):
        return None
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise DataError(
                f"{where} begins like a list of messages, {text[:40]!r}, and is neither JSON nor a Python list. "
                "Columns of lists that were saved to csv become text of this kind: save them to jsonl or parquet."
            ) from error
    messages = value if isinstance(value, list) else [value]
    alike = all(isinstance(each, Mapping) and each.keys() & {"role", "from"} for each in messages)
    return plain(value, where) if alike else None


def strings(value: Any) -> Iterator[str]:
    """Yields all text in a plain value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


def _is_nothing(value: Any) -> bool:
    return (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in _MISSING


def _unicode(text: str, where: str) -> str:
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} holds half of a surrogate pair, {text[error.start]!r} at character {error.start}, which is no "
            "Unicode text: it was cut in two, or decoded wrongly. Mend the text or remove the row."
        ) from error
    return text
