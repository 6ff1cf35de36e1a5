"""Rows as the texts that are compared: read as training reads them, before any template or tokenizer."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from easydel.data.bad_rows import BadRow
from easydel.data.format import NO_COLUMNS, Dialogue, Dropped, Plain, read_row
from easydel.data.messages import Message
from easydel.data.row_weights import numbers_of
from easydel.data.token_id_rows import read_ids
from easydel.errors import DataError

Kind = Literal["text", "conversation", "token ids"]
_WORDS = re.compile(r"\w+")
_EDGES = " .,;:!?\"'`*_"


class TextPair(NamedTuple):
    """A row that holds a pair.

    Attributes:
        asked: what is asked: the turns of the user, of a prompt in text the whole of it.
        first: the first turn of the user, where there are several; else `asked`.
        roles: who speaks in the prompt, then in the chosen and in the rejected completion; empty in text.
        source: where the row comes from, as its column says; "" without one.
    """

    number: int
    kind: Kind
    prompt: str
    asked: str
    first: str
    chosen: str
    rejected: str
    roles: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ())
    source: str = ""


class Unusable(NamedTuple):
    """A row that holds no pair, and why; `is_broken` where it is an error in training."""

    number: int
    why: str
    is_broken: bool


def text_of_row(
    row: Any, number: int, columns: Mapping[str, Any] = NO_COLUMNS, source: str = ""
) -> TextPair | Unusable:
    """Returns the texts of one row, or why it holds no pair.

    >>> text_of_row({"prompt": "a?", "chosen": "b", "rejected": "c"}, 7)[:4]
    (7, 'text', 'a?', 'a?')
    """
    if isinstance(row, BadRow):
        return Unusable(number, row.reason, True)
    if not isinstance(row, Mapping):
        return Unusable(number, f"it is of type {type(row).__name__}, not a dict of columns", True)
    try:
        ids = read_ids(row, number, columns)
        read = read_row(row, number, columns) if ids is None else None
        numbers_of(row, number, columns)
    except DataError as error:
        return Unusable(number, str(error), True)
    if ids is not None:
        if ids.dropped:
            return Unusable(number, ids.dropped, False)
        prompt, chosen, rejected = (" ".join(map(str, part)) for part in ids[:3])
        return TextPair(number, "token ids", prompt, prompt, prompt, chosen, rejected, source=source)
    if isinstance(read, Dropped):
        return Unusable(number, read.cause, False)
    if isinstance(read, Plain):
        return TextPair(
            number, "text", read.prompt, read.prompt, read.prompt, read.chosen, read.rejected, source=source
        )
    assert isinstance(read, Dialogue)
    return _of_dialogue(read, number, source)


def _of_dialogue(read: Dialogue, number: int, source: str) -> TextPair:
    asked = [message["content"] for message in read.prompt if message["role"] == "user"]
    chosen, rejected = (
        "\n".join(_said(message) for message in side if message["role"] == "assistant")
        for side in (read.chosen, read.rejected)
    )
    prompt = "\n".join(map(_said, read.prompt))
    whole = "\n".join(asked) or prompt
    roles = _roles(read.prompt), _roles(read.chosen), _roles(read.rejected)
    first = asked[0] if asked else whole
    return TextPair(number, "conversation", prompt, whole, first, chosen, rejected, roles, source)


def _roles(messages: Sequence[Message]) -> tuple[str, ...]:
    return tuple(message["role"] for message in messages)


def _said(message: Message) -> str:
    calls = message.get("tool_calls")
    return f"{message['content']}\n{calls}" if calls else message["content"]


def normalized(text: str) -> str:
    """Returns a text without what does not change what it says: case, white space, forms of a character, its edges.

    >>> normalized("  What IS\\n3 + 4?"), normalized("What is 3 - 4")
    ('what is 3 + 4', 'what is 3 - 4')
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(plain.casefold().split()).strip(_EDGES)


@lru_cache(maxsize=4)
def words_of(text: str) -> tuple[str, ...]:
    """Returns the words of a text, in lower case.

    >>> words_of("It's a bird.")
    ('it', 's', 'a', 'bird')
    """
    return tuple(_WORDS.findall(text.lower()))
