"""The checks, by name: a new one is a function of `Facts` that yields findings, and a row here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from easydel.inspect import bag_of_words, conflicts, duplicates, leakage, near_duplicates, shapes, shortcuts
from easydel.inspect.facts import Facts
from easydel.inspect.findings import LEVELS, Finding


class Check(NamedTuple):
    """A check.

    Attributes:
        words: what it finds.
        find: yields its findings.
        settings: the options that it is given by name.
        leaves_out: the rows at fault can be left out (`--write`) without a loss to the others.
    """

    words: str
    find: Callable[..., Iterator[Finding]]
    settings: Sequence[str] = ()
    leaves_out: bool = True


CHECKS: Mapping[str, Check] = {
    "unusable": Check("rows that cannot be read, or hold no pair", shapes.unusable),
    "unread_columns": Check("columns that nobody reads", shapes.unread_columns, leaves_out=False),
    "mixed_kinds": Check("text among conversations", shapes.mixed_kinds, leaves_out=False),
    "strange_roles": Check("who speaks when", shapes.strange_roles, leaves_out=False),
    "same_pairs": Check("rows that are there twice", duplicates.same_pairs),
    "near_duplicates": Check("rows that say nearly the same", near_duplicates.near_duplicates, ("similarity",)),
    "same_completions": Check("chosen and rejected the same", duplicates.same_completions),
    "continued": Check("one completion is the other and more", duplicates.continued),
    "many_for_a_prompt": Check("prompts with many pairs", duplicates.many_for_a_prompt, ("most",)),
    "contradictions": Check("A before B here, B before A there", conflicts.contradictions),
    "cycles": Check("A before B before C before A", conflicts.cycles),
    "both_sides": Check("answers chosen here and rejected there", conflicts.both_sides),
    "leakage": Check("prompts that are eval prompts", leakage.leakage),
    "echoes": Check("chosen completions that repeat the prompt", shortcuts.echoes),
    "refusals": Check("chosen completions that refuse", shortcuts.refusals),
    "shortcuts": Check("what wins whatever it says", shortcuts.shortcuts, leaves_out=False),
    "bag_of_words": Check("words that tell the chosen one", bag_of_words.words_tell, leaves_out=False),
}


def findings_of(facts: Facts, settings: Mapping[str, Any]) -> list[Finding]:
    """Returns what all checks find, the gravest first."""
    found = [
        finding
        for check in CHECKS.values()
        for finding in check.find(facts, **{name: settings[name] for name in check.settings})
    ]
    return sorted(found, key=lambda finding: -LEVELS.index(finding.level))
