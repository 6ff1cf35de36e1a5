"""What is kept of the rows while they are read: numbers of a fixed size for each pair, and a sample of the texts."""

import random
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Int, UInt, UInt64

from easydel.data.used_columns import UsedColumns
from easydel.inspect.bag_of_words import BagOfWords, Sampled, bag_of_words
from easydel.inspect.extras import has_extra
from easydel.inspect.hashes import text_hash
from easydel.inspect.leakage import EvalPrompts
from easydel.inspect.marks import marks_of
from easydel.inspect.near_duplicates import Signatures
from easydel.inspect.texts import TextPair, Unusable, normalized

SAMPLE, SAMPLE_OF_SOURCE = 3000, 300
"""Pairs whose texts are kept, for what only looks at some: drawn evenly from all rows, by a fixed seed."""
_SAMPLED_SOURCES = 20
_ONE_BEGINS, _ONE_BEGINS_OTHERWISE, SAME = 1, 2, 3
_MAX_SOURCES = 200
NONE = "(none)"
"""What rows without a source are called."""


@dataclass
class _Sample:
    """Some of what it is shown, drawn evenly: Vitter, Random sampling with a reservoir (1985), algorithm R."""

    size: int
    kept: list[Sampled] = field(default_factory=list)
    _seen: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(17))

    def add(self, pair: Sampled) -> None:
        self._seen += 1
        if len(self.kept) < self.size:
            self.kept.append(pair)
        elif (place := self._random.randrange(self._seen)) < self.size:
            self.kept[place] = pair


@dataclass(frozen=True)
class Facts:
    """The pairs of a dataset, a value of each for each fact.

    Attributes:
        numbers: of the rows.
        prompts, chosen, rejected: 64 bits for each text, normalized.
        lengths: characters of chosen and rejected.
        marks: of chosen and rejected, a bit for each of `easydel.inspect.marks.MARKS`.
        begins: 1 where the rejected completion is the chosen one and something behind it, 2 the other way round,
            3 (`SAME`) where they are the same to the character.
        sources: places in `source_names`.
        signatures: see `easydel.inspect.near_duplicates`; None where these are not looked for.
        eval_prompts: the sets that are eval prompts, with the pairs that ask what these ask.
        unusable: the rows without a pair.
        samples: pairs with their texts, of all (under "") and of each of the first sources, where there are several.
        roles: who speaks in prompt, chosen and rejected, with the number of pairs and the first row.
    """

    numbers: Int[np.ndarray, "pairs"]
    prompts: UInt64[np.ndarray, "pairs"]
    chosen: UInt64[np.ndarray, "pairs"]
    rejected: UInt64[np.ndarray, "pairs"]
    lengths: Int[np.ndarray, "pairs 2"]
    marks: UInt[np.ndarray, "pairs 2"]
    begins: UInt[np.ndarray, "pairs"]
    sources: Int[np.ndarray, "pairs"]
    source_names: Sequence[str]
    signatures: UInt[np.ndarray, "pairs values"] | None
    unusable: list[Unusable]
    kinds: Counter[str]
    roles: dict[tuple[tuple[str, ...], ...], tuple[int, int]]
    columns: UsedColumns
    samples: dict[str, list[Sampled]]
    eval_prompts: Sequence[EvalPrompts]

    @cached_property
    def words(self) -> dict[str, BagOfWords]:
        """What words alone tell of all pairs (under "") and of each source that has enough of them.

        Nothing where scikit-learn is not installed, see `easydel.inspect.bag_of_words`.
        """
        if not has_extra("sklearn"):
            return {}
        found = {source: bag_of_words(sample) for source, sample in self.samples.items()}
        return {source: each for source, each in found.items() if each is not None}

    @property
    def rows(self) -> int:
        """How many rows were read, with those that hold no pair."""
        return len(self.numbers) + len(self.unusable)


@dataclass
class Collector:
    """Collects facts, a row at a time."""

    eval_prompts: Sequence[EvalPrompts] = ()
    signatures: Signatures | None = None
    columns: UsedColumns = field(default_factory=UsedColumns)
    unusable: list[Unusable] = field(default_factory=list)
    _hashes: array = field(default_factory=lambda: array("Q"))
    _numbers: array = field(default_factory=lambda: array("q"))
    _lengths: array = field(default_factory=lambda: array("q"))
    _marks: array = field(default_factory=lambda: array("B"))
    _begins: array = field(default_factory=lambda: array("B"))
    _sources: array = field(default_factory=lambda: array("i"))
    _names: dict[str, int] = field(default_factory=dict)
    _kinds: Counter[str] = field(default_factory=Counter)
    _roles: dict[tuple[tuple[str, ...], ...], tuple[int, int]] = field(default_factory=dict)
    _sample: _Sample = field(default_factory=lambda: _Sample(SAMPLE))
    _samples: dict[int, _Sample] = field(default_factory=dict)

    def add(self, pair: TextPair | Unusable) -> None:
        """Looks at one more row."""
        if isinstance(pair, Unusable):
            self.unusable.append(pair)
            return
        at = len(self._numbers)
        prompt, chosen, rejected = map(normalized, (pair.prompt, pair.chosen, pair.rejected))
        self._numbers.append(pair.number)
        hashes = list(map(text_hash, (prompt, chosen, rejected)))
        self._hashes.extend(hashes)
        self._lengths.extend((len(pair.chosen), len(pair.rejected)))
        self._marks.extend((marks_of(pair.first, pair.chosen), marks_of(pair.first, pair.rejected)))
        self._begins.append(SAME if pair.chosen == pair.rejected else _beginning(chosen, rejected))
        source = self._source(pair.source)
        self._sources.append(source)
        self._kinds[pair.kind] += 1
        count, first = self._roles.get(pair.roles, (0, pair.number))
        self._roles[pair.roles] = count + 1, first
        if self.signatures is not None:
            self.signatures.add(pair)
        for each in self.eval_prompts:
            each.look(at, pair)
        sampled = Sampled(pair.number, hashes[0], pair.chosen, pair.rejected)
        self._sample.add(sampled)
        if source < _SAMPLED_SOURCES:
            self._samples.setdefault(source, _Sample(SAMPLE_OF_SOURCE)).add(sampled)

    def facts(self) -> Facts:
        """Returns what was collected."""
        hashes = np.frombuffer(self._hashes, np.uint64).reshape(-1, 3)
        prompts, chosen, rejected = (hashes[:, part] for part in range(3))
        return Facts(
            np.frombuffer(self._numbers, np.int64),
            prompts,
            chosen,
            rejected,
            np.frombuffer(self._lengths, np.int64).reshape(-1, 2),
            np.frombuffer(self._marks, np.uint8).reshape(-1, 2),
            np.frombuffer(self._begins, np.uint8),
            np.frombuffer(self._sources, np.int32),
            list(self._names),
            None if self.signatures is None else self.signatures.values(),
            self.unusable,
            self._kinds,
            self._roles,
            self.columns,
            {"": self._sample.kept, **(self._of_sources() if len(self._names) > 1 else {})},
            self.eval_prompts,
        )

    def _of_sources(self) -> dict[str, list[Sampled]]:
        names = list(self._names)
        return {names[at] or NONE: sample.kept for at, sample in self._samples.items()}

    def _source(self, name: str) -> int:
        if name not in self._names and len(self._names) >= _MAX_SOURCES:
            name = "others"
        return self._names.setdefault(name, len(self._names))


def _beginning(chosen: str, rejected: str) -> int:
    if chosen == rejected or not chosen or not rejected:
        return 0
    if rejected.startswith(chosen):
        return _ONE_BEGINS
    return _ONE_BEGINS_OTHERWISE if chosen.startswith(rejected) else 0
