"""What provokes each error of docs/errors.md: by heading of the page, calls that raise it.

`python -m oracles.errors` writes what they raise into the page. Paths of the scratch folder are written FOLDER.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from easydel.errors import ConfigError, DataError, WeightsError

_FINGERPRINT = re.compile(r"\b[0-9a-f]{16}\b")  # of data and weights, which differ from version to version
ERRORS = (ConfigError, DataError, WeightsError, OSError)


class Place(NamedTuple):
    """Where errors are provoked: an empty folder, and a folder with a tiny model and its tokenizer."""

    folder: Path
    model: Path

    def file(self, name: str, content: str | bytes = "") -> Path:
        """Returns the file of that name, written."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


Case = Callable[[Place], object]
Cases = Mapping[str, list[Case]]


def message(case: Case, place: Place) -> str:
    """Returns the message of the error that a case raises, on one line."""
    try:
        case(place)
    except ERRORS as error:
        said = " ".join(str(error).split()).replace(str(place.folder), "FOLDER").replace(str(place.model), "MODEL")
        return _FINGERPRINT.sub("0123456789abcdef", said)
    raise AssertionError("no error was raised")
