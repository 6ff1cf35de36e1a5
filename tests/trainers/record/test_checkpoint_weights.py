"""The weights of a checkpoint alone, bit for bit, or an error that names it."""

import shutil

import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.trainers.record.checkpoint import Checkpoint, Checkpointer, Progress
from easydel.trainers.record.checkpoint_weights import read_weights, stored_weights
from easydel.trainers.train_state import abstract
from oracles.states import some_state

PROGRESS = Progress(epoch=1, batch=3, num_tokens=7)


@pytest.fixture
def saved(tmp_path):
    """The state in a checkpoint, and its folder."""
    state = some_state()
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(Checkpoint(state, PROGRESS, None))
    return state, tmp_path / "3"


def test_weights_come_back_bit_for_bit_without_the_moments(saved):
    state, path = saved
    found = read_weights(path, abstract(state.params))
    assert found.keys() == state.params.keys()
    for name in ("embedding",):
        assert found[name].dtype == state.params[name].dtype
        np.testing.assert_array_equal(found[name], state.params[name])
    kernel = state.params["layers"]["query"]["kernel"]
    np.testing.assert_array_equal(found["layers"]["query"]["kernel"], kernel)


def test_shapes_and_dtypes_are_known_before_anything_is_read(saved):
    state, path = saved
    found = stored_weights(path)
    assert (found["embedding"].shape, found["embedding"].dtype.name) == ((8, 4), "bfloat16")
    assert found["layers"]["query"]["kernel"].shape == state.params["layers"]["query"]["kernel"].shape


@pytest.mark.parametrize("damage", ["gone", "cut short", "without a file"])
def test_a_damaged_checkpoint_is_named(saved, damage):
    state, path = saved
    if damage == "gone":
        shutil.rmtree(path / "state")
    elif damage == "cut short":
        file = path / "state" / "manifest.ocdbt"
        file.write_bytes(file.read_bytes()[:10])
    else:
        next((path / "state" / "d").iterdir()).unlink()
    with pytest.raises(ConfigError, match=r"the checkpoint .*3 is damaged"):
        read_weights(path, abstract(state.params))
