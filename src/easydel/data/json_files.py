"""Rows in JSON: one object on each line, a list of objects, or one of the other shapes that programs write them in.

Python's own parser reads them, as the faster ones round small numbers and keep the last of two keys that are alike.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from easydel.data.bad_rows import BadRow
from easydel.data.plain_values import rows_of
from easydel.data.tables import Row
from easydel.errors import DataError, nearest
from easydel.json_objects import located

_SPACE = re.compile(r"[ \t\r\n]*")
_TEXTS = ("prompt", "chosen", "rejected")


def json_rows(file: TextIO, path: Path, field: str | None = None) -> Iterator[Row]:
    """Yields the rows of a JSON file; of one with an object on each line as they are read, a bad line as a `BadRow`.

    A file may also hold a list of objects, objects that go over several lines, or one object that is a table: a list
    of rows under a single key, columns (`{"prompt": [...], "chosen": [...]}`), or what pandas writes as `split`,
    `index` or `table`.

    Args:
        path: what errors call the file.
        field: the key of one object, which holds the list of rows.

    Raises:
        DataError: with the line, what is not JSON or not an object, or a key that comes twice.
    """
    number, line = next(((at, each) for at, each in enumerate(file, start=1) if each.strip()), (0, ""))
    if not number:
        return
    begun = "\n" * (number - 1) + line
    if field is None and not line.lstrip().startswith("["):
        try:
            first = _DECODER.decode(line.rstrip())
        except json.JSONDecodeError:
            pass  # it may be an object over several lines
        except (ValueError, RecursionError) as error:
            raise _damaged(path, error, number) from error
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
            raise DataError(f"{path}, line {at}: more data follows the object that holds the whole table.")
        return
    yield _checked(first, f"{path}, line {number}", "each line")
    for at, line in rest:
        try:
            row = _checked(_DECODER.decode(line.rstrip()), f"{path}, line {at}", "each line")
        except DataError as error:
            row = BadRow(str(error))
        except (ValueError, RecursionError) as error:
            hint = " Each line must be one JSON object." if isinstance(error, json.JSONDecodeError) else ""
            row = BadRow(str(_damaged(path, error, at, hint)))
        yield row


def _listed(text: str, path: Path) -> Iterator[Row]:
    """The objects of a list, one after another, so that each is known by its line."""
    at = _after(text, text.index("[") + 1)
    if text[at : at + 1] != "]":
        for number in range(len(text)):
            row, end = _decoded(text, at, path)
            yield _checked(row, f"{path}: item {number} of the list", "each item")
            at = _after(text, end)
            if text[at : at + 1] != ",":
                break
            at = _after(text, at + 1)
    if text[at : at + 1] != "]":
        raise _damaged(path, json.JSONDecodeError("Expecting ',' delimiter", text, at))
    if (end := _after(text, at + 1)) < len(text):
        line = text.count("\n", 0, end) + 1
        raise DataError(f"{path}, line {line}: more data follows the list of rows.")


def _documents(text: str, path: Path, field: str | None) -> Iterator[Row]:
    """Objects that follow one another, each over any number of lines."""
    before, line, is_table = 0, 1, False
    while (at := _after(text, before)) < len(text):
        line += text.count("\n", before, at)
        place = f"{path}, line {line}"
        if is_table:
            raise DataError(f"{place}: more data follows the object that holds the whole table.")
        value, before = _decoded(text, at, path)
        line += text.count("\n", at, before)
        rows = _table(value, place) if field is None else _field(value, field, place)
        if rows is None:
            yield _checked(value, place, "each value")
        else:
            is_table = True
            yield from rows


def _decoded(text: str, at: int, path: Path) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise _damaged(path, error) from error
    except (ValueError, RecursionError) as error:
        line = text.count("\n", 0, at) + 1
        raise _damaged(f"{path}, in the object that begins in line {line}", error) from error


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
            rows = rows_of(value, place)
    if rows is None:
        return None
    return [_checked(row, f"{place}, item {at} of the table", "each row") for at, row in enumerate(rows)]


def _indexed(value: dict[str, Any]) -> list[Any] | None:
    """Rows by number, or columns of values by row number: `index` and `columns` of pandas."""
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
    """Whether it is a list of rows, and not of messages."""
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(each, dict) and not each.keys() & {"role", "from"} for each in values)
    )


def _has_columns(value: dict[str, list[Any]]) -> bool:
    """Whether lists are columns: a row has messages or ids in its lists, a column strings or lists."""
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
            f"{place}: {field!r}, the field that the folder's dataset card names, is not a list of rows.{hint}"
        )
    return [_checked(row, f"{place}, item {at} of {field!r}", "each row") for at, row in enumerate(rows)]


def _checked(row: Any, place: str, each: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{place} is of type {type(row).__name__}; {each} must be one JSON object.")
    return row


def _damaged(path: object, error: Exception, line: int | None = None, hint: str = "") -> DataError:
    return DataError(": ".join(located(path, error, line)) + f".{hint}")


def _after(text: str, at: int) -> int:
    """Where the white space at a place ends."""
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {repeated!r} twice: remove one of them")
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
