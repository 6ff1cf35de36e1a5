"""Values of a row as plain Python: what arrays, data frames and Arrow make of them is undone."""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from typing import Any

from easydel.data.text_literals import Spelled, spelled_out
from easydel.errors import DataError

_BEGINS = re.compile(r"\s*(array\(\s*)?[\[{\"]")
_ROLE = re.compile(r"['\"](role|from)\\?['\"]\s*:")
_SAYS = re.compile(r"['\"](content|value|text|tool_calls|function_call)\\?['\"]")
_LIKE_MESSAGES = re.compile(r"\s*(array\(\s*)?(\[\s*)?\{\s*['\"](role|content|from|value)['\"]\s*:")
_MISSING = ("NAType", "NaTType")  # of pandas, which need not be there


def plain(value: Any, where: str) -> Any:
    """Returns a value with arrays as lists, numbers of numpy as Python's, and missing values as None.

    >>> plain({"a": (1, 2), "b": float("nan")}, "row 0")
    {'a': [1, 2], 'b': None}

    Raises:
        DataError: beginning with `where`, a string that is not valid Unicode.
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
    """Returns whether a plain value is empty: None, or a string, list or dict of length 0.

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
    """Returns a plain value that JSON can hold; a template renders any other in its own way, or not at all.

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
            f"{where} is {value!r:.60} ({type(value).__name__}), which JSON cannot hold: write it as a string."
            f"{not_string_hint(value)}"
        )
    return value


def not_string_hint(value: Any) -> str:
    """Returns what may have turned a string into this value, and what to do about it; "" where nothing is known."""
    if isinstance(value, date | time | timedelta):
        return (
            " datasets.load_dataset turns strings in JSON that look like dates into dates: give the file or folder by "
            "name instead, which keeps them as strings, or pass features= to load_dataset."
        )
    if isinstance(value, int | float):
        return " A CSV or JSON reader may have converted it from a string: give the column a string type, or quote it."
    return ""


def from_json(text: str, where: str, wanted: str) -> Any:
    """Returns the value of a JSON string; or of a Python literal, where a file of Arrow was saved as CSV.

    Raises:
        DataError: beginning with `where`, a string that is neither; it ends with `wanted`.
    """
    try:
        value, nulls_meant = spelled_out(text)
    except ValueError as error:
        raise DataError(f"{where} is not JSON ({error.__cause__ or error}). {wanted}") from error
    return plain(value if nulls_meant else without_nulls(value), where)


def written_out(text: str, where: str) -> Spelled | None:
    """Returns the list or dict of messages that a string holds in JSON or Python; None for any other string.

    A message has a role and a content; JSON of other keys is a string like any other.

    >>> written_out('[{"id": 1, "role": "user", "content": "Hi"}]', "row 0").value, written_out('{"role": "cook"}', "r")
    ([{'id': 1, 'role': 'user', 'content': 'Hi'}], None)

    Raises:
        DataError: beginning with `where`, a string that begins like messages and cannot be read.
    """
    if not (_BEGINS.match(text) and _ROLE.search(text) and _SAYS.search(text)):
        return None
    try:
        value, nulls_meant = spelled_out(text)
    except ValueError as error:
        if not _LIKE_MESSAGES.match(text):
            return None
        raise DataError(
            f"{where} looks like a list of messages, {text[:40]!r}, but is neither JSON nor a Python list. "
            "Columns of lists become such strings in a CSV file: save them as JSONL or Parquet."
        ) from error
    if isinstance(value, str):  # JSON in JSON
        return written_out(value, where) if value != text else None
    within = conversation_in(value)
    messages = within if isinstance(within, list) else [within]
    alike = messages and all(isinstance(each, Mapping) and _is_message(each) for each in messages)
    return Spelled(plain(within, where), nulls_meant) if alike else None


def conversation_in(value: Any) -> Any:
    """Returns the messages of a dict that holds nothing else; any other value unchanged."""
    if isinstance(value, Mapping) and not value.keys() & {"role", "from"}:
        found = [name for name in ("messages", "conversations", "conversation") if name in value]
        if found and all(is_empty(value[name]) for name in value if name != found[0]):
            return value[found[0]]
    return value


def is_void(value: Any) -> bool:
    """Returns whether a value is empty at any depth: None, "", or lists and dicts of None alone.

    Arrow writes a dict that is not there as one of the keys of all rows, each None.

    >>> [is_void(value) for value in (None, "", [None], {"a": None, "b": {"c": None}}, {"a": ""}, [""], 0)]
    [True, True, True, True, False, False, False]
    """
    if isinstance(value, Mapping):
        return all(not isinstance(each, str) and is_void(each) for each in value.values())
    if isinstance(value, list | tuple):
        return all(not isinstance(each, str) and is_void(each) for each in value)
    return value is None or value == ""


def rows_of(columns: Mapping[str, list[Any]], where: str) -> list[dict[str, Any]]:
    """Returns the rows of a dict of columns.

    >>> rows_of({"prompt": ["a", "b"], "chosen": ["c", "d"]}, "a.json")
    [{'prompt': 'a', 'chosen': 'c'}, {'prompt': 'b', 'chosen': 'd'}]

    Raises:
        DataError: beginning with `where`, columns that differ in length.
    """
    lengths = {name: len(each) for name, each in columns.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise DataError(f"{where}: the columns differ in length: {counts}.")
    return [dict(zip(columns, each, strict=True)) for each in zip(*columns.values(), strict=True)]


def as_dicts(value: Any) -> Any:
    """Returns a dict of lists, which `datasets` made of lists of dicts, as a list of dicts; any other value unchanged.

    >>> as_dicts({"role": ["user", "assistant"], "content": ["Hi", "Ho"], "name": None})
    [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Ho'}]
    """
    if not isinstance(value, Mapping):
        return value
    columns = {key: as_dicts(each) for key, each in value.items() if each is not None}
    lengths = {len(each) if isinstance(each, list) else -1 for each in columns.values()}
    if len(lengths) != 1 or -1 in lengths:
        return value
    return rows_of(columns, "")


def leaves(value: Any) -> Iterator[Any]:
    """Yields all that is in a plain value and is neither a dict nor a list.

    >>> list(leaves({"a": [1, "b"], "c": None}))
    [1, 'b', None]
    """
    if isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(each)
    else:
        yield value


def _is_message(value: Mapping[str, Any]) -> bool:
    says = ("content", "value", "text", "tool_calls", "function_call")
    return bool(value.keys() & {"role", "from"}) and any(name in value for name in says)


def _is_nothing(value: Any) -> bool:
    return (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in _MISSING


def _unicode(text: str, where: str) -> str:
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} holds half of a surrogate pair, {text[error.start]!r} at character {error.start}, and is not "
            "valid Unicode: it was cut in two, or decoded wrongly. Fix the string or remove the row."
        ) from error
    return text
