"""The pairs that every system trains on: the same rows of a file, in its order, cut to the same limits."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from easydel.data.pair import Pair
from easydel.data.prepare import prepare

FIELDS = ("prompt", "chosen", "rejected")


class Limits(NamedTuple):
    """How long a pair may be, in tokens; names as in `DPOConfig`."""

    max_length: int
    max_prompt_length: int | None = None
    max_completion_length: int | None = None

    def title(self) -> str:
        """Returns the limits in words.

        >>> Limits(512).title(), Limits(512, 256, 256).title()
        ('512', '256 + 256')
        """
        if self.max_prompt_length is None:
            return str(self.max_length)
        return f"{self.max_prompt_length} + {self.max_completion_length}"

    def halved(self) -> "Limits":
        """Returns the limits of a program that gives prompt and completion half of the length each."""
        return Limits(self.max_length, self.max_length // 2, self.max_length // 2)


class TooFewPairsError(Exception):
    """The file has fewer usable rows than the run needs."""


def read_rows(file: Path) -> Iterator[dict[str, str]]:
    """Yields prompt, chosen and rejected of each row of a `.jsonl` or `.jsonl.gz` file."""
    reader = gzip.open if file.suffix == ".gz" else open
    with reader(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield {name: row[name] for name in FIELDS}


def first_rows(file: Path, tokenizer: Any, count: int, max_length: int) -> list[dict[str, str]]:
    """Returns the first `count` rows whose prompt leaves room for a completion.

    The others are dropped by us and by TRL but not by EasyDeL, whose batches would then hold other pairs.

    Raises:
        TooFewPairsError: the file has fewer.
    """
    rows = read_rows(file)
    kept: list[dict[str, str]] = []
    while len(kept) < count and (chunk := list(islice(rows, count))):
        pairs = prepare(chunk, tokenizer, max_length=max_length).pairs
        kept += [chunk[pair.index] for pair in pairs]
    if len(kept) < count:
        raise TooFewPairsError(
            f"{file.name} has {len(kept)} pairs within {max_length} tokens; this run needs {count}: "
            "lower --rounds or --steps, or give a longer file with --data."
        )
    return kept[:count]


def cut_pairs(rows: Sequence[Mapping[str, str]], tokenizer: Any, limits: Limits) -> list[Pair]:
    """Returns the token ids of the rows, cut to the limits as `DPOTrainer` does it."""
    return prepare(rows, tokenizer, **limits._asdict()).pairs


def id_rows(pairs: Sequence[Pair]) -> list[dict[str, list[int]]]:
    """Returns the pairs as rows of token ids, under the names that EasyDeL takes."""
    return [{f"{name}_input_ids": getattr(pair, name) for name in FIELDS} for pair in pairs]


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def tokens_per_batch(pairs: Sequence[Pair], batch_size: int) -> list[int]:
    """Returns, for each batch in order, the tokens of prompt + chosen and prompt + rejected together."""
    tokens = np.array([2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in pairs])
    return tokens.reshape(-1, batch_size).sum(axis=1).tolist()
