"""The diffs of CONTRIBUTING.md, and a way to apply them wherever their lines have moved to."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Hunk(NamedTuple):
    """Lines that follow one another, and what stands in their place afterwards."""

    before: str
    after: str


class Change(NamedTuple):
    """What a diff does to one file; without lines before, the file is new."""

    path: str
    hunks: list[Hunk]


def diffs_of(page: Path) -> dict[str, list[Change]]:
    """Returns the changes of each block of kind `diff` in a page, by the heading that it stands under."""
    sections = re.split(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {}
    for title, text in zip(sections[1::2], sections[2::2], strict=True):
        if blocks := re.findall(r"^```diff\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            found[title] = [change for block in blocks for change in _changes(block)]
    return found


def _changes(block: str) -> list[Change]:
    files = re.split(r"^--- .*\n\+\+\+ b/(.+)\n", block, flags=re.MULTILINE)
    return [
        Change(path, [_hunk(lines) for lines in re.split(r"^@@.*\n", text, flags=re.MULTILINE) if lines])
        for path, text in zip(files[1::2], files[2::2], strict=True)
    ]


def _hunk(lines: str) -> Hunk:
    kept = lines.splitlines(keepends=True)
    before = "".join(line[1:] or "\n" for line in kept if line[0] != "+")
    return Hunk(before, "".join(line[1:] or "\n" for line in kept if line[0] != "-"))


def apply(changes: list[Change], root: Path) -> None:
    """Applies the changes to the files below `root`.

    Raises:
        ValueError: lines of a hunk that are not in its file, or more than once.
    """
    for path, hunks in changes:
        file = root / path
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        for before, after in hunks:
            if before and text.count(before) != 1:
                raise ValueError(f"{path} has {text.count(before)} times, and not once:\n{before}")
            text = text.replace(before, after) if before else text + after
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
