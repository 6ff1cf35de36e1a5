"""Whether the files of a checkpoint are as they were written: asked before anything reads them.

Orbax reads all arrays at once. Where one cannot be read it leaves the other reads behind, and each of those prints a
traceback of its own when it ends, so a file that is cut short or missing is found here first.
"""

import json
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from easydel.json_objects import read_object

SIZES = "sizes.json"


class SizesHandler(ocp.StandardCheckpointHandler):
    """Stores trees of arrays as orbax does, and with them the size of every file, before they count as complete."""

    def finalize(self, directory: Any) -> None:
        """Completes the checkpoint in a folder, with the sizes of its files."""
        super().finalize(directory)
        write_sizes(Path(directory))


@ocp.args.register_with_handler(SizesHandler, for_save=True)
class SizesSave(ocp.args.StandardSave):
    """The tree of arrays to store: orbax finds a handler by the class of its arguments."""


@ocp.args.register_with_handler(SizesHandler, for_restore=True)
class SizesRestore(ocp.args.StandardRestore):
    """The tree of shapes, dtypes and shardings to read."""


def write_sizes(folder: Path) -> None:
    """Writes down the size in bytes of every file below a folder, in `sizes.json` there."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    (folder / SIZES).write_text(json.dumps(sizes, indent=0))


def check_sizes(folder: Path) -> None:
    """Returns where every file below a folder has the size written down.

    Raises:
        OSError: a file is missing, or shorter or longer than it was; or nothing was written down.
    """
    for name, size in read_object(folder / SIZES, OSError).items():
        file = folder / name
        found = f"{file.stat().st_size:,} bytes" if file.exists() else "missing"
        if found != f"{size:,} bytes":
            raise OSError(f"{folder.name}/{name} is {found} where {size:,} bytes were written")
