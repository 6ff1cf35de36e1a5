"""An inspection as lines for people."""

from collections.abc import Iterator, Mapping, Sequence

from easydel.display.columns import read_and_ignored
from easydel.display.formatting import labeled
from easydel.display.pairs import visible
from easydel.errors import some
from easydel.inspect.findings import Finding
from easydel.inspect.inspection import Inspection
from easydel.inspect.marks import MARKS
from easydel.inspect.shortcuts import Shortcut

_ROWS = 6  # that a line names
_ALL = "all pairs"


def summary(inspection: Inspection) -> str:
    """Returns what was inspected, what was found, and what wins whatever it says."""
    parts = [labeled(_inspected(inspection)), "\n".join(_findings(inspection.findings))]
    if len(inspection.facts.numbers):
        parts.append("\n".join(_table(inspection)))
    if advice := inspection.advice:
        parts.append(labeled({each.option: visible(f"{each.words}: {each.figure}") for each in advice}))
    return "\n\n".join(part for part in parts if part)


def _inspected(inspection: Inspection) -> Mapping[str, str]:
    facts = inspection.facts
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in facts.kinds.most_common())
    read, ignored = read_and_ignored({"columns": facts.columns.found()._asdict()})
    eval_prompts = ", ".join(f"{visible(each.name)} ({each.count:,} prompts)" for each in facts.eval_prompts)
    return {
        "pairs": f"{len(facts.numbers):,} in {facts.rows:,} rows of {visible(some(inspection.names))}",
        "read as": kinds or "nothing",
        "columns": read + (f"; ignored: {ignored}" if ignored else ""),
        **({"eval prompts": eval_prompts} if eval_prompts else {}),
    }


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        yield "nothing was found"
    for finding in findings:
        rows = sorted(finding.faults) or list(finding.examples)
        more = f" and {len(rows) - _ROWS:,} more" if len(rows) > _ROWS and finding.faults else ""
        noun = "row" if len(rows) == 1 else "rows" if finding.faults else "such as rows"
        named = f" ({noun} {', '.join(map(str, rows[:_ROWS]))}{more})" if rows else ""
        yield f"{finding.level:<8} {finding.check:<18} {visible(finding.text)}{named}"


def _table(inspection: Inspection) -> Iterator[str]:
    """Yields, for the whole and each source, how often a completion wins that is longer, has a list, ..."""
    yield "how often it is chosen, of the pairs in which only one completion is or has it"
    heads = ["longer", *MARKS, "words alone"]
    by_source: dict[str, list[Shortcut]] = {}
    for each in inspection.shortcuts:
        by_source.setdefault(each.source or _ALL, []).append(each)
    width = max(12, *(min(len(visible(name)), 32) + 2 for name in by_source))
    yield " " * width + "pairs".rjust(8) + "".join(head.rjust(16) for head in heads)
    for name, row in by_source.items():
        cells = [f"{each.rate:.0%} of {each.differ:,}" if each.differ else "-" for each in row]
        words = inspection.facts.words.get("" if name == _ALL else name)
        cells += ["-" if words is None else f"{words.accuracy:.0%} of {words.pairs:,}"]
        yield visible(name)[:32].ljust(width) + f"{row[0].pairs:,}".rjust(8) + "".join(cell.rjust(16) for cell in cells)
