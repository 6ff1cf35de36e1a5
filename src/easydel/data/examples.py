"""A few rows of a dataset to show: the first one kept, and the first that was changed in each way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from easydel.data.pair import Pair
from easydel.data.tokenize import Joined

MAX_EXAMPLES = 8
FIRST = "the first row kept"
NO_LOSS = "tokens of a completion bear no loss"
MERGED = "the end of the prompt changes when a completion follows it"


class Example(NamedTuple):
    """A row that was kept, before and after it was cut to length, and why it is shown."""

    joined: Joined
    pair: Pair
    reasons: tuple[str, ...] = ()


@dataclass
class Examples:
    """The rows to show of those that were seen."""

    _by_reason: dict[str, Example] = field(default_factory=dict)

    def add(self, joined: Joined, pair: Pair, causes: Sequence[str]) -> None:
        """Looks at one more row that was kept, and the limits that cut it."""
        example = Example(joined, pair)
        if not self._by_reason:
            self._by_reason[FIRST] = example
        reasons = [f"cut by {cause}" for cause in causes]
        reasons += [f"left out by the chat template: {cause}" for cause in dict.fromkeys(joined.lost)]
        if pair.masks:
            reasons.append(NO_LOSS)
        most = self._by_reason.get(MERGED)
        if joined.merged > (0 if most is None else most.joined.merged):
            self._by_reason[MERGED] = example
        for reason in reasons:
            if len(self._by_reason) < MAX_EXAMPLES:
                self._by_reason.setdefault(reason, example)

    def found(self) -> list[Example]:
        """Returns each row once, with all the reasons for it, the first row first."""
        by_row: dict[int, Example] = {}
        for reason, example in list(self._by_reason.items()):  # a copy: a stream is read in another thread
            known = by_row.get(example.pair.index, example)
            by_row[example.pair.index] = known._replace(reasons=(*known.reasons, reason))
        return list(by_row.values())
