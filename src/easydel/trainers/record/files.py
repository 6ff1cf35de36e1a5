"""The files of a run folder: JSON and JSON lines, written so that a kill leaves them whole, and read with checks."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from easydel.errors import DataError
from easydel.json_objects import parse_object
from easydel.processes import is_first
from easydel.trainers.record.unwritten import spared

_DAMAGED = "It was damaged or changed since the run wrote it: take it from a copy, or remove it."
_ROOM = "Make room for it, or let it be written to:"
_waiting: dict[Path, bytes] = {}  # lines that could not be appended yet, by file


def write_json(file: Path, value: Mapping[str, Any], *, hint: str = "The report lacks what it would say.") -> None:
    """Writes a JSON file that is whole at any moment: a kill leaves the old one or the new one.

    Of several processes the first one writes it. Where it cannot, a warning says so, with a hint at what is lost: no
    run ends for what it says.
    """
    if not is_first():
        return
    fresh = file.with_suffix(".part")
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with spared(file, hint):
        try:
            fresh.write_text(text, encoding="utf-8", errors="backslashreplace")  # half a surrogate pair, as JSON does
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)  # half of it


def read_json(
    file: Path, holds: str = "anything", fits: Callable[[Mapping[str, Any]], bool] = lambda value: True
) -> dict[str, Any]:
    """Returns what `write_json` wrote, an empty dict where it is missing.

    Raises:
        DataError: the file does not hold a JSON object, or one without what it should hold.
    """
    return _checked(file.read_bytes(), file, None, holds, fits) if file.exists() else {}


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Returns the logged objects of a run, oldest first.

    Raises:
        DataError: a line that is invalid, as in `read_lines`.
    """
    return read_lines(folder / "metrics.jsonl", "step and numbers by name", _are_metrics)


def append_lines(file: Path, entries: Iterable[Mapping[str, Any]], *, ensure_ascii: bool = True) -> None:
    """Appends JSON objects, one a line, each of which is on disk when this returns, or not at all.

    What there is no room for is kept, and appended with the next lines that can be. Of several processes the first
    one writes.
    """
    if not is_first():
        return
    texts = (json.dumps(entry, ensure_ascii=ensure_ascii) + "\n" for entry in entries)
    added = _waiting.pop(file, b"") + "".join(texts).encode("utf-8", "backslashreplace")
    if not added:
        return
    with spared(file, f"{_ROOM} until the run ends its lines are kept, and written as soon as they can be."):
        _waiting[file] = added
        _append(file, added)
        del _waiting[file]


def append_waiting() -> None:
    """Appends the lines that there was no room for, if there is now."""
    for file in list(_waiting):
        append_lines(file, [])


def _append(file: Path, added: bytes) -> None:
    size = None
    try:
        with file.open("ab", buffering=0) as handle:
            size, left = handle.tell(), memoryview(added)
            while left:
                left = left[handle.write(left) or 0 :]
    except OSError:  # which on NFS closing the file may raise
        if size is not None:
            with suppress(OSError):
                os.truncate(file, size)  # without the half of a line
        raise


def append_samples(folder: Path, samples: Iterable[dict[str, Any]]) -> None:
    """Appends sample answers to `samples.jsonl`, see `append_lines`: step, prompt, answer.

    `weights` is the step that the weights are of where that is another one.
    """
    append_lines(folder / "samples.jsonl", samples, ensure_ascii=False)


def read_samples(folder: Path) -> list[dict[str, Any]]:
    """Returns the sample answers of a run, oldest first.

    Raises:
        DataError: a line that is invalid.
    """
    return read_lines(folder / "samples.jsonl", "step, prompt and answer", _is_sample)


def read_signs(folder: Path) -> list[dict[str, Any]]:
    """Returns the warning signs that a run said, oldest first: step, sign, message.

    Raises:
        DataError: a line that is invalid.
    """
    return read_lines(folder / "signs.jsonl", "step, sign and message", _is_sign)


def rewind(folder: Path, step: int) -> None:
    """Cuts off what was written of later steps, so that a resumed run does not write the same steps twice.

    That needs no room on the disk. Lines may be missing, where it was full. A file that cannot be read or cut off is
    left as it is, with a warning.

    Raises:
        DataError: a line that is invalid, as in `read_lines`.
    """
    _waiting.clear()  # of an earlier run
    for name in ("metrics", "samples", "skipped", "signs"):
        file = folder / f"{name}.jsonl"
        if not file.exists():
            continue
        with spared(file, f"{_ROOM} what is in it is not used, nor cut off where it is of later steps."):
            kept = sum(1 for _ in takewhile(lambda entry: entry["step"] <= step, read_lines(file)))
            lines = file.read_bytes().split(b"\n")[:kept]
            os.truncate(file, sum(len(line) + 1 for line in lines))


def so_far(read: Callable[[Path], list[dict[str, Any]]], folder: Path, step: int) -> list[dict[str, Any]]:
    """Returns what a file of a run holds up to a step, [] where it cannot be read: `rewind` has said so.

    Args:
        read: `read_metrics`, `read_samples` or `read_signs`.
    """
    with suppress(OSError):
        return [entry for entry in read(folder) if entry["step"] <= step]
    return []


def has_step(entry: Mapping[str, Any]) -> bool:
    """Returns whether an object says at which step it was written."""
    return isinstance(entry.get("step"), int)


def read_lines(
    file: Path, holds: str = "a step", fits: Callable[[Mapping[str, Any]], bool] = has_step
) -> list[dict[str, Any]]:
    """Returns the objects in a file of JSON lines, [] where it is missing, without a line that a kill cut off.

    Those of this process that the disk has no room for are among them.

    Raises:
        DataError: a line that does not hold a JSON object, or one without what it should hold.
    """
    content = file.read_bytes() if file.exists() else b""
    # Not splitlines, which also splits at the line separators that a text may hold.
    lines = (content[: content.rfind(b"\n") + 1] + _waiting.get(file, b"")).split(b"\n")[:-1]
    return [_checked(line, file, number, holds, fits) for number, line in enumerate(lines, 1)]


def _checked(
    text: bytes, file: Path, line: int | None, holds: str, fits: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    value = parse_object(text, file, DataError, line=line, hint=_DAMAGED)
    if not fits(value):
        place = file if line is None else f"{file}, line {line}"
        raise DataError(f"{place} is not a JSON object with {holds}. {_DAMAGED}")
    return value


def _are_metrics(entry: Mapping[str, Any]) -> bool:
    return has_step(entry) and all(value is None or isinstance(value, int | float) for value in entry.values())


def _is_sample(entry: Mapping[str, Any]) -> bool:
    return has_step(entry) and all(isinstance(entry.get(name), str) for name in ("prompt", "answer"))


def _is_sign(entry: Mapping[str, Any]) -> bool:
    return has_step(entry) and all(isinstance(entry.get(name), str) for name in ("sign", "message"))
