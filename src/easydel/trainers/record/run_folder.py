"""The folder of a run, `<save_directory>/<model_name>/`: who may write there, and what an earlier run leaves behind."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from easydel.errors import ConfigError
from easydel.processes import agreed, by_first
from easydel.trainers.config import DPOConfig
from easydel.trainers.record import lock
from easydel.trainers.record.same_settings import is_continued, require_same_settings


class RunFolder(NamedTuple):
    """A run folder that is ours to write to."""

    path: Path
    continues: bool  # it holds checkpoints of the same configuration, and resuming was asked for
    moved: Path | None  # where an earlier run was put

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoints are."""
        return self.path / "checkpoints"


@contextmanager
def hold(config: DPOConfig) -> Iterator[None]:
    """Keeps other runs out of the run folder; of several processes the first one does.

    Raises:
        ConfigError: another run is under way there, or the folder cannot be written; in each process.
    """
    with ExitStack() as stack:

        def take() -> None:
            try:
                stack.enter_context(lock.locked(config.run_folder))
            except OSError as error:
                raise _unusable(config.run_folder, error.strerror or error) from error

        by_first(take)
        yield


def open_run_folder(config: DPOConfig) -> RunFolder:
    """Returns the folder of a run, made and holding `config.yaml`; its lock is held, see `hold`.

    With `resume="never"` an earlier run there is moved aside to `<model_name>.1`, `.2`, ...: nothing is overwritten.
    With `resume="auto"` it is continued, provided its configuration is the same.

    Raises:
        ConfigError: the folder cannot be written, or resuming was asked for with other settings than the run's.
    """
    path = config.run_folder
    try:
        path.mkdir(parents=True, exist_ok=True)
        earlier = any(file.name != lock.NAME for file in path.iterdir())
        moved = None
        continues = is_continued(config)
        if continues:
            require_same_settings(config, path)
        elif earlier:
            moved = next(p for n in _count() if not (p := path.with_name(f"{path.name}.{n}")).exists())
            lock.move(path, moved)
        config.to_yaml(path / "config.part")
        (path / "config.part").replace(path / "config.yaml")  # a kill leaves the old file or the new one
    except OSError as error:
        raise _unusable(path, error.strerror or error) from error
    return RunFolder(path, continues, moved)


def open_together(config: DPOConfig) -> RunFolder:
    """Returns `open_run_folder`, which the first of several processes sees to, once it is done.

    Raises:
        ConfigError: as it does, in each process.
    """
    folder = by_first(lambda: open_run_folder(config)) or RunFolder(config.run_folder, False, None)
    return folder._replace(continues=agreed(folder.continues))


def check_writable(config: DPOConfig) -> None:
    """Raises ConfigError when the run folder could not be written; nothing is made."""
    path = config.run_folder.absolute()
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        raise _unusable(path, f"{existing} is not a folder")
    if not os.access(existing, os.W_OK):
        raise _unusable(path, f"{existing} may not be written to")


def check_apart(config: DPOConfig, sources: Iterable[tuple[str, str]]) -> None:
    """Raises ConfigError where what a run reads lies in its own folder, which it moves aside or writes over.

    The model of an earlier run would be gone from its place, and adapters on it would name themselves as their base.

    Args:
        sources: names of folders and files, or of the hub, each after the option that says it.
    """
    ours = config.run_folder.resolve()
    for option, name in sources:
        if name and Path(name).exists() and Path(name).resolve().is_relative_to(ours):
            raise ConfigError(
                f"{option} {name!r} lies in the folder of this run, {config.run_folder}, whose earlier content is "
                "moved aside or written over. Choose another model_name or save_directory."
            )


def _unusable(path: Path, reason: object) -> ConfigError:
    return ConfigError(
        f"the run folder {path} cannot be used: {reason}. Set save_directory to a folder that you may write to."
    )


def _count() -> Iterable[int]:
    number = 1
    while True:
        yield number
        number += 1
