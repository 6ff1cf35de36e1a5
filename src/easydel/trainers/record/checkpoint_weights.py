"""The trained weights in a checkpoint, read alone: neither moments nor an optimizer are needed for a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from easydel.errors import ConfigError
from easydel.trainers.record.checkpoint_integrity import check_sizes


def stored_weights(path: Path) -> PyTree:
    """Returns shape and dtype of each trained weight in a checkpoint, nested as the weights are.

    Raises:
        ConfigError: it is damaged.
    """
    with _whole(path):
        return _handler().metadata(path / "state").tree["params"]


def read_weights(path: Path, like: PyTree[jax.ShapeDtypeStruct]) -> PyTree[jax.Array]:
    """Returns the trained weights in a checkpoint, placed as those of `like` are.

    Raises:
        ConfigError: it is damaged.
    """
    wanted = {"params": like}
    arguments = ocp.args.PyTreeRestore(
        wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
    )
    with _whole(path):
        return _handler().restore(path / "state", args=arguments)["params"]


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        check_sizes(path / "state")
        yield
    except (OSError, ValueError, LookupError) as error:
        raise ConfigError(f"the checkpoint {path} is damaged: {' '.join(str(error).split()):.300}.") from error


def _handler() -> Any:
    """Returns what reads trees: it takes any path, and is annotated for those of etils.

    Not a constant, as making one starts the devices, before processes could be joined.
    """
    return ocp.PyTreeCheckpointHandler()
