"""Our reader and writer against the safetensors library, and against files that are broken."""

import json
import stat
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from easydel.errors import WeightsError
from easydel.weights.model_files import read_folder
from easydel.weights.safetensors import read_file
from oracles.folders import write_tensors

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.int32, np.uint8, np.bool_]


def tensors(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {"a": rng.standard_normal((3, 5)).astype(dtype), "b.c": rng.standard_normal(7).astype(dtype)}


def bits(array):
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_library_reads_what_we_write_and_we_read_what_it_writes(dtype, tmp_path):
    given = tensors(dtype)
    write_tensors(tmp_path, given)
    safetensors.numpy.save_file(given, tmp_path / "theirs.safetensors")
    theirs = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    ours = {name: stored.array() for name, stored in read_file(tmp_path / "theirs.safetensors").items()}
    for read in (theirs, ours):
        assert set(read) == set(given)
        for name, array in given.items():
            assert (read[name].dtype, read[name].shape, bits(read[name])) == (array.dtype, array.shape, bits(array))


def test_an_array_that_is_not_contiguous_is_written_with_its_values(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    write_tensors(tmp_path, {"x": array})
    np.testing.assert_array_equal(read_folder(tmp_path)["x"].array(), array)


def test_empty_and_scalar_tensors_survive(tmp_path):
    write_tensors(tmp_path, {"none": np.zeros((0, 3), np.float32)})
    assert read_folder(tmp_path)["none"].array().shape == (0, 3)
    write_tensors(tmp_path, {"none": np.zeros((0, 3), np.float32), "one": np.float32(2.5).reshape(())})
    assert read_folder(tmp_path)["one"].array() == 2.5


def test_others_may_read_the_file(tmp_path):
    write_tensors(tmp_path, tensors())
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o644


def test_weights_over_the_limit_are_split_with_an_index(tmp_path):
    given = {f"t{i}": np.full(10, i, np.float32) for i in range(5)}
    write_tensors(tmp_path, given, max_shard_size=80)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)),
        "model.safetensors.index.json",
    ]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 200
    read = read_folder(tmp_path)
    assert {name: stored.array()[0] for name, stored in read.items()} == {f"t{i}": i for i in range(5)}


def change_index(folder, change):
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: names.update(t0="model-00009-of-00003.safetensors"), "model-00009.*not in the folder"),
        (lambda names: names.update(t0="../model-00001-of-00003.safetensors"), "outside the folder"),
        (lambda names: names.update(t0="/etc/passwd"), "outside the folder"),
        (lambda names: names.update(t9="model-00001-of-00003.safetensors"), "lacks t9"),
    ],
)
def test_an_index_that_lies_is_refused(change, message, tmp_path):
    write_tensors(tmp_path, {f"t{i}": np.full(10, i, np.float32) for i in range(5)}, max_shard_size=80)
    change_index(tmp_path, change)
    with pytest.raises(WeightsError, match=message):
        read_folder(tmp_path)


def test_an_index_that_is_no_index_is_refused(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(WeightsError, match="does not name a file by tensor"):
        read_folder(tmp_path)


def with_header(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"x": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short: 0 bytes"),
        (struct.pack("<Q", 10**12), "a header of 1000000000000 bytes"),
        (struct.pack("<Q", 1000) + b"{}", "cut short: 10 bytes, its header alone needs 1008"),
        (with_header(b"not json"), "its header, line 1, column 1: not valid JSON"),
        (with_header(b"\xff\xfe"), "its header: not valid JSON"),
        (with_header([]), "a JSON object is needed"),
        (with_header({"x": 3}), "entry of tensor 'x' is 3"),
        (with_header(entry(shape=(-2,))), "entry of tensor 'x'"),
        (with_header(entry(offsets=(-8, 0))), "entry of tensor 'x'"),
        (with_header(entry(dtype="F4"), b"0" * 8), r"dtype 'F4'; readable are F64, F32"),
        (with_header(entry(dtype=["F32"]), b"0" * 8), "entry of tensor 'x'"),
        (with_header(entry(shape=(3,)), b"0" * 8), "needs 12 bytes, its header gives it 8"),
        (with_header(entry(shape=(2**40, 2**40)), b"0" * 8), "its header gives it 8"),
        (with_header(entry(), b"0" * 5), r"cut short: \d+ bytes found, \d+ expected"),
        (with_header(entry(), b"0" * 9), "belong to no tensor"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_numbers(content, message, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_folder(tmp_path)
    assert "model.safetensors" in str(caught.value)


def test_pickled_weights_are_not_opened(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(WeightsError, match=r"pytorch_model.bin.*can run code.*Convert"):
        read_folder(tmp_path)


def test_a_folder_without_weights_says_what_it_lacks(tmp_path):
    with pytest.raises(WeightsError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json"):
        read_folder(tmp_path)
