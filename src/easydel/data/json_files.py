"""Rows in JSON: one object on each line, a list of objects, or one of the other shapes that programs write them in.

Python's own parser reads them, as the faster ones round small numbers and keep the last of two keys that are alike.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from easydel.errors import DataError, nearest

Row = dict[str, Any]
_SPACE = re.compile(r"[ \t\r\n]*")
_TEXTS = ("prompt", "chosen", "rejected")


class _RepeatedKey(ValueError):
    """An object says the same key twice."""


def json_rows(file: TextIO, path: Path, field: str | None = None) -> Iterator[Row]:
    """Yields the rows of a JSON file; of one with an object on each line, as they are read.

    A file may also hold a list of objects, objects that go over several lines, or one object that is a table: a list
    of rows under a single key, columns (`{"prompt": [...], "chosen": [...]}`), or what pandas writes as `split`,
    `index` or `table`.

    Args:
        path: what errors call the file.
        field: the key of one object, which holds the list of rows.

    Raises:
        DataError: not JSON, a key said twice, or no object, with the line.
    """
    number, line = next(((at, each) for at, each in enumerate(file, start=1) if each.strip()), (0, ""))
    if not number:
        return
    begun = "\n" * (number - 1) + line
    if field is None and not line.lstrip().startswith("["):
        try:
            first = _DECODER.decode(line.rstrip())
        except json.JSONDecodeError:
            pass  # an object over several lines, if it is one
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: {_reason(error)}.") from error
        else:
            yield from _lines(first, number, file, path)
            return
    text = begun + file.read()
    if field is None and text[_after(text, 0) : _after(text, 0) + 1] == "[":
        yield from _listed(text, path)
    else:
        yield from _documents(text, path, field)


def _lines(first: Any, number: int, file: TextIO, path: Path) -> Iterator[Row]:
    rest = ((at, line) for at, line in enumerate(file, start=number + 1) if line.strip())
    rows = _table(first, f"{path}, line {number}")
    if rows is not None:
        yield from rows
        for at, _ in rest:
            raise DataError(f"{path}, line {at}: more follows after an object that holds all rows of a table.")
        return
    yield _checked(first, f"{path}, line {number}", "each line")
    for at, line in rest:
        try:
            row = _DECODER.decode(line.rstrip())
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {at}, column {error.colno}: {error.msg}. Each line must be one JSON object."
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {at}: {_reason(error)}.") from error
        yield _checked(row, f"{path}, line {at}", "each line")


def _listed(text: str, path: Path) -> Iterator[Row]:
    """The objects of a list, one after another, so that each is known by its line."""
    at, lines = _after(text, text.index("[") + 1), _Lines(text)
    if text[at : at + 1] != "]":
        for number in range(len(text)):
            row, end = _decoded(text, at, path)
            if not isinstance(row, dict):
                raise DataError(f"{path}: item {number} of the list is of type {type(row).__name__}, not an object.")
            yield row
            at = _after(text, end)
            if text[at : at + 1] != ",":
                break
            at = _after(text, at + 1)
    if text[at : at + 1] != "]":
        error = json.JSONDecodeError("Expecting ',' delimiter", text, at)
        raise DataError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}.")
    if _after(text, at + 1) < len(text):
        raise DataError(f"{path}, line {lines.number(_after(text, at + 1))}: more follows after the list of rows.")


def _documents(text: str, path: Path, field: str | None) -> Iterator[Row]:
    """Objects that follow one another, each over as many lines as it likes."""
    at, lines, single = _after(text, 0), _Lines(text), None
    while at < len(text):
        place = f"{path}, line {lines.number(at)}"
        if single is not None:
            raise DataError(f"{place}: more follows after an object that holds all rows of a table.")
        value, end = _decoded(text, at, path)
        rows = _table(value, place) if field is None else _field(value, field, place)
        if rows is None:
            yield _checked(value, place, "each value")
        else:
            single = rows
            yield from rows
        at = _after(text, end)


def _decoded(text: str, at: int, path: Path) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        line = text.count("\n", 0, at) + 1
        raise DataError(f"{path}, in the object that begins in line {line}: {_reason(error)}.") from error


def _table(value: Any, place: str) -> list[Row] | None:
    """The rows of an object that holds a whole table; None for one that is a row."""
    rows: list[Any] | None = None
    match value:
        case {"schema": {"fields": [*_]}, "data": [*found]}:
            rows = found
        case {"columns": [*names], "data": [*values]} if all(isinstance(each, list) for each in values):
            rows = [_zipped(names, each, f"{place}, item {at} of 'data'") for at, each in enumerate(values)]
        case dict() if value and all(isinstance(each, dict) for each in value.values()):
            rows = _indexed(value)
        case dict() if len(value) == 1 and _is_of_rows(next(iter(value.values()))):
            rows = next(iter(value.values()))
        case dict() if value and all(isinstance(each, list) for each in value.values()) and _has_columns(value):
            lengths = {name: len(each) for name, each in value.items()}
            if len(set(lengths.values())) > 1:
                raise DataError(
                    f"{place}: the columns of the table differ in length: "
                    + ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
                    + "."
                )
            rows = [dict(zip(value, each, strict=True)) for each in zip(*value.values(), strict=True)]
    if rows is None:
        return None
    return [_checked(row, f"{place}, item {at} of the table", "each row") for at, row in enumerate(rows)]


def _indexed(value: dict[str, Any]) -> list[Any] | None:
    """Rows by their number, or columns whose values go by it: `index` and `columns` of pandas."""
    first = next(iter(value.values()))
    if all(name.isdigit() for name in value):
        return list(value.values())
    if (
        first
        and all(number.isdigit() for number in first)
        and all(each.keys() == first.keys() for each in value.values())
    ):
        return [{name: each[number] for name, each in value.items()} for number in first]
    return None


def _is_of_rows(values: Any) -> bool:
    """Whether it is a list of rows; one of messages is none."""
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(each, dict) and not each.keys() & {"role", "from"} for each in values)
    )


def _has_columns(value: dict[str, list[Any]]) -> bool:
    """Whether lists are columns: a row has messages or ids in its lists, a column texts or lists."""
    known = [value[name] for name in _TEXTS if name in value]
    return any(each and all(isinstance(item, str | list) for item in each) for each in known or value.values())


def _zipped(names: list[Any], values: list[Any], place: str) -> Row:
    if len(names) != len(values):
        raise DataError(f"{place} has {len(values)} values for {len(names)} columns.")
    return dict(zip(names, values, strict=True))


def _field(value: Any, field: str, place: str) -> list[Row]:
    rows = value.get(field) if isinstance(value, dict) else None
    if not isinstance(rows, list):
        hint = nearest(field, value) if isinstance(value, dict) else ""
        raise DataError(
            f"{place}: the object has no list of rows under {field!r}, which the card of the folder names.{hint}"
        )
    return [_checked(row, f"{place}, item {at} of {field!r}", "each row") for at, row in enumerate(rows)]


def _checked(row: Any, place: str, each: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{place}: of type {type(row).__name__}; {each} must be one JSON object.")
    return row


def _reason(error: Exception) -> str:
    return "its lists and objects are nested too deep" if isinstance(error, RecursionError) else str(error)


def _after(text: str, at: int) -> int:
    """Where the white space ends that begins there."""
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


class _Lines:
    """Counts lines up to places that come one after another."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._number = text, 0, 1

    def number(self, at: int) -> int:
        self._number += self._text.count("\n", self._at, at)
        self._at = at
        return self._number


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise _RepeatedKey(f"an object has the key {repeated!r} twice, and only one value can be meant")
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
