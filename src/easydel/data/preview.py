"""Prepared pairs as people read them: tokens as text, with where the prompt ends, what bears no loss and what was cut.

Every token of a row is in one segment, in order. Those of the kinds `prompt`, `trained` and `untrained` are the pair's;
`cut` were left out to fit the limits of length.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

from easydel.data.examples import Example
from easydel.data.pair import NEUTRAL, Limits, Pair, Side, truncate
from easydel.data.tokenize import Joined
from easydel.data.tokenizer import Tokenizer, decoded

Kind = Literal["prompt", "trained", "untrained", "cut"]
_BEFORE = 4  # tokens in front of others that may change how these are written: no character is longer
_HALF = "\ufffd"  # stands for bytes that are no character
_RUNS = 8  # of one kind each that are shown of a part; the middle of more is not


class Segment(NamedTuple):
    """Neighboring tokens of one kind; `text` is None where they are left out of the view."""

    kind: Kind
    ids: tuple[int, ...]
    text: str | None
    special: bool = False  # one token that was added to the vocabulary: a mark of the template, or where a text ends

    def values(self) -> dict[str, Any]:
        """Returns it as `data.json` has it, with the number of its tokens."""
        return {"kind": self.kind, "tokens": len(self.ids), "text": self.text, "special": self.special}


class Preview(NamedTuple):
    """A pair with the text of its tokens; a side begins with a prompt of its own where the two keep different parts."""

    row: int
    reasons: tuple[str, ...]  # why this one is shown
    prompt: tuple[Segment, ...]
    chosen: tuple[Segment, ...]
    rejected: tuple[Segment, ...]
    weight: float = NEUTRAL.weight
    margin: float = NEUTRAL.margin
    preference: float = NEUTRAL.preference
    score_gap: float = NEUTRAL.score_gap

    def values(self) -> dict[str, Any]:
        """Returns it as `data.json` has it."""
        parts = {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}
        return self._asdict() | {name: [each.values() for each in segments] for name, segments in parts.items()}


class Room(NamedTuple):
    """How many tokens of a run of one kind are shown, far from the border of prompt and completion and next to it."""

    far: int
    near: int


BRIEF, LONG = Room(16, 64), Room(64, 256)


def preview_of(example: Example, limits: Limits, tokenizer: Tokenizer | None, room: Room = LONG) -> Preview:
    """Returns what a row became, with its tokens as text; without a tokenizer, as numbers.

    >>> row = Joined([1, 2, 3], [4, 5], [6])
    >>> shown = preview_of(Example(row, Pair([2, 3], [4, 5], [6])), Limits(max_prompt_length=2), None)
    >>> [(segment.kind, segment.text) for segment in shown.prompt + shown.chosen]
    [('cut', '1'), ('prompt', '2 3'), ('trained', '4 5')]
    """
    joined, pair = example.joined, example.pair
    ids = [joined.prompt + whole for whole in (joined.chosen, joined.rejected)]
    spans = _kept(joined, limits)
    kinds = [_kinds(len(pair.prompt), *each) for each in zip(pair.sides, map(len, ids), spans, strict=True)]
    together = spans[0][0] == spans[1][0] < len(joined.prompt)
    border = spans[0][0] + len(pair.prompt) if together else 0  # up to where the two sides are the same tokens
    view = _View(tokenizer, {} if tokenizer is None else _names(tokenizer), room)
    chosen, rejected = (view.segments(each, kind, border, len(each)) for each, kind in zip(ids, kinds, strict=True))
    return Preview(
        pair.index,
        example.reasons,
        view.segments(ids[0], kinds[0], 0, border),
        chosen,
        rejected,
        *pair.numbers,
    )


def _kept(joined: Joined, limits: Limits) -> list[tuple[int, int]]:
    """Where each side of a row, prompt and completion, begins and ends once it is cut to length.

    Cutting the places of tokens in place of the tokens tells it, whatever is repeated among these.
    """
    prompt = len(joined.prompt)
    chosen, rejected = (list(range(prompt, prompt + len(side))) for side in (joined.chosen, joined.rejected))
    cut = truncate(Pair(list(range(prompt)), chosen, rejected), limits).pair
    if cut is None:
        raise ValueError("a row that is dropped at these limits has no preview")
    kept = [cut.prompt + side for side in (cut.chosen, cut.rejected)]
    return [(each[0], each[-1] + 1) for each in kept]


def _kinds(prompt: int, side: Side, length: int, kept: tuple[int, int]) -> list[Kind]:
    """The kind of each of the `length` tokens of a row on one side, of which a prompt and a side are kept."""
    trained: list[Kind] = ["trained"] * len(side.ids)
    if side.trained is not None:
        trained = ["trained" if bears else "untrained" for bears in side.trained]
    prompts: list[Kind] = ["prompt"] * (prompt + side.context)
    cut: list[Kind] = ["cut"]
    return [*cut * kept[0], *prompts, *trained[side.context :], *cut * (length - kept[1])]


class _View(NamedTuple):
    """How tokens are written, and how many of them."""

    tokenizer: Tokenizer | None
    names: Mapping[int, str]  # of special tokens
    room: Room

    def segments(self, ids: Sequence[int], kinds: Sequence[Kind], start: int, end: int) -> tuple[Segment, ...]:
        """The tokens from `start` to `end`: of each run of one kind those next to its borders are written out."""
        runs = [list(places) for _, places in groupby(range(start, end), kinds.__getitem__)]
        found: list[Segment] = []
        for at, places in enumerate(runs):
            kind = kinds[places[0]]
            if len(runs) > _RUNS and _RUNS // 2 <= at < len(runs) - _RUNS // 2:
                shown, hidden, more = [], places, []
            else:
                shown, hidden, more = self._parted(kind, places, is_first=at == 0)
            found += self._written(ids, kind, shown)
            if hidden:
                found.append(Segment(kind, tuple(ids[place] for place in hidden), None))
            found += self._written(ids, kind, more)
        return tuple(found)

    def _parted(self, kind: Kind, places: list[int], *, is_first: bool) -> tuple[list[int], list[int], list[int]]:
        """A run as what is shown of its beginning, what is not shown, and what is shown of its end."""
        far, near = self.room
        first, last = (far, near) if kind == "prompt" else (near, far)
        if kind == "cut":
            first, last = (0, far) if is_first else (far, 0)
        if len(places) <= first + last + far // 2:  # leaving out a few tokens is not worth a mark
            return places, [], []
        return places[:first], places[first : len(places) - last], places[len(places) - last :]

    def _written(self, ids: Sequence[int], kind: Kind, places: Sequence[int]) -> Iterator[Segment]:
        """Yields the segments of what is shown of a run: text, and each special token alone."""
        named = {place: self._name(ids[place]) for place in places}
        for at, group in groupby(places, lambda place: -1 if named[place] is None else place):
            members = list(group)
            own = [ids[place] for place in members]
            if at >= 0:
                yield Segment(kind, tuple(own), named[at], special=True)
            elif self.tokenizer is None:
                yield Segment(kind, tuple(own), " ".join(map(str, own)))
            else:
                before = ids[max(members[0] - _BEFORE, 0) : members[0]]
                yield Segment(kind, tuple(own), _text(before, own, self.tokenizer))

    def _name(self, number: int) -> str | None:
        """How a special token is written, or one that the tokenizer does not know; None for a token of text."""
        if self.tokenizer is None or number in self.names:
            return self.names.get(number)
        return f"#{number}" if self.tokenizer.convert_ids_to_tokens([number]) == [None] else None


def _names(tokenizer: Tokenizer) -> dict[int, str]:
    """The tokens that were added to a vocabulary, without those of white space that some have for code."""
    ends = [number for number in (tokenizer.bos_token_id, tokenizer.eos_token_id) if number is not None]
    names = {number: decoded([number], tokenizer) for number in ends}
    added = tokenizer.added_tokens_decoder.items()
    return names | {number: str(token) for number, token in added if token.special or str(token).strip("\u2581 \n\t")}


def _text(before: Sequence[int], ids: list[int], tokenizer: Tokenizer) -> str:
    """Returns what tokens add to the text before them; where that ends inside a character, what they are alone."""
    if not tokenizer.is_fast:  # it puts spaces around special tokens that are not in the text
        before = [number for number in before if number not in tokenizer.added_tokens_decoder]
    known, whole = decoded(before, tokenizer), decoded([*before, *ids], tokenizer)
    if known.endswith(_HALF) or not whole.startswith(known):
        return decoded(ids, tokenizer)
    return whole[len(known) :]
