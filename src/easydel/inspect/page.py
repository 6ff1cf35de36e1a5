"""`inspect.html`: what was found of some pairs, with the rows behind it; one page that opens offline."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from easydel.data.python_rows import Row
from easydel.display.pairs import visible
from easydel.inspect import tokens
from easydel.inspect.checks import CHECKS
from easydel.inspect.findings import Finding
from easydel.inspect.inspection import Inspection
from easydel.inspect.marks import MARKS
from easydel.inspect.shortcuts import ALL, Shortcut
from easydel.inspect.texts import TextPair, text_of_row
from easydel.trainers.report.page import write_page
from easydel.trainers.report.previews import previews_of

_SHOWN, _LISTED = 3, 200  # rows of a finding with their texts, and by number
_CHARACTERS = 600  # of a text


class ShownRow(NamedTuple):
    """A row behind a finding: its number, why, and its texts, empty where it has none."""

    number: int
    why: str
    prompt: str = ""
    chosen: str = ""
    rejected: str = ""


class ShownFinding(NamedTuple):
    """A finding as the page has it."""

    title: str
    level: str
    text: str
    rows: list[ShownRow]
    numbers: str  # of all rows, as far as there is room


def write_inspect_page(
    file: Path, inspection: Inspection, rows: Iterable[tuple[Row, str]], columns: Mapping[str, Any]
) -> Path:
    """Writes the page and returns its path; of `rows`, which are read again, those behind findings are shown."""
    wanted = {row for each in inspection.findings for row in _numbers(each)[:_SHOWN]}
    texts: dict[int, TextPair] = {}
    last = max(wanted, default=-1)
    for number, (row, _) in enumerate(islice(rows, last + 1)):
        pair = text_of_row(row, number, columns) if number in wanted else None
        if isinstance(pair, TextPair):
            texts[number] = pair
    facts = inspection.facts
    return write_page(
        file,
        "inspect.html",
        title=", ".join(Path(name).name for name in inspection.names),
        tiles=[
            ("pairs", f"{len(facts.numbers):,}", f"of {facts.rows:,} rows"),
            *((f"{level}s", str(count), "") for level, count in reversed(inspection.levels.items())),
        ],
        findings=[_shown(each, texts) for each in inspection.findings],
        advice=[(each.option, f"{each.words}: {each.figure}") for each in inspection.advice],
        heads=["", "pairs", "longer", *MARKS, "words alone"],
        shortcuts=_table(inspection),
        pairs=[] if inspection.tokens is None else previews_of("pairs", inspection.tokens.summary.values()),
    )


def _numbers(finding: Finding) -> list[int]:
    return sorted(finding.faults) or list(finding.examples)


def _shown(finding: Finding, texts: Mapping[int, TextPair]) -> ShownFinding:
    numbers = _numbers(finding)
    rows = []
    for number in numbers[:_SHOWN]:
        pair = texts.get(number)
        parts = () if pair is None else map(_short, (pair.prompt, pair.chosen, pair.rejected))
        rows.append(ShownRow(number, visible(finding.faults.get(number, "")), *parts))
    more = f" and {len(numbers) - _LISTED:,} more, in inspect.json" if len(numbers) > _LISTED else ""
    listed = ", ".join(map(str, numbers[:_LISTED])) + more
    words = {name: check.words for name, check in CHECKS.items()}
    titles = {**words, **tokens.CHECKS, "not_inspected": "not inspected"}
    title = titles[finding.check]
    return ShownFinding(title, finding.level, visible(finding.text), rows, listed)


def _short(text: str) -> str:
    return visible(text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}\u2026", "\n")


def _table(inspection: Inspection) -> list[Sequence[str]]:
    by_source: dict[str, list[Shortcut]] = {}
    for each in inspection.shortcuts:
        by_source.setdefault(each.source, []).append(each)
    rows = []
    for source, found in by_source.items():
        words = inspection.facts.words.get(source)
        cells = [f"{each.rate:.0%} of {each.differ:,}" if each.differ else "\u2013" for each in found]
        cells.append("\u2013" if words is None else f"{words.accuracy:.0%} of {words.pairs:,}")
        rows.append([visible(source) if source != ALL else "all pairs", f"{found[0].pairs:,}", *cells])
    return rows
