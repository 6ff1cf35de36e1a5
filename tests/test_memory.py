"""How much memory there is: what the machine says, within the limit of the container."""

from types import SimpleNamespace

import jax
import pytest

from easydel import memory
from easydel.models import auto
from oracles.cases import CASES
from oracles.folders import write_model

GIB = 1024**3


@pytest.fixture
def container(tmp_path, monkeypatch):
    """Makes a container of 8 GiB that uses 7, of which 4 are files that were read."""
    files = {"memory.max": 8 * GIB, "memory.current": 7 * GIB, "memory.stat": f"anon {3 * GIB}\nactive_file {4 * GIB}"}
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(memory, "_CONTAINER_FILES", ((tmp_path / "memory.max", tmp_path / "memory.current"),))
    return tmp_path


def test_files_that_were_read_do_not_count_as_used(container):
    assert memory._container_room(memory._CONTAINER_FILES[0]) == 5 * GIB


def test_a_container_without_a_limit_has_none(container):
    (container / "memory.max").write_text("max\n")
    assert memory._container_room(memory._CONTAINER_FILES[0]) is None


def test_cpu_devices_share_what_the_container_leaves(container):
    (container / "memory.max").write_text(f"{4 * GIB}\n")
    assert memory.available_bytes(jax.devices("cpu")) == 1 * GIB


def device_of(gib):
    return SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": gib * GIB, "bytes_in_use": GIB})


def test_accelerators_add_up_what_each_has_left():
    assert memory.available_bytes([device_of(5), device_of(5)]) == 8 * GIB


def test_a_device_that_says_nothing_is_not_guessed_about():
    for stats in (None, {}, {"bytes_in_use": GIB}):
        devices = [SimpleNamespace(platform="gpu", memory_stats=lambda stats=stats: stats), device_of(5)]
        assert memory.available_bytes(devices) is None


@pytest.mark.parametrize("dims", [(1, 1, 1, 1, 1), (2, 1, 1, 1, 1), (1, 4, 1, 2, 1), (2, 2, 1, 1, 1)])
def test_the_memory_of_weights_is_foreseen_to_the_byte(tmp_path, monkeypatch, dims):
    told = []
    monkeypatch.setattr(auto, "require", lambda needs, available, hint: told.append(sum(needs.values())))
    folder = write_model(tmp_path, CASES["llama-gqa"])
    model = auto.AutoEasyDeLModelForCausalLM.from_pretrained(folder, param_dtype="bfloat16", sharding_axis_dims=dims)
    shards = [shard for array in jax.tree.leaves(model.params) for shard in array.addressable_shards]
    assert told == [sum(shard.data.nbytes for shard in shards)]
