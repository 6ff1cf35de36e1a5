"""Rows in Parquet and Arrow files, with columns of values of several types."""

import datasets
import pyarrow
import pytest

from easydel.data.tables import arrow_rows, as_written, parquet_rows, table_rows
from easydel.errors import DataError

MIXED = [
    {"prompt": "1", "chosen": "42", "rejected": [{"role": "assistant", "content": "No."}]},
    {"prompt": "2", "chosen": '{"a": 1}', "rejected": "null"},
    {"prompt": "3", "chosen": [{"role": "assistant", "content": "7"}], "rejected": "[1]"},
]


def test_values_of_several_types_come_back_as_they_were_written():
    mixed = datasets.Dataset.from_list(MIXED, on_mixed_types="use_json")
    assert mixed[0]["chosen"] == 42  # what `datasets` itself gives
    assert list(as_written(mixed)) == list(as_written(mixed.to_iterable_dataset())) == MIXED


def test_a_dataset_without_json_columns_is_itself():
    plain = datasets.Dataset.from_list([{"prompt": "a"}])
    assert as_written(plain) is plain


@pytest.mark.parametrize("name", ["rows.parquet", "stream.arrow", "file.arrow"])
def test_files_of_every_kind_give_the_rows(name, tmp_path):
    mixed = datasets.Dataset.from_list(MIXED, on_mixed_types="use_json")
    path = tmp_path / name
    if name == "rows.parquet":
        mixed.to_parquet(str(path))
    else:
        table = mixed.data.table
        new = pyarrow.ipc.new_stream if name == "stream.arrow" else pyarrow.ipc.new_file
        with new(str(path), table.schema) as writer:
            writer.write_table(table)
    assert list((parquet_rows if path.suffix == ".parquet" else arrow_rows)(path)) == MIXED


def test_maps_are_dicts_and_their_nulls_stay():
    kind = pyarrow.map_(pyarrow.string(), pyarrow.int64())
    table = pyarrow.table({"a": pyarrow.array([[("x", 1)], None], kind)})
    assert list(table_rows(table.schema, table.to_batches())) == [{"a": {"x": 1}}, {"a": None}]


@pytest.mark.parametrize("read", [parquet_rows, arrow_rows])
def test_a_file_that_is_not_such_a_table_is_named(read, tmp_path):
    (tmp_path / "rows").write_text("ARROW1, but not quite")
    with pytest.raises(DataError, match="rows: "):
        list(read(tmp_path / "rows"))
