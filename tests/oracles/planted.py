"""Pairs of random words, in which nothing is wrong, and faults that are planted among them."""

import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Row = dict[str, Any]
_SYLLABLES = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "il")]


class Words:
    """Texts of words that no language has, drawn by a seed."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self._known = ["".join(self.random.choices(_SYLLABLES, k=self.random.randint(1, 3))) for _ in range(3000)]

    def text(self, least: int, most: int) -> str:
        words = self.random.choices(self._known, k=self.random.randint(least, most))
        return " ".join(words).capitalize() + "."

    def row(self, **values: Any) -> Row:
        return {
            "prompt": self.text(8, 24),
            "chosen": self.text(10, 60),
            "rejected": self.text(10, 60),
            "source": "clean",
            **values,
        }


class Planted(NamedTuple):
    """Rows with faults among clean ones.

    Attributes:
        faults: the numbers of the rows of each fault.
        partners: rows that were clean before a fault was planted beside them.
    """

    rows: list[Row]
    faults: Mapping[str, set[int]]
    partners: set[int]
    eval_prompts: list[Row]
    benchmark: list[Row]

    @property
    def clean(self) -> set[int]:
        return set(range(len(self.rows))) - set().union(*self.faults.values()) - self.partners


def _other_case(words: Words, row: Row) -> list[Row]:
    return [{**row, "prompt": row["prompt"].upper(), "chosen": "  " + row["chosen"].replace(" ", "\n", 1)}]


def _near(words: Words, row: Row) -> list[Row]:
    changed = row["rejected"].split()
    changed[len(changed) // 2] = "changed"
    return [{**row, "rejected": " ".join(changed)}]


def _swapped(words: Words, row: Row) -> list[Row]:
    return [{**row, "chosen": row["rejected"], "rejected": row["chosen"]}]


def _circle(words: Words, row: Row) -> list[Row]:
    third = words.text(10, 60)
    return [
        {**row, "chosen": row["rejected"], "rejected": third},
        {**row, "chosen": third, "rejected": row["chosen"]},
    ]


def _crowd(words: Words, row: Row) -> list[Row]:
    return [words.row(prompt=row["prompt"]) for _ in range(5)]


BESIDE: Mapping[str, Callable[[Words, Row], list[Row]]] = {
    "same_pairs": _other_case,
    "near_duplicates": _near,
    "contradictions": _swapped,
    "cycles": _circle,
    "both_sides": lambda words, row: [words.row(rejected=row["chosen"])],
    "many_for_a_prompt": _crowd,
}
"""Faults that are planted beside a clean row."""

ALONE: Mapping[str, Callable[[Words], Row]] = {
    "same_completions": lambda words: words.row(chosen="A same answer.", rejected="A same answer."),
    "continued": lambda words: _and_more(words.row()),
    "echoes": lambda words: _again(words.row()),
    "refusals": lambda words: words.row(chosen="I'm sorry, but I can't help with that. " + words.text(5, 9)),
    "unusable": lambda words: words.row(chosen=" "),
}
SHORTCUTS: Mapping[str, Callable[[Words], Row]] = {
    "length": lambda words: words.row(source="of length", chosen=words.text(40, 90), rejected=words.text(5, 39)),
    "lists": lambda words: words.row(
        source="of lists", chosen="\n".join(f"- {words.text(4, 12)}" for _ in range(4)), rejected=words.text(10, 60)
    ),
    "markdown": lambda words: words.row(source="of markdown", chosen=f"# {words.text(2, 3)}\n{words.text(10, 55)}"),
    "refusals": lambda words: words.row(source="of refusals", rejected="As an AI I must decline. " + words.text(5, 50)),
    "echoes": lambda words: _again(words.row(source="of echoes"), "rejected"),
    "words": lambda words: words.row(source="of words", chosen="Certainly! " + words.text(10, 60)),
}
"""What wins whatever it says, in the rows of one source each."""


def _and_more(row: Row) -> Row:
    return {**row, "rejected": row["chosen"] + " And something more."}


def _again(row: Row, side: str = "chosen") -> Row:
    return {**row, side: f"{row['prompt']} {row[side]}"}


def planted(rows: int = 10_000, share: float = 0.01, seed: int = 0) -> Planted:
    """Returns rows of which `share` have each of the faults."""
    words, count = Words(seed), int(rows * share)
    made: list[Row] = []
    faults: dict[str, set[int]] = {}
    partners: set[int] = set()
    groups: list[range] = []
    for name, plant in BESIDE.items():
        faults[name] = set()
        while len(faults[name]) < count:
            partners.add(len(made))
            made.append(words.row())
            more = plant(words, made[-1])
            bad = range(len(made), len(made) + len(more))
            faults[name] |= {bad[-1]} if name == "many_for_a_prompt" else set(bad)
            partners |= set(bad)
            made += more
            groups.append(range(bad[0] - 1, bad[-1] + 1))
    for name, plain in ALONE.items():
        faults[name] = set(range(len(made), len(made) + count))
        made += [plain(words) for _ in range(count)]
    eval_prompts, benchmark = (
        [words.row() for _ in range(count)],
        [{"question": words.text(20, 40)} for _ in range(count)],
    )
    asked = [each["prompt"] for each in eval_prompts] + [each["question"] for each in benchmark]
    faults["leakage"] = set(range(len(made), len(made) + count))
    for at in range(count):
        of = asked[2 * at]
        prompt = (of, of.upper(), f"{words.text(5, 9)} {of} {words.text(5, 9)}")[at % 3]
        made.append(words.row(prompt=prompt))
    for name, plain in SHORTCUTS.items():
        faults[f"shortcut {name}"] = set(range(len(made), len(made) + count))
        made += [plain(words) for _ in range(count)]
    made += [words.row() for _ in range(rows - len(made))]
    keys = [words.random.random() for _ in made]
    for group in groups:  # a row and what is planted beside it stay in order
        keys[group.start : group.stop] = sorted(keys[group.start : group.stop])
    order = sorted(range(len(made)), key=keys.__getitem__)
    place = {old: new for new, old in enumerate(order)}
    moved = {name: {place[at] for at in numbers} for name, numbers in faults.items()}
    return Planted([made[at] for at in order], moved, {place[at] for at in partners}, eval_prompts, benchmark)
