"""What the rows are: columns that nobody reads, rows without a pair, who speaks in the conversations."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from easydel.errors import some
from easydel.inspect.facts import Facts
from easydel.inspect.findings import Finding, in_rows

_PROMPTING = re.compile(
    r"system|instruct|question|query|prompt|context|history|persona|message|conversation|document|passage|tools?$|input"
)


def unusable(facts: Facts) -> Iterator[Finding]:
    """Yields the rows that hold no pair: those that cannot be read, and those that training drops, by cause."""
    broken = {each.number: each.why for each in facts.unusable if each.is_broken}
    if broken:
        text = f"{in_rows(len(broken))} cannot be read, which stops a run (on_bad_row). The first: "
        first = broken[min(broken)]
        yield Finding("unusable", "error", text + first, {"rows": len(broken)}, broken)
    by_cause: dict[str, dict[int, str]] = defaultdict(dict)
    for each in facts.unusable:
        if not each.is_broken:
            by_cause[each.why][each.number] = each.why
    for cause, rows in by_cause.items():
        text = f"without a pair, and dropped ({cause}): {in_rows(len(rows))}"
        yield Finding("unusable", "warning", text, {"rows": len(rows), "cause": cause}, rows)


def unread_columns(facts: Facts) -> Iterator[Finding]:
    """Yields the columns that are not read although, by their names, a prompt could be in them."""
    columns = facts.columns.found()
    for name, count in columns.ignored.items():
        if count and _PROMPTING.search(name.lower()):
            yield Finding(
                "unread_columns",
                "warning",
                f"the column {name!r} is not read, and holds something in {in_rows(count)}: is it a part of the "
                f"prompt? --columns ignore={name} says that it is not",
                {"column": name, "rows": count},
            )


def mixed_kinds(facts: Facts) -> Iterator[Finding]:
    """Yields a finding where some rows are text and others conversations."""
    if len(facts.kinds) > 1:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in facts.kinds.most_common())
        text = f"rows of several kinds, of which only conversations go through a chat template: {counts}"
        yield Finding("mixed_kinds", "warning", text, dict(facts.kinds))


def strange_roles(facts: Facts) -> Iterator[Finding]:
    """Yields what chat templates are rarely made for: who speaks twice, or where nobody asks."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for (prompt, chosen, rejected), (count, first) in facts.roles.items():
        for words in _strange(prompt, chosen, rejected):
            found[words].append((count, first))
    for words, counts in found.items():
        rows, first = sum(count for count, _ in counts), min(row for _, row in counts)
        yield Finding(
            "strange_roles",
            "note",
            f"in {in_rows(rows)} {words}; the first is row {first}",
            {"rows": rows},
            {},
            [first],
        )


def _strange(prompt: Sequence[str], chosen: Sequence[str], rejected: Sequence[str]) -> Iterator[str]:
    if not prompt:
        return
    if "system" in prompt[1:]:
        yield "a system message is not the first"
    if "user" not in prompt:
        yield "no user speaks in the prompt"
    if prompt[-1] == "assistant":
        yield "the prompt ends in a message of the assistant, which the completions continue"
    twice = {one for one, next_one in pairwise(prompt) if one == next_one and one in ("user", "assistant")}
    if twice:
        yield f"{some(sorted(twice))} speaks twice in a row in the prompt"
    if len(chosen) != len(rejected):
        yield "chosen and rejected have different numbers of messages"
