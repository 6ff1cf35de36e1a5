"""Rows as text for a tokenizer: conversations through the chat template, with what of them bears loss.

The prompt is what the model gets at inference: the messages of the prompt, with the generation prompt. The completion
is what the model then has to write. Where the template renders the prompt the same with an answer behind it, as most
do, both together are the conversation as the template renders it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from easydel.data.assistant_spans import Unknown, Write, continued_at, rest, spoken, start_of
from easydel.data.format import NO_COLUMNS, Dialogue, Dropped, Plain, read_row
from easydel.data.lost import MOVED, lost_in_completion, lost_in_prompt
from easydel.data.messages import Message
from easydel.data.span_search import common_length
from easydel.data.template import Refused, Span, Template, template_of
from easydel.data.tokenizer import Tokenizer
from easydel.errors import DataError

_CONTINUED = "qzcontinued"  # put where a begun message is to be continued
_OURS = (
    *("tools", "add_generation_prompt", "continue_final_message", "tokenize", "conversation"),
    # What `apply_chat_template` takes for itself, and no template sees.
    *("padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask"),
    *("tokenizer_kwargs", "sanitize_control_tokens"),
)


class Preference(NamedTuple):
    """The three texts of a row: the prompt alone, and the prompt followed by each completion.

    `templated` texts come from a chat template, which writes the special tokens itself.
    """

    prompt: str
    prompt_chosen: str
    prompt_rejected: str
    templated: bool
    chosen_untrained: tuple[Span, ...] = ()  # parts of `prompt_chosen`, behind the prompt, that bear no loss
    rejected_untrained: tuple[Span, ...] = ()
    lost: tuple[str, ...] = ()  # what the template left out of the messages, a cause each


class _Rendered(NamedTuple):
    text: str
    untrained: tuple[Span, ...]
    lost: tuple[str, ...]


def to_preference(
    row: Mapping[str, Any], number: int, tokenizer: Tokenizer | None = None, columns: Mapping[str, Any] = NO_COLUMNS
) -> Preference | Dropped:
    """Returns the texts of one row; conversations go through the chat template of the tokenizer.

    >>> to_preference({"chosen": "Hi you", "rejected": "Hi me"}, 0)[:4]
    ('Hi', 'Hi you', 'Hi me', False)

    Raises:
        DataError: naming the row, the field and what to do.
    """
    read = read_row(row, number, columns)
    return read if isinstance(read, Dropped) else rendered(read, number, tokenizer)


def rendered(row: Plain | Dialogue, number: int, tokenizer: Tokenizer | None) -> Preference:
    """Returns the texts of a row that was read, see `to_preference`.

    Raises:
        DataError: naming the row, a conversation without a chat template, or that it cannot render, or which sets
            arguments that it may not.
    """
    if isinstance(row, Plain):
        return Preference(row.prompt, row.prompt + row.chosen, row.prompt + row.rejected, templated=False)
    if tokenizer is None:
        raise DataError(f"row {number} holds conversations, which need a chat template. Pass a tokenizer that has one.")
    if reserved := set(_OURS) & set(row.options):
        raise DataError(f"row {number}: 'chat_template_kwargs' may not set {', '.join(sorted(reserved))}: remove it.")
    try:
        return _from_dialogue(row, number, template_of(tokenizer, number, row.tools, row.options))
    except Refused as refused:
        raise DataError(
            f"row {number}: the chat template cannot render the conversation: {refused}"
        ) from refused.__cause__


def _from_dialogue(row: Dialogue, number: int, template: Template) -> Preference:
    def write(messages: Sequence[Message], add_generation_prompt: bool) -> str:
        return template.write(messages, add_generation_prompt, row.tools, row.options)

    begun = _is_begun(row)
    answers = any(completion[0]["role"] == "assistant" for completion in (row.chosen, row.rejected))
    prompt = _up_to_continued(write, row, number) if begun else write(row.prompt, answers)
    chosen, rejected = (
        _completed(write, _Whole(row, completion, begun, prompt, template, f"row {number}: {name!r}"))
        for name, completion in (("chosen", row.chosen), ("rejected", row.rejected))
    )
    lost = tuple(dict.fromkeys([*lost_in_prompt(row.prompt, row.tools, prompt), *chosen.lost, *rejected.lost]))
    return Preference(prompt, chosen.text, rejected.text, True, chosen.untrained, rejected.untrained, lost)


class _Whole(NamedTuple):
    """A conversation with one of its completions, and what is known of how it is rendered."""

    row: Dialogue
    completion: list[Message]
    begun: bool  # the completion continues the last message of the prompt
    prompt: str  # as it is rendered alone
    template: Template
    where: str

    def messages(self) -> tuple[list[Message], list[Message]]:
        """The messages before those that are trained, and these."""
        if not self.begun:
            return self.row.prompt, self.completion
        return self.row.prompt[:-1], _continued(self.row.prompt[-1], self.completion)


def _is_begun(row: Dialogue) -> bool:
    """Whether the prompt ends in an answer that both completions continue; one with calls waits for their results."""
    last = row.prompt[-1]
    return (
        last["role"] == "assistant"
        and not last.get("tool_calls")
        and all(each[0]["role"] == "assistant" for each in (row.chosen, row.rejected))
        and all(isinstance(message.get("content"), str) for message in (last, row.chosen[0], row.rejected[0]))
    )


def _up_to_continued(write: Write, row: Dialogue, number: int) -> str:
    """The prompt up to where both completions go on with its last message.

    A template may render a begun message alone differently, as Qwen 3 puts an empty thought before `<think>`: then it
    is what both whole conversations have in its place.
    """
    *before, last = row.prompt
    text = write([*before, {**last, "content": last["content"] + _CONTINUED}], False)
    alone, found, _ = text.rpartition(_CONTINUED)
    if not found:
        raise DataError(
            f"row {number}: the prompt ends in an assistant message, which the completions continue, but the chat "
            "template leaves it out. End the prompt in a user message, or use another template."
        )
    both = [(write([*before, *_continued(last, each)], False), each[0]) for each in (row.chosen, row.rejected)]
    if all(whole.startswith(alone) for whole, _ in both):
        return alone
    ends = [continued_at(write, whole, before, last["content"], first["content"]) for whole, first in both]
    begun = {None if end is None else whole[:end] for (whole, _), end in zip(both, ends, strict=True)}
    return begun.pop() or alone if len(begun) == 1 else alone


def _continued(last: Message, completion: list[Message]) -> list[Message]:
    """The messages of a completion, of which the first continues the last of the prompt."""
    first = completion[0]
    return [{**last, **first, "content": last["content"] + first["content"]}, *completion[1:]]


def _completed(write: Write, whole: _Whole) -> _Rendered:
    """The prompt with a completion behind it, the parts of it that the model does not write, and what is lost."""
    prompt, completion = whole.messages()
    text = write([*prompt, *completion], False)
    try:
        start, alike = _start(write, text, whole)
        written = list(_spoken(write, text, whole, start))
    except Unknown as unknown:
        raise DataError(_not_found(whole, unknown)) from unknown
    lost = list(lost_in_completion(whole.completion, text[start:]))
    if alike:
        return _Rendered(text, rest(written, start, len(text)), tuple(lost))
    shift = len(whole.prompt) - start
    untrained = [(first + shift, last + shift) for first, last in rest(written, start, len(text))]
    return _Rendered(whole.prompt + text[start:], tuple(untrained), (MOVED, *lost))


def _start(write: Write, text: str, whole: _Whole) -> tuple[int, bool]:
    """Where the completion begins, and whether the text up to there is the prompt alone, but for its end."""
    prompt, completion = whole.messages()
    if text.startswith(whole.prompt):
        return len(whole.prompt), True
    if whole.begun:
        last = whole.row.prompt[-1]["content"]
        at = continued_at(write, text, prompt, last, whole.completion[0]["content"])
        if at is None:
            raise Unknown(len(prompt), last.strip())
        return at, False
    if completion[0]["role"] == "assistant":
        return start_of(write, text, prompt)
    return common_length(whole.prompt, text, 0), True


def _spoken(write: Write, text: str, whole: _Whole, start: int) -> Iterator[Span]:
    prompt, completion = whole.messages()
    if whole.template.has_marks and all(message.get("loss", True) for message in completion):
        marked, spans = whole.template.marked([*prompt, *completion], whole.row.tools, whole.row.options)
        behind = [(max(first, start), last) for first, last in spans if last > start]
        if marked == text and behind:
            return iter(behind)
    return spoken(write, text, prompt, completion, start)


def _not_found(whole: _Whole, unknown: Unknown) -> str:
    count = len(whole.messages()[0])
    which = f"message {unknown.at} of the prompt" if unknown.at < count else f"message {unknown.at - count}"
    reason = f"renders {which} differently when more messages follow, and {unknown.moved!r:.60} is not found there"
    if unknown.only_behind:  # as in Cohere's tool use, which ends every conversation in an instruction
        reason = f"writes other text behind {which} when more messages follow than when it is the last"
    return (
        f"{whole.where}: the chat template {reason}, so it is not known which tokens the model has to write. Use a "
        "template that renders the beginning of a conversation the same whatever follows."
    )
