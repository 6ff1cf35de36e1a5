"""Rows held out of those that are trained on: which they are, by a seed, and both parts as pairs."""

import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import closing
from fractions import Fraction
from hashlib import blake2b
from math import ceil
from typing import NamedTuple

import numpy as np

from easydel.data.columns import Row
from easydel.data.counts import Tally, warn_of
from easydel.data.pair import Pair
from easydel.data.prepare import Recipe
from easydel.data.read import Read
from easydel.data.share import ALONE, Share
from easydel.data.used_columns import Kind
from easydel.errors import DataError

_SHOWN = 5  # numbers of rows
_KEY = int.from_bytes(b"held out")  # beside the seed: another order than that of training


class HeldOut(NamedTuple):
    """Which rows were held out of how many, and what was asked for."""

    numbers: tuple[int, ...]  # of the rows, in order
    of: int
    asked: float
    seed: int

    @property
    def words(self) -> str:
        """What people are told."""
        shown = ", ".join(map(str, self.numbers[:_SHOWN])) + (", ..." if len(self.numbers) > _SHOWN else "")
        asked = f"test_split_size {self.asked:g}, seed {self.seed}"
        return f"row{'s' * (len(self.numbers) > 1)} {shown} of {self.of} ({asked})"


class Part(NamedTuple):
    """The pairs of a part of the rows, and what was seen of them."""

    pairs: list[Pair]
    tally: Tally


def count_held_out(size: float, rows: int) -> int:
    """Returns how many rows are held out: a share of them below 1, rounded up as in `datasets`, or so many.

    >>> count_held_out(0.1, 95), count_held_out(0.07, 100), count_held_out(20, 95)
    (10, 7, 20)
    """
    return ceil(Fraction(repr(float(size))) * rows) if size < 1 else int(size)


def held_out(prompts: Sequence[Hashable], size: float, seed: int) -> list[int]:
    """Returns the numbers of the rows that are held out, in order; rows of one prompt stay together.

    Prompts are taken in the order that the seed gives them, each with all its rows, and left to training where these
    would be too many; so there are fewer than asked for where the rows of the prompts do not add up to it. Where every
    prompt has too many rows, as where all have the same, rows are taken for themselves, with a warning.

    >>> held_out(["a", "b", "c", "a", "d", "b"], 2, seed=0)
    [1, 5]

    Raises:
        DataError: no row would be left to train on.
    """
    count = count_held_out(size, len(prompts))
    if count >= len(prompts):
        raise DataError(
            f"test_split_size = {size:g} would hold out {count} of {len(prompts)} rows, and leave none to train on: "
            "lower it."
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
        warnings.warn(
            f"each prompt has more than the {count} rows to hold out: rows that are evaluated on have prompts that are "
            "trained on, and say little about others.",
            stacklevel=2,
        )
    return sorted(taken)


def prepare_divided(
    recipe: Recipe,
    rows: Iterable[Row],
    size: float,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
    share: Share = ALONE,
) -> tuple[Part, Part, HeldOut]:
    """Returns the pairs to train on, those held out, and which rows these are; all keep the numbers of their rows.

    `advance` and `share` are those of `Recipe.pairs`, of which this is what happens to the rows.

    Raises:
        DataError: a row that cannot be read, or no row left in one of the parts.
    """
    parts = Part([], Tally()), Part([], Tally())
    kinds: list[Kind | None] = []
    columns = parts[0].tally.columns

    def see(row: Row) -> None:
        kinds.append(columns.kind(row, recipe.columns))

    read: list[Read] = []
    with closing(recipe.read(rows, see, share)) as found:
        for row in found:
            read.append(row)
            advance(1)
    if not read:
        raise DataError("there are no rows.")
    held = held_out([_prompt(row) for row in read], size, seed)
    is_held = set(held)
    for row, kind in zip(read, kinds, strict=True):
        part = parts[row.number in is_held]
        part.tally.columns.count(kind)
        if (pair := recipe.pair(row, part.tally)) is not None:
            part.pairs.append(pair)
    for part, words in zip(parts, ("", f"of the {len(held)} rows held out (test_split_size {size:g}) "), strict=True):
        recipe.check_left(part.tally, words)
        warn_of(part.tally, stacklevel=5)  # the caller of DPOTrainer
    return *parts, HeldOut(tuple(held), len(read), size, seed)


def _prompt(row: Read) -> Hashable:
    """What rows of one prompt have in common; a row that holds no pair has nothing in common with any."""
    if row.joined.dropped:
        return row.number
    return blake2b(np.array(row.joined.prompt, np.int64).tobytes(), digest_size=16).digest()
