"""Facts of pairs that are written in short: `prompt:chosen>rejected`."""

from collections.abc import Sequence

from easydel.inspect.facts import Collector, Facts
from easydel.inspect.leakage import EvalPrompts
from easydel.inspect.near_duplicates import Signatures
from easydel.inspect.texts import text_of_row


def facts_of(
    *pairs: str, eval_prompts: Sequence[EvalPrompts] = (), signatures: Signatures | None = None, sources: str = ""
) -> Facts:
    """Returns the facts of pairs; `sources` has a letter for each."""
    collector = Collector(eval_prompts, signatures)
    for number, pair in enumerate(pairs):
        prompt, _, rest = pair.partition(":")
        chosen, _, rejected = rest.partition(">")
        row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        collector.columns.add(row)
        collector.add(text_of_row(row, number, source=sources[number : number + 1]))
    return collector.facts()
