"""Which files of a folder win over others: those that the program that wrote them would read."""

import json
import shutil

import numpy as np
import pytest

from easydel.errors import WeightsError
from easydel.weights.model_files import read_folder
from oracles.folders import write_tensors

INDEX = "model.safetensors.index.json"


def numbers(value, names="abc"):
    return {name: np.full(4, value, np.float32) for name in names}


def values(folder, **options):
    return {name: float(stored.array()[0]) for name, stored in read_folder(folder, **options).items()}


def two_saves(folder):
    """A single file of ones over the shards of twos that an earlier save left."""
    write_tensors(folder, numbers(2), max_shard_size=16)
    write_tensors(folder, numbers(1))
    return folder


def test_the_single_file_wins_over_an_index_and_this_is_said(tmp_path):
    two_saves(tmp_path)
    with pytest.warns(UserWarning, match=r"model\.safetensors is read, as transformers does"):
        assert values(tmp_path) == {"a": 1, "b": 1, "c": 1}


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")  # of torch, about itself
def test_transformers_reads_the_single_file_too(tmp_path):
    pytest.importorskip("torch")
    from transformers.modeling_utils import _get_resolved_checkpoint_files

    files, _ = _get_resolved_checkpoint_files(str(two_saves(tmp_path)), None, None, None, None, False)
    assert files == [str(tmp_path / "model.safetensors")]


@pytest.mark.parametrize("text", ["{", '{"weight_map": {"a": "model-00001-of-00009.safetensors"}}'])
def test_an_index_that_is_not_read_cannot_spoil_a_good_file(text, tmp_path):
    write_tensors(tmp_path, numbers(1))
    (tmp_path / INDEX).write_text(text)
    with pytest.warns(UserWarning, match=r"take the index away"):
        assert set(values(tmp_path)) == set("abc")


def test_an_index_of_the_single_file_is_nothing_to_speak_of(tmp_path):
    write_tensors(tmp_path, numbers(1))
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys("abc", "model.safetensors")}))
    assert set(values(tmp_path)) == set("abc")


def test_shards_that_the_index_does_not_name_are_not_read(tmp_path):
    write_tensors(tmp_path, numbers(2), max_shard_size=16)
    shutil.copy(tmp_path / "model-00001-of-00003.safetensors", tmp_path / "model-00004-of-00004.safetensors")
    shutil.copy(tmp_path / "model-00001-of-00003.safetensors", tmp_path / "consolidated.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"of another model")
    assert values(tmp_path) == {"a": 2, "b": 2, "c": 2}


def test_a_tensor_that_two_shards_have_must_be_the_same_in_both(tmp_path):
    for number, value in ((1, 1.0), (2, 1.0), (3, 2.0)):
        write_tensors(tmp_path, numbers(value, "a"))
        (tmp_path / "model.safetensors").rename(tmp_path / f"{number}.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "1.safetensors"}}))
    assert values(tmp_path) == {"a": 1}

    def named(*shards):
        """An index that names shards by tensors that it makes up; each holds `a`."""
        for shard in shards[1:]:
            write_tensors(tmp_path, numbers(2.0 if shard == "3" else 1.0, "a") | numbers(0, shard))
            (tmp_path / "model.safetensors").rename(tmp_path / f"{shard}.safetensors")
        names = {"a": "1.safetensors"} | {shard: f"{shard}.safetensors" for shard in shards[1:]}
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": names}))

    named("1", "2")
    assert values(tmp_path)["a"] == 1
    named("1", "3")
    with pytest.raises(WeightsError, match=r"a is in 1\.safetensors and in 3\.safetensors, with other values"):
        read_folder(tmp_path)


def test_shards_without_their_index_are_refused_by_name(tmp_path):
    write_tensors(tmp_path, numbers(2), max_shard_size=32)
    (tmp_path / INDEX).unlink()
    with pytest.raises(
        WeightsError, match=r"holds model-00001-of-00002\.safetensors.* but no model\.safetensors\.index"
    ):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "consolidated.safetensors", "adapter_model.safetensors"])
def test_files_of_other_names_are_refused_by_name(name, tmp_path):
    write_tensors(tmp_path, numbers(2))
    (tmp_path / "model.safetensors").rename(tmp_path / name)
    with pytest.raises(WeightsError, match=rf"holds {name} but neither"):
        read_folder(tmp_path)


def test_weights_that_config_json_names_are_read_in_place_of_all_others(tmp_path):
    write_tensors(tmp_path, numbers(3))
    (tmp_path / "model.safetensors").rename(tmp_path / "new.safetensors")
    write_tensors(tmp_path, numbers(1))
    assert values(tmp_path, named="new.safetensors")["a"] == 3
    (tmp_path / "new.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "new.safetensors"}}))
    assert values(tmp_path, named="new.safetensors.index.json")["a"] == 3
    with pytest.raises(WeightsError, match=r"names old\.safetensors \(transformers_weights\), which is not"):
        read_folder(tmp_path, "old.safetensors")
    with pytest.raises(WeightsError, match=r"transformers_weights is '\.\./x\.safetensors'; it must name"):
        read_folder(tmp_path, "../x.safetensors")
