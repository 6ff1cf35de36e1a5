"""Checkpoints: the same bits back, whole ones only, and no more of them than asked for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from easydel.errors import ConfigError
from easydel.trainers.record.checkpoint import (
    FORMAT_VERSION,
    Checkpoint,
    Checkpointer,
    Progress,
    abstract_checkpoint,
)
from easydel.trainers.train_state import RewardMean, TrainState
from oracles.states import some_state

PROGRESS = Progress(epoch=1, batch=3, num_tokens=12345678901, data="0123456789abcdef", reference="")


def bits(saved: Checkpoint) -> list[np.ndarray]:
    plain = saved._replace(state=saved.state._replace(key=jax.random.key_data(saved.state.key)))
    return [np.array(leaf) for leaf in jax.tree.leaves((plain.state, plain.reference))]


def like(saved: Checkpoint) -> Checkpoint:
    """The same shapes with other values, as a fresh run has them."""
    zeros = jax.tree.map(jnp.zeros_like, (saved.state.params, saved.state.opt_state, saved.reference))
    state = TrainState(jnp.int32(0), zeros[0], zeros[1], jax.random.key(0), RewardMean(jnp.zeros(()), jnp.zeros(())))
    return Checkpoint(state, Progress(0, 0, 0, "", ""), zeros[2])


@pytest.mark.parametrize("synced", [False, True], ids=["no reference", "synced reference"])
def test_what_is_restored_is_what_was_saved_bit_for_bit(tmp_path, synced):
    saved = Checkpoint(some_state(), PROGRESS, some_state(seed=1).params if synced else None)
    with Checkpointer(tmp_path / "checkpoints") as checkpointer:
        checkpointer.save(saved)
        checkpointer.wait()
    with Checkpointer(tmp_path / "checkpoints") as checkpointer:
        assert checkpointer.latest() == 3
        assert checkpointer.path(3).is_dir()
        restored = checkpointer.restore(3, abstract_checkpoint(like(saved)))
    assert restored.progress == PROGRESS
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    for found, expected in zip(bits(restored), bits(saved), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(jax.random.bits(restored.state.key), jax.random.bits(saved.state.key))


def test_arrays_may_be_consumed_as_soon_as_save_returns(tmp_path):
    saved = Checkpoint(some_state(width=50_000), PROGRESS, None)
    expected, empty = bits(saved), like(saved)
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
    with Checkpointer(tmp_path / "checkpoints") as checkpointer:
        checkpointer.save(saved)
        jax.block_until_ready(overwrite((saved.state.params, saved.state.opt_state)))
        checkpointer.wait()
        restored = checkpointer.restore(3, abstract_checkpoint(empty))
    for found, wanted in zip(bits(restored), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_so_many_of_the_newest_are_kept(tmp_path):
    for keep, expected in ((2, ["3", "4"]), (None, ["1", "2", "3", "4"])):
        folder = tmp_path / str(keep)
        with Checkpointer(folder, keep=keep) as checkpointer:
            for step in range(1, 5):
                checkpointer.save(Checkpoint(some_state(step), PROGRESS, None))
            checkpointer.wait()
            assert checkpointer.latest() == 4
        assert sorted(path.name for path in folder.iterdir()) == expected


def test_the_best_is_kept_besides_the_newest_until_another_is_better(tmp_path):
    with Checkpointer(tmp_path, keep=1) as checkpointer:
        for step, best in ((1, None), (2, 2), (3, 2), (4, 2), (5, 5), (6, 5)):
            checkpointer.best = best
            checkpointer.save(Checkpoint(some_state(step), PROGRESS, None))
            checkpointer.wait()
            assert checkpointer.steps() == sorted({best or step, step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5", "6"]


def test_a_step_that_is_saved_already_is_left_as_it_is(tmp_path):
    first, other = (Checkpoint(some_state(seed=seed), PROGRESS, None) for seed in (0, 1))
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(first)
        checkpointer.save(other)
        checkpointer.wait()
        restored = checkpointer.restore(3, abstract_checkpoint(like(first)))
    np.testing.assert_array_equal(restored.state.params["embedding"], first.state.params["embedding"])


def test_a_step_before_one_that_is_there_is_not_left_unsaved_in_silence(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(Checkpoint(some_state(30), PROGRESS, None))
        checkpointer.wait()
        with pytest.raises(OSError, match="a checkpoint of a later step, 30, is there: remove it"):
            checkpointer.save(Checkpoint(some_state(20), PROGRESS, None))


def half_written(folder: Path, step: int) -> Path:
    """What a kill leaves: the temporary folder of a checkpoint, with a part of its files."""
    whole = folder / "1"
    partial = folder / f"{step}.orbax-checkpoint-tmp"
    shutil.copytree(whole, partial)
    shutil.rmtree(partial / "progress")
    return partial


def test_a_half_written_checkpoint_is_never_picked_up(tmp_path):
    saved = Checkpoint(some_state(1), PROGRESS, None)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(saved)
        checkpointer.wait()
    half_written(tmp_path, 2)
    remains = half_written(tmp_path, 3)
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.latest() == 1
        assert int(checkpointer.restore(1, abstract_checkpoint(like(saved))).state.step) == 1
        checkpointer.save(Checkpoint(some_state(2), PROGRESS, None))  # the run goes on, over the remains
        checkpointer.wait()
        assert checkpointer.latest() == 2
    assert not remains.exists()
    empty = tmp_path / "empty"
    with Checkpointer(empty) as checkpointer:
        assert checkpointer.latest() is None


OTHERS = {
    "another width": r"state\.params\.layers\.query\.kernel is float32\[2, 4, 5\] there and float32\[2, 4, 6\] here",
    "another dtype": r"state\.params\.embedding is bfloat16\[8, 4\] there and float32\[8, 4\] here",
    "another name": r"state\.params\.bias is absent there and bfloat16\[8, 4\] here",
    "another optimizer": r"state\.opt_state\.0\.count is int32\[\] there and absent here",
    "a reference too many": r"reference\.embedding is absent there and bfloat16\[8, 4\] here",
}


@pytest.mark.parametrize("difference", OTHERS)
def test_a_checkpoint_of_another_structure_is_refused_with_the_first_difference(tmp_path, difference):
    saved = Checkpoint(some_state(), PROGRESS, None)
    fresh = like(saved)
    state, params = fresh.state, fresh.state.params
    wide = {**params, "embedding": params["embedding"].astype(jnp.float32)}
    other = {
        "another width": like(Checkpoint(some_state(width=6), PROGRESS, None)),
        "another dtype": fresh._replace(state=state._replace(params=wide)),
        "another name": fresh._replace(state=state._replace(params={**params, "bias": params["embedding"]})),
        "another optimizer": fresh._replace(state=state._replace(opt_state=optax.sgd(1.0).init(params))),
        "a reference too many": fresh._replace(reference=params),
    }[difference]
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(saved)
        checkpointer.wait()
        with pytest.raises(ConfigError, match=OTHERS[difference]) as error:
            checkpointer.restore(3, abstract_checkpoint(other))
    assert str(tmp_path / "3") in str(error.value)
    assert "train under another model_name" in str(error.value)


def written(folder: Path, *steps: int) -> Checkpoint:
    """What the last of some checkpoints in a folder holds."""
    with Checkpointer(folder) as checkpointer:
        for step in steps:
            checkpointer.save(saved := Checkpoint(some_state(step), PROGRESS, None))
    return saved


@pytest.mark.parametrize("damage", ["progress/metadata", "state/_METADATA", "state/manifest.ocdbt", "state/d/*"])
def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path, damage):
    saved = written(tmp_path, 3, 5)
    for file in (tmp_path / "5").glob(damage):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with (
        Checkpointer(tmp_path) as checkpointer,
        pytest.raises(ConfigError, match=r"5 is damaged: .*\. Remove that folder, .* starts from step 3\."),
    ):
        checkpointer.restore(5, abstract_checkpoint(like(saved)))


def rewritten(folder: Path, change: Callable[[dict], None]) -> None:
    """Changes what the progress of a checkpoint says, as another version would have written it."""
    file = folder / "progress" / "metadata"
    progress = json.loads(file.read_text())
    change(progress)
    file.write_text(json.dumps(progress))


def test_a_checkpoint_of_a_newer_version_is_refused_with_both_numbers(tmp_path):
    saved = written(tmp_path, 3)
    rewritten(tmp_path / "3", lambda progress: progress.update(format_version=FORMAT_VERSION + 1, of_the_future=[]))
    message = (
        rf"3 has format version {FORMAT_VERSION + 1}, and this version of easydel-dpo reads up to {FORMAT_VERSION}: "
    )
    with Checkpointer(tmp_path) as checkpointer, pytest.raises(ConfigError, match=message):
        checkpointer.restore(3, abstract_checkpoint(like(saved)))


def test_a_checkpoint_without_a_version_is_read_and_what_it_lacks_has_its_default(tmp_path):
    saved = written(tmp_path, 3)

    def make_older(progress: dict) -> None:
        for name in ("format_version", "skipped_in_a_row", "window", "frozen"):
            del progress[name]

    rewritten(tmp_path / "3", make_older)
    with Checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore(3, abstract_checkpoint(like(saved)))
    assert restored.progress == PROGRESS
    for found, expected in zip(bits(restored), bits(saved), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_too_little_room_is_found_before_anything_is_written(tmp_path, monkeypatch):
    written(tmp_path, 3)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1000, 900, 100))
    with (
        Checkpointer(tmp_path) as checkpointer,
        pytest.raises(OSError, match=r"no room for it: [0-9,]+ bytes are needed, 100 are free\. .*are whole; resume"),
    ):
        checkpointer.save(Checkpoint(some_state(4), PROGRESS, None))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with (
        pytest.raises(OSError, match=r"a checkpoint could not be written to .*checkpoints: .*Not a directory"),
        Checkpointer(tmp_path / "checkpoints") as checkpointer,
    ):
        checkpointer.save(Checkpoint(some_state(), PROGRESS, None))


def test_the_page_names_every_file_of_a_checkpoint_and_its_format(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(Checkpoint(some_state(), PROGRESS, some_state(seed=1).params))
    page = (Path(__file__).parents[3] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    table = page.partition("### What each file is")[2].partition("\n### ")[0]
    assert f"`format_version` is {FORMAT_VERSION}." in table
    for path in (tmp_path / "3").rglob("*"):
        if path.parent.name != "d" and path.is_file() and path.parent.name != "array_metadatas":
            assert f"{path.name}`" in table
        elif path.is_dir():
            assert (path.name.rpartition("_0")[0] or path.name) in table
