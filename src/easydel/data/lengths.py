"""How long prompts and answers are: counted token by token as rows are read, told as a few bars."""

from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

from easydel.data.pair import Pair

PARTS = ("prompt", "chosen", "rejected")
MOST_BARS = 32


class Histogram(NamedTuple):
    """The lengths of one part of the pairs, in tokens: `counts[i]` of them are in `[i * width, (i + 1) * width)`."""

    width: int
    counts: list[int]
    mean: float
    median: int
    longest: int


def add_lengths(seen: Mapping[str, Counter[int]], pair: Pair) -> None:
    """Adds the lengths of a pair; where its sides keep different parts of a prompt, its prompt is the chosen one's."""
    seen["prompt"][len(pair.prompt) or pair.chosen_context] += 1
    seen["chosen"][len(pair.chosen) - pair.chosen_context] += 1
    seen["rejected"][len(pair.rejected) - pair.rejected_context] += 1


def histograms(seen: Mapping[str, Counter[int]]) -> dict[str, Histogram]:
    """Returns the lengths of each part as at most `MOST_BARS` bars; both answers have bars of one width.

    >>> found = histograms({"prompt": Counter({3: 2}), "chosen": Counter({40: 1}), "rejected": Counter({60: 3})})
    >>> found["prompt"], found["chosen"].width, found["rejected"].counts[-1]
    (Histogram(width=1, counts=[0, 0, 0, 2], mean=3.0, median=3, longest=3), 2, 3)
    """
    if not seen["prompt"]:
        return {}
    answers = _width(max(*seen["chosen"], *seen["rejected"]))
    widths = {"prompt": _width(max(seen["prompt"])), "chosen": answers, "rejected": answers}
    return {part: _histogram(seen[part], widths[part]) for part in PARTS}


def _width(longest: int) -> int:
    """Returns 1, 2, 5, 10, 20, 50, ...: the least of them that needs no more than `MOST_BARS` bars."""
    return next(w for power in range(20) for part in (1, 2, 5) if longest // (w := part * 10**power) < MOST_BARS)


def _histogram(lengths: Counter[int], width: int) -> Histogram:
    bars = [0] * (max(lengths) // width + 1)
    for length, count in lengths.items():
        bars[length // width] += count
    total = lengths.total()
    mean = sum(length * count for length, count in lengths.items()) / total
    ordered = sorted(lengths)
    reached = accumulate(lengths[length] for length in ordered)
    median = next(length for length, count in zip(ordered, reached, strict=True) if 2 * count >= total)
    return Histogram(width, bars, round(mean, 2), median, max(lengths))
