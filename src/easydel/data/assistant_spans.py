"""Which spans of a rendered conversation the model writes: the turns of the assistant.

What the model writes of a turn is between the rendering of the messages before it, with the generation prompt, and the
rendering of the messages up to it. Most templates render the beginning of a conversation the same whatever follows.
Some do not: the system prompt moves into the last question, earlier thoughts are left out, an empty one is written in
the last answer only. There the longest end of the beginning that is in the whole is looked for, and the place is known
only where that end holds the message itself.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from easydel.data.messages import Message, text_in
from easydel.data.span_search import before_special_token, common_length, end_in
from easydel.data.template import Refused, Span

_OPEN = ("<think>", "<|channel>thought", "[THINK]")
_CLOSED = ("</think>", "<channel|>", "[/THINK]")
_END = re.compile(r"(<[^<>\s]*>|\s)+$")  # the special tokens that end a turn
_ANSWER = "qzanswer"  # a word that no template and hardly any text has

Write = Callable[[Sequence[Message], bool], str]
"""(messages, add_generation_prompt) -> text, with the tools and options of a row."""


class Unknown(Exception):
    """The place behind a message in the whole text, `at` in the conversation, cannot be found."""

    def __init__(self, at: int, moved: str, *, only_behind: bool = False) -> None:
        super().__init__(at)
        self.at = at
        self.moved = moved  # what was looked for in the whole text
        self.only_behind = only_behind  # the message itself is where it is when it is the last; what follows differs


class Place(NamedTuple):
    """Where something begins; `alike` where all in front of it is as it is rendered alone."""

    at: int
    alike: bool


def start_of(write: Write, whole: str, messages: Sequence[Message], after: int = 0) -> Place:
    """Returns where in `whole`, not before `after`, the model begins to write behind `messages`.

    Where only the generation prompt differs in `whole`, it is where they first differ; unless the rest of the
    generation prompt is a thought that is over, by itself or with what follows.

    Raises:
        Unknown: it is not found.
    """
    text = _attempt(write, messages, True)
    if text is not None and whole.startswith(text):
        return Place(len(text), alike=True)
    shut = _attempt(write, messages, False)
    header = text[len(shut) :] if text is not None and shut is not None and text.startswith(shut) else ""
    if shut is not None and whole.startswith(shut):
        return _behind(header, whole, len(shut))
    words = _last_words(messages[-1])
    same = common_length(text or "", whole, 0)
    if header and words and words in whole[after:same]:  # only the end of the last message differs
        at = whole.find(header, before_special_token(whole, same))
        if at >= 0:
            return Place(at + len(header), alike=False)
    near = None if after else _up_to_answer(write, whole, messages)
    since = _past_earlier(whole, messages, after) if after else 0
    for beginning, behind in ((text, ""), (shut, header)):
        if beginning is None:
            continue
        if after:
            found = _first_end(beginning, whole, messages[-1], since)
            at = found and found[1]
        else:
            at = end_in(beginning, near or whole, words, last=near is not None)
        if at is not None:
            return Place(_behind(behind, whole, at).at, alike=False)
    raise Unknown(len(messages) - 1, words, only_behind=bool(words) and words in whole[after:same])


def end_of(write: Write, whole: str, messages: Sequence[Message], after: int) -> int:
    """Returns where in `whole`, not before `after`, the last of `messages` ends.

    Raises:
        Unknown: it is not found.
    """
    text = _attempt(write, messages, False) or ""
    same = common_length(text, whole, 0)
    if same == len(text):
        return same
    words = _last_words(messages[-1])
    if words not in text and same >= after:  # it is left out, and only the special tokens of its turn are there
        return before_special_token(whole, same)
    after = max(0, after - len(words))  # of a begun message a part stands before
    if words and words in whole[after:same]:  # only the end of the last turn differs
        return before_special_token(whole, same)
    ended = _first_end(text, whole, messages[-1], after)
    bare = _first_end(_END.sub("", text), whole, messages[-1], after)
    # Only the last of all turns may end as `text` does, with the same words: this one ends in other special tokens.
    if bare and (ended is None or (bare[0] < ended[0] and whole[bare[1] :].lstrip().startswith(("<", "[")))):
        return bare[1]
    if ended:
        return ended[1]
    raise Unknown(len(messages) - 1, words)


def continued_at(write: Write, whole: str, messages: Sequence[Message], begun: str, more: str) -> int | None:
    """Returns where in `whole`, behind `messages`, an answer that begins with `begun` goes on with `more`.

    None where both are not found, one behind the other, white space aside, of which templates write less.
    """
    try:
        after = end_of(write, whole, messages, 0) if messages else 0
    except Unknown:
        return None
    held = begun.strip()
    words = more.strip().partition("\n")[0].strip()
    at = whole.find(held, after) if held else -1
    while at >= 0:
        end = at + len(held)
        if whole[end:].lstrip().startswith(words):
            # Of the white space between, what the begun answer ends in; the rest is written by the model.
            return end + common_length(begun[begun.rfind(held) + len(held) :], whole, end)
        at = whole.find(held, at + 1)
    return None


def spoken(
    write: Write, whole: str, prompt: Sequence[Message], completion: Sequence[Message], start: int
) -> Iterator[Span]:
    """Yields the parts of `whole` that the model writes and is trained on: the turns of the assistant in `completion`.

    Args:
        start: where the completion begins.

    Raises:
        Unknown: one of them is not found.
    """
    begin = after = start
    for at, message in enumerate(completion):
        if message["role"] != "assistant":
            continue
        before = [*prompt, *completion[:at]]
        if at and before[-1]["role"] == "assistant":  # one answer upon another: the words of the first lie before
            begin = _upon(write, whole, [*before, message], begin, after)
        elif at:
            begin = start_of(write, whole, before, after).at
        after = len(whole) if at == len(completion) - 1 else end_of(write, whole, [*before, message], begin)
        if message.get("loss", True):
            yield begin, after


def _upon(write: Write, whole: str, messages: Sequence[Message], begin: int, end: int) -> int:
    """Where the last of `messages` begins behind another answer, from `begin` to `end`; both may be one turn."""
    try:
        return max(end, start_of(write, whole, messages[:-1], begin).at)
    except Unknown:
        if whole[end:].lstrip().startswith(text_in(messages[-1]).strip()):
            return end
        raise


def rest(spans: Sequence[Span], start: int, end: int) -> tuple[Span, ...]:
    """Returns the parts from `start` to `end` that are in none of the spans, which are in order.

    >>> rest([(2, 4), (4, 6)], 1, 9)
    ((1, 2), (6, 9))
    """
    found, at = [], start
    for first, last in [*spans, (end, end)]:
        if first > at:
            found.append((at, min(first, end)))
        at = max(at, last)
    return tuple(found)


def _attempt(write: Write, messages: Sequence[Message], add_generation_prompt: bool) -> str | None:
    """A beginning of a conversation may be what a template refuses, where it takes the whole."""
    try:
        return write(messages, add_generation_prompt)
    except Refused:
        return None


def _behind(header: str, whole: str, start: int) -> Place:
    """Where in `whole` the model begins to write behind `header` at `start`, of which `whole` may have a part."""
    at = start + common_length(header, whole, start)
    if at == start + len(header):
        return Place(at, alike=True)
    sign = before_special_token(whole, at)
    more = header[sign - start :]
    over = next((len(more) - i for i in range(len(more)) if whole.startswith(more[i:], sign)), 0)
    closed = header.rstrip().endswith(_CLOSED) and not whole[sign:].lstrip().startswith(_OPEN)
    if closed or (_is_open(header) and whole[sign:].lstrip().startswith(_CLOSED)):
        return Place(sign + over, alike=False)
    return Place(at, alike=True)


def _is_open(header: str) -> bool:
    return max(map(header.rfind, _OPEN)) > max(map(header.rfind, _CLOSED))


def _first_end(text: str, whole: str, message: Message, after: int) -> Span | None:
    """The end of `text`, from its last message on, where it is first in `whole` behind `after`.

    The first is the right one: this message is behind `after`, and the same words may come again later.
    """
    behind_thought = text_in(message).rpartition("</think>")[2]  # which is gone where its turn is over
    for words in (behind_thought.strip(), _last_words(message)):
        end = text[text.rfind(words) :] if words and words in text else ""
        at = whole.find(end, after) if end else -1
        if at >= 0:
            return at, at + len(end)
    return None


def _past_earlier(whole: str, messages: Sequence[Message], after: int) -> int:
    """A place in `whole` behind the messages between the last answer, which ends at `after`, and the last message."""
    behind_answers = [at + 1 for at, message in enumerate(messages[:-1]) if message["role"] == "assistant"]
    for message in messages[max(behind_answers, default=0) : -1]:
        words = _last_words(message)
        found = whole.find(words, after)
        after = after if found < 0 else found + len(words)
    return after


def _up_to_answer(write: Write, whole: str, messages: Sequence[Message]) -> str | None:
    """What is in front of an answer to the prompt, up to its first word, if `whole` begins like that.

    In there the last place is the right one, also where a question is asked twice.
    """
    answered = _attempt(write, [*messages, {"role": "assistant", "content": _ANSWER}], False) or ""
    before = answered.partition(_ANSWER)[0]
    return before if before != answered and whole.startswith(before) else None


def _last_words(message: Message) -> str:
    """What a message is recognized by: its last call, or its last line that is not blank."""
    if message.get("tool_calls"):
        return str(message["tool_calls"][-1]["function"]["name"])
    lines = [line.strip() for line in text_in(message).splitlines() if line.strip()]
    return lines[-1] if lines else ""
