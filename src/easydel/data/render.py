"""Rows as text for a tokenizer: conversations through the chat template, with what of them bears loss.

The prompt is what the model will be asked at inference: the messages of the prompt, with the beginning of an answer.
The completion is what the model has then to write. Where the template writes the prompt alike with an answer behind
it, as most do, both together are the conversation as the template writes it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from easydel.data.format import NO_COLUMNS, Dialogue, Dropped, Plain, read_row
from easydel.data.lost import MOVED, lost_in_completion, lost_in_prompt
from easydel.data.messages import Message
from easydel.data.spans import Unknown, Write, continued_at, rest, spoken, start_of
from easydel.data.template import Refused, Span, Template, template_of
from easydel.data.tokenizer import Tokenizer
from easydel.errors import DataError

Render = Callable[[Sequence[Message], bool, list[Any] | None, Mapping[str, Any]], str]
"""Chat template: (messages, add_generation_prompt, tools, further template arguments) -> text."""

_CONTINUED = "qzcontinued"  # stands where a begun message is to be continued
_OURS = (
    *("tools", "add_generation_prompt", "continue_final_message", "tokenize", "conversation"),
    # What `apply_chat_template` takes for itself, and no template sees.
    *("padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask"),
    *("tokenizer_kwargs", "sanitize_control_tokens"),
)


class Preference(NamedTuple):
    """The three texts of a row: the prompt alone, and the prompt followed by each completion.

    `templated` texts come out of a chat template, which writes the special tokens itself.
    """

    prompt: str
    prompt_chosen: str
    prompt_rejected: str
    templated: bool
    chosen_untrained: tuple[Span, ...] = ()  # parts of `prompt_chosen`, behind the prompt, that bear no loss
    rejected_untrained: tuple[Span, ...] = ()
    lost: tuple[str, ...] = ()  # what the template left out of the messages, a cause each


class _Side(NamedTuple):
    text: str
    untrained: tuple[Span, ...]
    lost: tuple[str, ...]


def to_preference(
    row: Mapping[str, Any], number: int, render: Render | None = None, columns: Mapping[str, Any] = NO_COLUMNS
) -> Preference | Dropped:
    """Returns the texts of one row; conversations go through `render`, the chat template.

    >>> to_preference({"chosen": "Hi you", "rejected": "Hi me"}, 0)[:4]
    ('Hi', 'Hi you', 'Hi me', False)

    Raises:
        DataError: naming the row, the field and the way out.
    """
    said = read_row(row, number, columns)
    return said if isinstance(said, Dropped) else rendered(said, number, render)


def rendered(said: Plain | Dialogue, number: int, render: Render | None) -> Preference:
    """Returns the texts of what a row says, see `to_preference`."""
    if isinstance(said, Plain):
        return Preference(said.prompt, said.prompt + said.chosen, said.prompt + said.rejected, templated=False)
    if render is None:
        raise DataError(f"row {number} holds conversations, which need a chat template. Pass a tokenizer that has one.")
    try:
        return _from_dialogue(said, number, render)
    except Refused as refused:
        raise DataError(f"row {number}: the chat template refuses the conversation: {refused}") from refused.__cause__


@dataclass(frozen=True)
class Rendering:
    """The chat template of a tokenizer as `Render`, for one row.

    Raises:
        DataError: naming the row, if the tokenizer has no chat template, or arguments are given that are ours.
        Refused: the template cannot write the conversation.
    """

    tokenizer: Tokenizer
    number: int

    def template(self, tools: list[Any] | None, options: Mapping[str, Any]) -> Template:
        return template_of(self.tokenizer, self.number, tools, options)

    def __call__(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        tools: list[Any] | None,
        options: Mapping[str, Any],
    ) -> str:
        if reserved := set(_OURS) & set(options):
            raise DataError(f"row {self.number}: 'chat_template_kwargs' may not set {', '.join(sorted(reserved))}.")
        return self.template(tools, options).write(messages, add_generation_prompt, tools, options)


def renderer(tokenizer: Tokenizer, number: int) -> Render:
    """Returns the tokenizer's chat template as a function for one row, which a row of text may do without."""
    return Rendering(tokenizer, number)


def _from_dialogue(said: Dialogue, number: int, render: Render) -> Preference:
    def write(messages: Sequence[Message], add_generation_prompt: bool) -> str:
        return render(messages, add_generation_prompt, said.tools, said.options)

    begun = _is_begun(said)
    answers = any(completion[0]["role"] == "assistant" for completion in (said.chosen, said.rejected))
    prompt = _up_to_continued(write, said, number) if begun else write(said.prompt, answers)
    template = render.template(said.tools, said.options) if isinstance(render, Rendering) else None
    marks = template if template is not None and template.has_marks else None
    sides = []
    for name, completion in (("chosen", said.chosen), ("rejected", said.rejected)):
        whole = _Whole(said, completion, begun, prompt, marks, f"row {number}: {name!r}")
        sides.append(_side(write, whole))
    chosen, rejected = sides
    lost = chain(lost_in_prompt(said.prompt, said.tools, prompt), chosen.lost, rejected.lost)
    return Preference(
        prompt,
        chosen.text,
        rejected.text,
        templated=True,
        chosen_untrained=chosen.untrained,
        rejected_untrained=rejected.untrained,
        lost=tuple(dict.fromkeys(lost)),
    )


class _Whole(NamedTuple):
    """A conversation with one of its completions, and what is known of how it is written."""

    said: Dialogue
    completion: list[Message]
    begun: bool  # the completion continues the last message of the prompt
    prompt: str  # as it is written alone
    marks: Template | None  # that says itself what the model writes
    where: str

    def messages(self) -> tuple[list[Message], list[Message]]:
        """The messages before what is trained, and those in which that is."""
        if not self.begun:
            return self.said.prompt, self.completion
        return self.said.prompt[:-1], _continued(self.said.prompt[-1], self.completion)


def _is_begun(said: Dialogue) -> bool:
    """Whether the prompt ends in an answer that both completions continue; one with calls waits for their results."""
    last = said.prompt[-1]
    return (
        last["role"] == "assistant"
        and not last.get("tool_calls")
        and all(side[0]["role"] == "assistant" for side in (said.chosen, said.rejected))
        and all(isinstance(message.get("content"), str) for message in (last, said.chosen[0], said.rejected[0]))
    )


def _up_to_continued(write: Write, said: Dialogue, number: int) -> str:
    """The prompt up to where both completions go on with its last message.

    A template may write a begun message by itself in another way, as Qwen 3 puts an empty thought before `<think>`:
    then it is what both whole conversations have in its place.
    """
    *before, last = said.prompt
    text = write([*before, {**last, "content": last["content"] + _CONTINUED}], False)
    alone, found, _ = text.rpartition(_CONTINUED)
    if not found:
        raise DataError(
            f"row {number}: the prompt ends in a message of the assistant, for the completions to continue, but the "
            "chat template leaves it out. End the prompt in a message of the user, or use another template."
        )
    sides = [(write([*before, *_continued(last, side)], False), side[0]) for side in (said.chosen, said.rejected)]
    if all(whole.startswith(alone) for whole, _ in sides):
        return alone
    ends = [continued_at(write, whole, before, last["content"], first["content"]) for whole, first in sides]
    begun = {None if end is None else whole[:end] for (whole, _), end in zip(sides, ends, strict=True)}
    return begun.pop() or alone if len(begun) == 1 else alone


def _continued(last: Message, completion: list[Message]) -> list[Message]:
    """The messages of a completion, of which the first continues the last of the prompt."""
    first = completion[0]
    return [{**last, **first, "content": last["content"] + first["content"]}, *completion[1:]]


def _side(write: Write, whole: _Whole) -> _Side:
    """The prompt with a completion behind it, the parts of it that the model does not write, and what is not there."""
    prompt, completion = whole.messages()
    text = write([*prompt, *completion], False)
    try:
        start, alike = _start(write, text, whole)
        said = list(_spoken(write, text, whole, start))
    except Unknown as unknown:
        raise DataError(_not_found(whole, unknown)) from unknown
    lost = list(lost_in_completion(whole.completion, text[start:]))
    if alike:
        return _Side(text, rest(said, start, len(text)), tuple(lost))
    shift = len(whole.prompt) - start
    untrained = [(first + shift, last + shift) for first, last in rest(said, start, len(text))]
    return _Side(whole.prompt + text[start:], tuple(untrained), (MOVED, *lost))


def _start(write: Write, text: str, whole: _Whole) -> tuple[int, bool]:
    """Where the completion begins, and whether the text up to there is the prompt alone, save its end."""
    prompt, completion = whole.messages()
    if text.startswith(whole.prompt):
        return len(whole.prompt), True
    if whole.begun:
        last = whole.said.prompt[-1]["content"]
        at = continued_at(write, text, prompt, last, whole.completion[0]["content"])
        if at is None:
            raise Unknown(len(prompt), last.strip())
        return at, False
    return (
        start_of(write, text, prompt) if completion[0]["role"] == "assistant" else (_shared(whole.prompt, text), True)
    )


def _spoken(write: Write, text: str, whole: _Whole, start: int) -> Iterator[Span]:
    prompt, completion = whole.messages()
    if whole.marks is not None and all(message.get("loss", True) for message in completion):
        marked, spans = whole.marks.marked([*prompt, *completion], whole.said.tools, whole.said.options)
        behind = [(max(first, start), last) for first, last in spans if last > start]
        if marked == text and behind:
            return iter(behind)
    return spoken(write, text, prompt, completion, start)


def _shared(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _not_found(whole: _Whole, unknown: Unknown) -> str:
    count = len(whole.messages()[0])
    which = f"message {unknown.at} of the prompt" if unknown.at < count else f"message {unknown.at - count}"
    return (
        f"{whole.where}: the chat template writes {which} in another way when more messages follow, and "
        f"{unknown.moved!r:.60} is not found there, so it is not known which tokens the model has to write. Use a "
        "template that writes the beginning of a conversation alike whatever follows, or leave that message out."
    )
