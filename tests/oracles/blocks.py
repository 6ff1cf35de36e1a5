"""The blocks of code in README.md and docs, what marks them, and a process that runs them.

`python -m oracles.blocks FOLDER PAGE ...` runs the blocks of those pages in a scratch folder, where names on the hub
are folders of the quick start's model and of some of its pairs.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
KINDS = ("python", "bash", "yaml", "json", "text", "diff")
MODELS = ("path/to/model", "meta-llama/Llama-3.1-8B-Instruct")
PAIRS = ("pairs.jsonl", "trl-lib/ultrafeedback_binarized/train.jsonl")
ROWS = 32

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
OUR_COMMANDS = (["easydel-dpo"], ["python", "-m", "easydel.scripts.finetune.dpo"])


class Block(NamedTuple):
    """One fenced block: where it stands, its language, why it is not run (None where it is), and its text."""

    page: Path
    line: int
    kind: str
    reason: str | None
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_session(self) -> bool:
        """Whether it is a session with `>>>`, which tests/test_docs.py runs and compares."""
        return self.text.lstrip().startswith(">>> ")


def blocks_of(page: Path) -> list[Block]:
    """Returns the fenced blocks of a page, without those that stand for what Sphinx puts there."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("kind")) + 1, found["kind"], found["reason"], found["text"])
        for found in _FENCE.finditer(text)
        if not found["kind"].startswith("{")
    ]


def commands(text: str) -> Iterator[list[str]]:
    """Yields the words of each command of a shell block; `a && b` are two."""
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word != "&&":
                words.append(word)
            elif words:
                yield words
                words = []


def flags_of(words: list[str]) -> list[str] | None:
    """Returns the flags of a command that is ours, None for another."""
    for start in OUR_COMMANDS:
        if words[: len(start)] == start:
            return words[len(start) :]
    return None


def furnish(folder: Path) -> None:
    """Puts under the names that the pages use the model that comes with the package, and some of its pairs."""
    from easydel import quickstart

    for name in MODELS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(quickstart.model_folder())
    lines = quickstart.train_file().read_text(encoding="utf-8").splitlines(keepends=True)[:ROWS]
    for name in PAIRS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(lines), encoding="utf-8")


def run(block: Block, space: dict[str, Any]) -> None:
    """Runs a block of Python in `space`, or the commands of a block of bash in this process."""
    from easydel.scripts.finetune import dpo

    if block.kind == "python":
        exec(compile(block.text, block.place, "exec"), space)
        return
    for words in commands(block.text):
        flags = flags_of(words)
        assert flags is not None, f"{' '.join(words)} is not run here: say why in a comment before the block"
        assert dpo.main(flags) == 0, f"{' '.join(words)} failed"


def main(folder: str, *pages: str) -> None:
    furnish(Path(folder))
    os.chdir(folder)
    for page in pages:
        space: dict[str, Any] = {"__name__": "__main__"}
        for block in blocks_of(Path(page)):
            if block.kind in ("python", "bash") and block.reason is None and not block.is_session:
                print(f"running {block.place}", flush=True)
                run(block, space)
                print(f"ran {block.place}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
