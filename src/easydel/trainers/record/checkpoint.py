"""Checkpoints of a run: the whole training state, the place in the data, and the reference when it moves.

Orbax writes each into a temporary folder and renames it when complete, so a killed run leaves whole checkpoints only.
Saving happens in the background; `wait` returns when everything asked for is on disk, or raises what went wrong.
"""

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from easydel.errors import ConfigError
from easydel.trainers.record.checkpoint_integrity import SizesHandler, SizesRestore, SizesSave, check_sizes
from easydel.trainers.record.unwritten import spared
from easydel.trainers.train_state import TrainState, abstract

FORMAT_VERSION = 2
"""Of what a checkpoint holds, and stored in each. One without it is of version 0, which holds the same as version 1."""


class Progress(NamedTuple):
    """Where a run stands besides its arrays: plain numbers and strings, stored as JSON."""

    epoch: int  # of the next batch
    batch: int  # of the next batch within its epoch
    num_tokens: int  # trained on so far
    data: str = ""  # fingerprint of the training pairs; from version 2 on in `fingerprints.json`, as the next two
    reference: str = ""  # fingerprint of the weights of a reference that does not move
    num_pairs: int = 0  # trained on so far
    skipped_in_a_row: int = 0  # steps up to this one
    window: dict[str, Any] | None = None  # the steps that are not logged yet, see `metrics.MetricsWindow.plain`
    frozen: str = ""  # fingerprint of the weights that are not trained and not stored


class Checkpoint(NamedTuple):
    """What a checkpoint holds."""

    state: TrainState
    progress: Progress
    reference: PyTree | None  # weights of a synced reference


class Checkpointer:
    """Writes and reads the checkpoints in one folder, `<folder>/<step>/`; use it as a context manager.

    Attributes:
        best: the step of a checkpoint that is kept whatever comes after it, or None.
    """

    def __init__(self, folder: Path, *, keep: int | None = None) -> None:
        self.folder = folder.absolute()  # orbax refuses relative paths
        self.best: int | None = None
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_Preservation(self, keep),
            enable_async_checkpointing=True,
            cleanup_tmp_directories=True,  # what a kill left half written
        )
        handlers = {name: SizesHandler() for name in ("state", "reference")}
        with _named_failure(self.folder):
            self._manager = ocp.CheckpointManager(
                self.folder, options=options, item_handlers={**handlers, "progress": ocp.JsonCheckpointHandler()}
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _named_failure(self.folder):
            self._manager.close()

    def latest(self) -> int | None:
        """Returns the step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Returns the steps of the checkpoints that there are, oldest first, with one that is being written."""
        return sorted(self._manager.all_steps())

    def save(self, saved: Checkpoint) -> None:
        """Starts to write a checkpoint; the arrays may be donated as soon as this returns.

        Raises:
            OSError: there is no room for it, one of a later step is there, or the one before could not be written.
        """
        step = int(saved.state.step)
        if step in self.steps():
            return
        items: dict[str, Any] = {
            "state": SizesSave(_with_plain_key(saved.state)),
            "progress": ocp.args.JsonSave({"format_version": FORMAT_VERSION} | saved.progress._asdict()),
        }
        if saved.reference is not None:
            items["reference"] = SizesSave(saved.reference)
        with _named_failure(self.folder):  # also of the save before, which ran in the background
            self._require_room(saved)
            if not self._manager.save(step, args=ocp.args.Composite(**items)):  # orbax goes forward only
                raise OSError(errno.EEXIST, f"a checkpoint of a later step, {self.latest()}, is there: remove it")

    def wait(self) -> None:
        """Returns when every started checkpoint is complete.

        Raises:
            OSError: one could not be written.
        """
        with _named_failure(self.folder):
            self._manager.wait_until_finished()

    def spared(self, step: int) -> AbstractContextManager[None]:
        """Returns what lets the last checkpoint of a run fail within it, as the model is written all the same."""
        return spared(self.path(step), "The model needs none, but the run cannot be made longer from there.")

    def path(self, step: int) -> Path:
        """Returns the folder of one checkpoint."""
        return self.folder / str(step)

    def restore(self, step: int, like: Checkpoint) -> Checkpoint:
        """Returns the checkpoint of one step, its arrays where those of `like` lie; see `abstract_checkpoint`.

        Raises:
            ConfigError: it is damaged, or was written by a newer version of this program, or by a model or optimizer
                of another structure.
        """
        with _named_damage(self.path(step), [other for other in self.steps() if other < step]):
            return self._restored(step, like)

    def _restored(self, step: int, like: Checkpoint) -> Checkpoint:
        progress = self._read_progress(step)
        wanted: dict[str, PyTree] = {"state": like.state}
        if like.reference is not None:
            wanted["reference"] = like.reference
        for name in wanted:
            if (self.path(step) / name).exists():  # else `_require_fit` says what is absent
                check_sizes(self.path(step) / name)
        self._require_fit(step, wanted)
        items = {name: SizesRestore(tree) for name, tree in wanted.items()}
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        state = TrainState(*restored["state"])
        reference = None if like.reference is None else restored["reference"]
        return Checkpoint(state._replace(key=jax.random.wrap_key_data(state.key)), progress, reference)

    def _read_progress(self, step: int) -> Progress:
        """Returns the progress in a checkpoint; fields that its version did not have yet are their defaults.

        Raises:
            ConfigError: the checkpoint is of a newer version.
        """
        stored = self._manager.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))["progress"]
        version = stored.pop("format_version", 0)
        if version > FORMAT_VERSION:
            raise ConfigError(
                f"the checkpoint {self.path(step)} has format version {version}, and this version of easydel-dpo reads "
                f"up to {FORMAT_VERSION}: continue the run with the version that wrote it, or train under another "
                "model_name."
            )
        return Progress(**stored)

    def _require_room(self, saved: Checkpoint) -> None:
        """Raises OSError where a checkpoint will not fit, before orbax and its threads find out one after the other."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves((_with_plain_key(saved.state), saved.reference)))
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise OSError(errno.ENOSPC, f"no room for it: {needed:,} bytes are needed, {free:,} are free")

    def _require_fit(self, step: int, wanted: dict[str, PyTree]) -> None:
        """Raises ConfigError where the arrays of a checkpoint are not those wanted.

        Asked before anything is read: orbax would leave other reads behind when one array does not fit.
        """
        stored = self._manager.item_metadata(step)
        there, here = _shapes({name: stored.get(name) or {} for name in wanted}), _shapes(wanted)
        differing = [name for name in here | there if here.get(name) != there.get(name)]
        if differing:
            name = differing[0]
            raise ConfigError(
                f"the checkpoint {self.path(step)} does not fit this model and optimizer: {name} is "
                f"{there.get(name, 'absent')} there and {here.get(name, 'absent')} here. "
                "Continue with the settings it was written with, or train under another model_name."
            )


def abstract_checkpoint(saved: Checkpoint) -> Checkpoint:
    """Returns shapes, dtypes and shardings of what `saved` holds, for `Checkpointer.restore`, without its arrays."""
    return saved._replace(state=abstract(_with_plain_key(saved.state)), reference=abstract(saved.reference))


class _Preservation:
    """Which checkpoints are left when another is complete: the newest ones, and the best whenever it was."""

    def __init__(self, checkpointer: Checkpointer, newest: int | None) -> None:
        self._checkpointer, self._newest = checkpointer, newest

    def should_preserve(
        self,
        checkpoints: Sequence[ocp.checkpoint_managers.PolicyCheckpointInfo],
        *,
        context: ocp.checkpoint_managers.PreservationContext,
    ) -> Sequence[bool]:
        first = 0 if self._newest is None else len(checkpoints) - self._newest
        return [at >= first or info.step == self._checkpointer.best for at, info in enumerate(checkpoints)]


@contextmanager
def _named_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # orbax says in a ValueError that a disk is full
        reason = error.strerror if isinstance(error, OSError) else str(error).rpartition(": ")[2]
        raise OSError(
            f"a checkpoint could not be written to {folder}: {reason or error}. Those written before are whole; "
            "resume = 'auto' continues the newest."
        ) from error


@contextmanager
def _named_damage(path: Path, older: Sequence[int]) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if not isinstance(error, OSError | ValueError | TypeError) and type(error) is not Exception:
            raise  # nothing but what orbax, tensorstore and json say of files that are missing, cut short or damaged
        continues = f"from step {older[-1]}" if older else "at the beginning"
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"the checkpoint {path} is damaged: {reason:.300}. Remove that folder, and resume = 'auto' starts "
            f"{continues}."
        ) from error


def _shapes(tree: PyTree) -> dict[str, str]:
    """Returns dtype and shape of every array in a tree by its path, however the tree's nodes are made."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _with_plain_key(state: TrainState) -> TrainState:
    """Returns the state with its random key as the integers it is made of, which are stored exactly."""
    return state._replace(key=jax.random.key_data(state.key))
