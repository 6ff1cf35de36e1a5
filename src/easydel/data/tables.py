"""Rows in Parquet and Arrow files, with the JSON columns that `datasets` makes of values of several types."""

import json
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easydel.errors import DataError

Row = dict[str, Any]
Read = Callable[[Any], Any]
_ROWS_AT_ONCE = 1000
# Where a value is a string, messages, or a list of parts, and never a number, a boolean or another object.
_TEXTS = ("prompt", "chosen", "rejected", "content", "value", "text")


def parquet_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a Parquet file.

    Raises:
        DataError: it is damaged, or of another format.
    """
    import pyarrow  # comes with `datasets`; slow to import
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield from table_rows(file.schema_arrow, file.iter_batches())
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: {error}") from error


def arrow_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a file in Arrow's IPC format, a stream as `datasets` writes it, or a file.

    Raises:
        DataError: it is damaged, or of another format.
    """
    import pyarrow
    import pyarrow.ipc

    try:
        with pyarrow.memory_map(str(path)) as file:
            is_file = file.read(6) == b"ARROW1"
            file.seek(0)
            if is_file:
                reader = pyarrow.ipc.open_file(file)
                yield from table_rows(reader.schema, map(reader.get_batch, range(reader.num_record_batches)))
            else:
                stream = pyarrow.ipc.open_stream(file)
                yield from table_rows(stream.schema, stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: {error}") from error


def table_rows(schema: Any, batches: Any) -> Iterator[Row]:
    """Yields the rows of Arrow's record batches as they were written, before they became columns of one type.

    JSON columns are parsed. Where a string is meant, `datasets` keeps one that is JSON itself as it is: there `42` is
    the completion "42", and not a number.
    """
    features = _features(schema)
    readers = [(field.name, _reader(field.name, field.type, features.get(field.name))) for field in schema]
    readers = [(name, read) for name, read in readers if read is not None]
    for batch in batches:
        for row in batch.to_pylist():
            for name, read in readers:
                row[name] = read(row[name])
            yield row


def as_written(dataset: Any) -> Any:
    """Returns the rows of a `Dataset` or `IterableDataset` as they were written: itself where no column is JSON.

    >>> import datasets
    >>> rows = [{"chosen": "42"}, {"chosen": [{"role": "assistant", "content": "Yes."}]}]
    >>> mixed = datasets.Dataset.from_list(rows, on_mixed_types="use_json")
    >>> mixed[0], as_written(mixed)[0]
    ({'chosen': 42}, {'chosen': '42'})
    """
    features = dataset.features
    if features is not None:
        schema = features.arrow_schema
        if all(_reader(field.name, field.type, None) is None for field in schema):
            return dataset
    rows = _Written(dataset)
    return list(rows) if isinstance(dataset, Sized) else rows


@dataclass(frozen=True)
class _Written:
    """The rows of a dataset as they were written, read while they are iterated over."""

    dataset: Any

    def __iter__(self) -> Iterator[Row]:
        for table in self.dataset.with_format("arrow").iter(batch_size=_ROWS_AT_ONCE):
            yield from table_rows(table.schema, table.to_batches())


def _features(schema: Any) -> Mapping[str, Any]:
    """The features of the columns that `datasets` writes into a file; {} in files of other programs."""
    said = (schema.metadata or {}).get(b"huggingface")
    try:
        features = (json.loads(said).get("info") or {}).get("features") if said else None
    except (ValueError, AttributeError):
        features = None
    return features if isinstance(features, Mapping) else {}


def _reader(name: str, kind: Any, feature: Any) -> Read | None:
    """The function that turns a value of a column into what was written; None where it is that already.

    Args:
        name: of the column, or of the innermost field.
        feature: its type, as `datasets` writes it.
    """
    import pyarrow.types as types

    of_json = isinstance(feature, Mapping) and feature.get("_type") == "Json"
    if of_json or getattr(kind, "extension_name", "") == "arrow.json":
        return _json_text if name in _TEXTS else _json_value
    if types.is_struct(kind):
        return _struct_reader(kind, feature)
    if types.is_map(kind):
        keys, values = _reader("", kind.key_type, None), _reader("", kind.item_type, None)
        return lambda pairs: None if pairs is None else {_read(keys, key): _read(values, value) for key, value in pairs}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = feature[0] if isinstance(feature, list) and feature else None
        inner = feature.get("feature") if isinstance(feature, Mapping) else inner
        read = _reader(name, kind.value_type, inner)
        return None if read is None else lambda values: None if values is None else [read(value) for value in values]
    return None


def _struct_reader(kind: Any, feature: Any) -> Read | None:
    known = feature if isinstance(feature, Mapping) else {}
    fields = [kind.field(at) for at in range(kind.num_fields)]
    readers = {field.name: _reader(field.name, field.type, known.get(field.name)) for field in fields}
    readers = {name: read for name, read in readers.items() if read is not None}

    def read(values: Any) -> Any:
        return None if values is None else values | {name: of(values[name]) for name, of in readers.items()}

    return read if readers else None


def _read(read: Read | None, value: Any) -> Any:
    return value if read is None else read(value)


def _json_value(text: Any) -> Any:
    """The value of a JSON string."""
    if not isinstance(text, str):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value


def _json_text(text: Any) -> Any:
    """The string, messages or parts in JSON; anything else was a string that happens to be JSON."""
    value = _json_value(text)
    is_message = isinstance(value, dict) and bool(value.keys() & {"role", "from"})
    is_list = isinstance(value, list) and all(isinstance(each, dict) for each in value)
    return value if isinstance(value, str) or is_message or is_list else text
