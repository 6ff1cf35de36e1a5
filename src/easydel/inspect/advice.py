"""What follows from the findings for a run, in the names of its options, each with the figure it follows from."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from easydel.inspect.findings import Finding

_FEW = 0.005  # share of the pairs that a setting is not worth changing for


class Advice(NamedTuple):
    """An option, what to do with it, and why."""

    option: str
    words: str
    figure: str


def advice_of(findings: Sequence[Finding], pairs: int) -> list[Advice]:
    """Returns the advice for a run on `pairs` pairs."""
    return list(dict.fromkeys([*_of_lengths(findings), *_of_labels(findings, pairs), *_of_rows(findings)]))


def _of_lengths(findings: Sequence[Finding]) -> Iterator[Advice]:
    for each in findings:
        figures = each.figures
        if each.check != "shortcuts" or figures["name"] != "length" or figures["rate"] <= 0.5:
            continue
        figure = f"the longer completion is chosen in {figures['rate']:.0%} of {figures['differ']:,} pairs"
        if figures["source"]:
            figure += f" from {figures['source']}"
        yield Advice("ld_alpha", "a value below 1, such as 0.5, counts what is longer less", figure)
        yield Advice("loss_type", "sigmoid_norm and simpo divide by the lengths of the completions", figure)


def _of_labels(findings: Sequence[Finding], pairs: int) -> Iterator[Advice]:
    rows = {row for each in findings if each.check in ("contradictions", "cycles") for row in each.faults}
    share = len(rows) / max(pairs, 1)
    if share >= _FEW:
        # Of two rows that contradict each other one is wrong.
        words = f"{min(share / 2, 0.49):.2f} is the share of wrong labels that these rows mean, for sigmoid or robust"
        yield Advice("label_smoothing", words, f"{len(rows):,} of {pairs:,} pairs contradict each other")


def _of_rows(findings: Sequence[Finding]) -> Iterator[Advice]:
    for each in findings:
        if each.check == "many_for_a_prompt":
            words = "a column weight of 1 / pairs of the prompt lets every prompt count the same"
            yield Advice("weight", words, f"a prompt has up to {each.figures['most']:,} pairs")
        if each.check == "unread_columns":
            words = f"ignore={each.figures['column']} where it holds no prompt, or the name that it is to be read as"
            yield Advice("columns", words, f"{each.figures['column']} holds something in {each.figures['rows']:,} rows")
        if each.check == "cut_to_length":
            words = f"{each.figures['needed']:,} cuts one pair in a hundred"
            figure = f"{each.figures['rows']:,} of {each.figures['of']:,} pairs are cut or dropped by limits of length"
            yield Advice("max_length", words, figure)
