"""The eval split of a training dataset: which of its rows are evaluated on, by a seed, and both parts as pairs."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import closing
from fractions import Fraction
from hashlib import blake2b
from math import ceil
from typing import NamedTuple

import numpy as np

from easydel.data.counts import Tally, warn_about
from easydel.data.pair import Pair
from easydel.data.prepare import TokenizeConfig
from easydel.data.python_rows import Row
from easydel.data.share import ALONE, Share
from easydel.data.tokenize_rows import Read
from easydel.data.used_columns import Kind
from easydel.errors import DataError, warn

_SHOWN = 5  # numbers of rows
_KEY = int.from_bytes(b"held out")  # beside the seed: another order than that of training; never to be changed


class EvalSplit(NamedTuple):
    """Which rows are eval rows, of how many, and what was asked for."""

    numbers: tuple[int, ...]  # of the rows, in order
    of: int
    asked: float
    seed: int

    @property
    def summary(self) -> str:
        """The split in one line."""
        shown = ", ".join(map(str, self.numbers[:_SHOWN])) + (", ..." if len(self.numbers) > _SHOWN else "")
        asked = f"test_split_size {self.asked:g}, seed {self.seed}"
        return f"row{'s' * (len(self.numbers) > 1)} {shown} of {self.of} ({asked})"


class Part(NamedTuple):
    """The pairs of a part of the rows, and what was seen of them."""

    pairs: list[Pair]
    tally: Tally


def count_eval_rows(size: float, rows: int) -> int:
    """Returns the number of eval rows: for a size below 1 that share of the rows, rounded up as in `datasets`.

    >>> count_eval_rows(0.1, 95), count_eval_rows(0.07, 100), count_eval_rows(20, 95)
    (10, 7, 20)
    """
    return ceil(Fraction(repr(float(size))) * rows) if size < 1 else int(size)


def eval_rows(prompts: Sequence[Hashable], size: float, seed: int) -> list[int]:
    """Returns the numbers of the eval rows, in order; rows of one prompt stay together.

    Prompts are taken in an order given by the seed, each with all its rows unless these would be too many. So there are
    fewer eval rows than asked for where the rows of the prompts do not add up to it. Where every prompt has too many
    rows, as where all rows have one prompt, rows are taken one by one, with a warning.

    >>> eval_rows(["a", "b", "c", "a", "d", "b"], 2, seed=0)
    [1, 5]

    Raises:
        DataError: no row would be left to train on.
    """
    count = count_eval_rows(size, len(prompts))
    if count >= len(prompts):
        raise DataError(
            f"test_split_size = {size:g} takes {count} of {len(prompts)} rows for evaluation and leaves none to train "
            "on: lower it."
        )
    rows: dict[Hashable, list[int]] = {}
    for number, prompt in enumerate(prompts):
        rows.setdefault(prompt, []).append(number)
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, _KEY])))
    groups, taken = list(rows.values()), []
    for at in generator.permutation(len(groups)).tolist():
        if len(taken) + len(groups[at]) <= count:
            taken += groups[at]
    if not taken:
        taken = generator.permutation(len(prompts))[:count].tolist()
        warn(
            f"every prompt has more rows than the {count} that test_split_size takes, so rows are split one by one: "
            "the prompts of the eval rows are trained on too, and eval metrics say little about new prompts."
        )
    return sorted(taken)


def prepare_split(
    config: TokenizeConfig,
    rows: Iterable[Row],
    size: float,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
    share: Share = ALONE,
) -> tuple[Part, Part, EvalSplit]:
    """Returns the pairs to train on, the eval pairs, and which rows these are; all keep the numbers of their rows.

    `advance` and `share` are those of `TokenizeConfig.pairs`, of which this is what happens to the rows.

    Raises:
        DataError: a row that cannot be read, or no row left in one of the parts.
    """
    parts = Part([], Tally()), Part([], Tally())
    kinds: list[Kind | None] = []
    columns = parts[0].tally.columns

    def see(row: Row) -> None:
        kinds.append(columns.kind(row, config.columns))

    read: list[Read] = []
    with closing(config.read(rows, see, share)) as found:
        for row in found:
            read.append(row)
            advance(1)
    if not read:
        raise DataError("there are no rows.")
    split = EvalSplit(tuple(eval_rows([_prompt(row) for row in read], size, seed)), len(read), size, seed)
    numbers = set(split.numbers)
    for row, kind in zip(read, kinds, strict=True):
        part = parts[row.number in numbers]
        part.tally.columns.count(kind)
        if (pair := config.pair(row, part.tally)) is not None:
            part.pairs.append(pair)
    for part, words in zip(parts, ("", f"of the {len(numbers)} eval rows (test_split_size {size:g}) "), strict=True):
        config.check_left(part.tally, words)
        warn_about(part.tally)
    return *parts, split


def _prompt(row: Read) -> Hashable:
    """What rows of one prompt have in common; a row that holds no pair has nothing in common with any."""
    if row.joined.dropped:
        return row.number
    return blake2b(np.array(row.joined.prompt, np.int64).tobytes(), digest_size=16).digest()
