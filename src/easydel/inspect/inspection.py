"""All that is found of some pairs, as a value."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from easydel.data.format import NO_COLUMNS
from easydel.data.python_rows import Row
from easydel.errors import DataError
from easydel.inspect.advice import Advice, advice_of
from easydel.inspect.checks import CHECKS, findings_of
from easydel.inspect.extras import has_extra, missing_extras
from easydel.inspect.facts import Collector, Facts
from easydel.inspect.findings import LEVELS, Finding, Level, is_at_least
from easydel.inspect.leakage import EvalPrompts
from easydel.inspect.near_duplicates import Signatures
from easydel.inspect.pairs import eval_prompts_of
from easydel.inspect.shortcuts import Shortcut, shortcuts_of
from easydel.inspect.texts import text_of_row
from easydel.inspect.tokens import Tokens

VERSION = 1
"""Of `inspect.json`."""


class Inspection(NamedTuple):
    """What was found."""

    names: Sequence[str]  # of the datasets
    facts: Facts
    findings: Sequence[Finding]
    shortcuts: Sequence[Shortcut]
    tokens: Tokens | None = None

    def with_tokens(self, tokens: Tokens) -> "Inspection":
        """Returns this with what was found of the tokens."""
        return self.with_findings(tokens.findings)._replace(tokens=tokens)

    def with_findings(self, more: Sequence[Finding]) -> "Inspection":
        """Returns this with more findings, the gravest first."""
        return self._replace(findings=_by_level([*self.findings, *more]))

    @property
    def levels(self) -> dict[str, int]:
        """How many findings there are of each level."""
        return {level: sum(each.level == level for each in self.findings) for level in LEVELS}

    def fails(self, limit: str) -> bool:
        """Returns whether a finding reaches a level."""
        return any(is_at_least(finding.level, limit) for finding in self.findings)

    def left_out(self, limit: str) -> dict[int, list[str]]:
        """Returns the rows at fault in a finding of a level that can be left out, with the reasons.

        Rows that cannot be read are left out at every level: there is nothing to write of some of them.
        """
        found: dict[int, list[str]] = {}
        for finding in self.findings:
            broken = finding.check == "unusable" and finding.level == "error"
            at_fault = finding.check in CHECKS and CHECKS[finding.check].leaves_out
            if broken or (at_fault and is_at_least(finding.level, limit)):
                for row, why in finding.faults.items():
                    found.setdefault(row, []).append(f"{finding.check}: {why}")
        return found

    @property
    def advice(self) -> list[Advice]:
        """What follows for a run."""
        return advice_of(self.findings, len(self.facts.numbers))

    def values(self) -> dict[str, Any]:
        """Returns what `inspect.json` holds."""
        facts = self.facts
        return {
            "version": VERSION,
            "datasets": list(self.names),
            "rows": facts.rows,
            "pairs": len(facts.numbers),
            "kinds": dict(facts.kinds),
            "columns": facts.columns.found()._asdict(),
            "eval_prompts": {each.name: each.count for each in facts.eval_prompts},
            "levels": self.levels,
            "findings": [finding.values() for finding in self.findings],
            "advice": [each._asdict() for each in self.advice],
            "tokens": None if self.tokens is None else self.tokens.summary.values(),
            "shortcuts": [each.values() for each in self.shortcuts],
            "words": {source: each._asdict() for source, each in facts.words.items()},
        }


def inspect_pairs(
    rows: Iterable[tuple[Row, str]],
    *,
    names: Sequence[str] = ("pairs",),
    eval_prompts: Mapping[str, Iterable[Row]] | None = None,
    columns: Mapping[str, Any] = NO_COLUMNS,
    similarity: float = 0.8,
    most: int = 5,
    advance: Callable[[int], None] = lambda count: None,
) -> Inspection:
    """Returns what all checks find in rows, each given with where it comes from ("" where that is not known).

    A set that cannot be read to its end is a finding, and what could be read of it is inspected.

    Args:
        eval_prompts: the rows of eval sets and benchmarks, by name.
        similarity: share of 3-grams that near duplicates have in common.
        most: pairs of a prompt that are not too many.
        advance: is called with the number of rows read since.
    """
    unread: list[Finding] = list(missing_extras())
    sets = [_held(name, each, columns, unread) for name, each in (eval_prompts or {}).items()]
    collector = Collector([each for each in sets if each.count], Signatures() if has_extra("datasketch") else None)
    try:
        for number, (row, source) in enumerate(rows):
            pair = text_of_row(row, number, columns, source)
            if isinstance(row, Mapping) and row:
                collector.columns.add(row, columns)
            collector.add(pair)
            advance(1)
    except DataError as error:
        unread.append(not_inspected("the rows behind what could be read", str(error), "error"))
    facts = collector.facts()
    found = findings_of(facts, {"similarity": similarity, "most": most})
    return Inspection(names, facts, _by_level([*found, *unread]), shortcuts_of(facts))


def _by_level(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: -LEVELS.index(finding.level))


def _held(name: str, rows: Iterable[Row], columns: Mapping[str, Any], unread: list[Finding]) -> EvalPrompts:
    held = EvalPrompts(name)
    try:
        for number, prompt in eval_prompts_of(rows, columns):
            held.hold(number, prompt)
    except DataError as error:
        unread.append(not_inspected(name, str(error), "warning"))
        return held
    if not held.count:
        words = "no row of it has a prompt or a question, by any name that is read (prompt, question, instruction, ...)"
        unread.append(not_inspected(name, words, "warning"))
    return held


def not_inspected(what: str, why: str, level: Level) -> Finding:
    """Returns the finding that something could not be read, and why."""
    return Finding("not_inspected", level, f"{what}: {why}", {"what": what})
