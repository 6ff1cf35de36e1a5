"""What trackers wrote, read from their files: the records of wandb and of tensorboard, without either's own reader."""

import struct
from collections.abc import Iterator
from pathlib import Path

_BLOCK, _HEADER = 32768, 7


def wandb_records(file: Path) -> Iterator[bytes]:
    """Yields the records of a `.wandb` file: LevelDB's log format after seven bytes that name it.

    A record is one piece or several; a header of checksum, length and kind (1 whole, 2 first, 3 middle, 4 last) goes
    before each, and none is spread over two blocks of 32 KiB.
    """
    data = file.read_bytes()
    assert data[:4] == b":W&B"
    place, parts = _HEADER, b""
    while place + _HEADER <= len(data):
        if _BLOCK - place % _BLOCK < _HEADER:
            place += _BLOCK - place % _BLOCK  # no room for a header
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        place += _HEADER
        parts += data[place : place + length]
        place += length
        if kind in (1, 4):
            yield parts
            parts = b""


def tensorboard_records(file: Path) -> Iterator[bytes]:
    """Yields the records of an event file: length in 8 bytes, its checksum in 4, the record, its checksum in 4."""
    data, place = file.read_bytes(), 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        yield data[place + 12 : place + 12 + length]
        place += 16 + length
