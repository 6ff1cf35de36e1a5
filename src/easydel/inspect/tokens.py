"""The pairs as token ids, by the code and with the limits of training: what is cut, lost or without an end."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from easydel.data.counts import Tally
from easydel.data.endings import Endings, ends_of
from easydel.data.lost import OF_EARLIER_TURNS
from easydel.data.pair import PROMPT_TOO_LONG
from easydel.data.prepare import TokenizeConfig
from easydel.data.python_rows import Row
from easydel.data.share import ALONE
from easydel.data.tokenize import Joined
from easydel.inspect.findings import Finding, in_rows
from easydel.trainers.dataset_summary import DatasetSummary, summarize_dataset

CHECKS: Mapping[str, str] = {
    "no_template": "text, although the model has a chat template",
    "cut_to_length": "pairs that are cut to length",
    "left_out": "what the chat template leaves out",
    "changed_prompt": "prompts whose end changes with a completion behind it",
    "ends": "completions without an end, or with two",
}
"""What is looked for in the tokens, by the name of the finding."""
_MANY, _FEW_TOKENS = 0.01, 2


class Tokens(NamedTuple):
    """What became of the rows, with some pairs as they are trained, and what is wrong with them."""

    summary: DatasetSummary
    findings: list[Finding]


def inspect_tokens(
    rows: Iterable[Row],
    config: TokenizeConfig,
    kinds: Mapping[str, int],
    advance: Callable[[int], None] = lambda count: None,
) -> Tokens:
    """Returns what the rows are as tokens; `kinds` are the numbers of rows that are text and conversations.

    Raises:
        DataError: rows that no tokenizer can read, or no row is left.
    """
    tally, lengths = Tally(), Counter[int]()
    endless: dict[int, str] = {}
    endings = None if config.tokenizer is None else Endings(config.tokenizer)
    for row in config.read(rows, partial(tally.columns.add, columns=config.columns), ALONE):
        kept = config.pair(row, tally) is not None
        if kept and endings is not None:
            endless.update((row.number, why) for why in _ends(row.joined, endings))
        lengths[len(row.joined.prompt) + max(len(row.joined.chosen), len(row.joined.rejected))] += 1
        advance(1)
    config.check_left(tally)
    found = [*_template(config, kinds), *_cut(tally, lengths), *_changed(tally)]
    if endless:
        text = f"a completion has no end, or one twice: {in_rows(len(endless))}"
        found.append(Finding("ends", "warning", text, {"rows": len(endless)}, endless))
    return Tokens(summarize_dataset(tally, config), found)


def _ends(joined: Joined, endings: Endings) -> Iterator[str]:
    for name, ids in (("chosen", joined.chosen), ("rejected", joined.rejected)):
        ends = ends_of(ids, endings.ids, endings.is_blank)
        if not ends:
            yield f"the {name} completion has no end"
        elif len(set(ends)) < len(ends):
            yield f"the {name} completion has an end twice"


def _template(config: TokenizeConfig, kinds: Mapping[str, int]) -> Iterator[Finding]:
    if config.tokenizer is not None and config.tokenizer.chat_template and kinds.get("text"):
        yield Finding(
            "no_template",
            "warning",
            f"text, to which the chat template of the model is not applied: {in_rows(kinds['text'])}. If 'prompt' is a "
            "user's message, --columns question=prompt makes conversations of them",
            {"rows": kinds["text"]},
        )


def _cut(tally: Tally, lengths: Counter[int]) -> Iterator[Finding]:
    dropped = tally.dropped.get(PROMPT_TOO_LONG, 0)
    count = min(sum(tally.truncated.values()), tally.kept) + dropped
    if not count:
        return
    left = tally.rows * _MANY
    needed = max(lengths)
    for length in sorted(lengths, reverse=True):
        needed = length
        left -= lengths[length]
        if left < 0:
            break
    yield Finding(
        "cut_to_length",
        "warning" if count >= _MANY * tally.rows else "note",
        f"cut to length: {in_rows(count - dropped)}; dropped, as the prompt alone is too long: {in_rows(dropped)}. 99 "
        f"of 100 pairs have at most {needed:,} tokens",
        {"rows": count, "of": tally.rows, "needed": needed, "by_limit": dict(tally.truncated)},
    )


def _changed(tally: Tally) -> Iterator[Finding]:
    for cause, count in tally.lost.items():
        yield Finding(
            "left_out",
            "note" if cause == OF_EARLIER_TURNS else "warning",
            f"left out by the chat template: {cause}, in {in_rows(count)}",
            {"rows": count, "cause": cause},
            examples=[tally.first_lost[cause]],
        )
    if tally.merged:
        yield Finding(
            "changed_prompt",
            "warning" if tally.most_merged > _FEW_TOKENS else "note",
            f"the end of the prompt becomes other tokens with a completion behind it: {in_rows(tally.merged)}, at most "
            f"{tally.most_merged} tokens",
            {"rows": tally.merged, "tokens": tally.most_merged},
            examples=[tally.most_merged_row],
        )
