"""What a preference row of any accepted form says, before any template or tokenizer sees it."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.data.messages import Message, kind, read_messages
from easydel.errors import DataError, closest

FORMS = (
    "a row holds text or a list of {role, content} messages as 'prompt', 'chosen' and 'rejected'; or as "
    "'chosen' and 'rejected' that share their beginning; or 'messages' (ShareGPT: 'conversations') with an answer "
    "each as 'chosen' and 'rejected'; or token ids as 'prompt_ids', 'chosen_ids' and 'rejected_ids'"
)
_CONVERSATIONS = ("messages", "conversations")
_ASKING = ("system", "user")  # the roles that a conversation begins with, and no answer
COLUMNS = ("prompt", *_CONVERSATIONS, "system", "chosen", "rejected", "tools", "chat_template_kwargs")
"""The columns that the texts of a row depend on; any other is ignored."""


class Plain(NamedTuple):
    """A row of text: the prompt, and the completions that follow it without a separator."""

    prompt: str
    chosen: str
    rejected: str


class Dialogue(NamedTuple):
    """A row of conversations: the messages of the prompt, those that follow it, and what else the template gets."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: list[Any] | None = None
    options: Mapping[str, Any] = MappingProxyType({})


def read_row(row: Mapping[str, Any], number: int) -> Plain | Dialogue:
    """Returns what one row says.

    The prompt is in the column `prompt`, or a conversation in `messages` or `conversations` (with an optional
    `system` text beside it). Without any of these the prompt is what chosen and rejected begin with: whole
    messages, or characters backing off one trailing space. After a conversation an answer is one message, several,
    or text. Columns `tools` (a list, or JSON text of one) and `chat_template_kwargs` (a dict) are handed to the
    template. Other columns are ignored.

    >>> read_row({"chosen": "Hi you", "rejected": "Hi me"}, 0)
    Plain(prompt='Hi', chosen=' you', rejected=' me')

    Raises:
        DataError: naming the row, the field and the way out.
    """
    chosen, rejected = (_field(row, name, number) for name in ("chosen", "rejected"))
    source = _prompt_column(row)
    prompt = None if source is None else _field(row, source, number)
    if isinstance(prompt, str) and source in _CONVERSATIONS:
        raise DataError(f"row {number}: {source!r} is text; it must be a list of messages, or be called 'prompt'.")
    if isinstance(prompt, list):
        if source == "conversations":
            prompt = _with_system(row.get("system"), prompt, number)
        chosen, rejected = _as_answer(chosen), _as_answer(rejected)
    if isinstance(chosen, str) and isinstance(rejected, str) and not isinstance(prompt, list):
        return _from_text(prompt, chosen, rejected, number)
    if isinstance(chosen, list) and isinstance(rejected, list):
        messages = _split_messages(prompt, chosen, rejected, number)
        return Dialogue(*messages, _tools(row.get("tools"), number), _options(row, number))
    raise DataError(
        f"row {number}: 'chosen' is {kind(chosen)} and 'rejected' is {kind(rejected)}. Give both the same form."
    )


def shared_beginning(chosen: Sequence[Any], rejected: Sequence[Any]) -> int:
    """Returns how many leading messages or characters are the implicit prompt of two whole sequences.

    One of each is always left as the completion, also when one sequence is the beginning of the other.

    >>> shared_beginning("Name a colour. Blue", "Name a colour. Red")
    14
    """
    shorter = min(len(chosen), len(rejected))
    length = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter - 1)
    return length - 1 if length and chosen[length - 1] == " " else length


def _prompt_column(row: Mapping[str, Any]) -> str | None:
    """The column that holds the prompt; None in a columnar file means that it is in another."""
    names = [name for name in ("prompt", *_CONVERSATIONS) if name in row]
    return next((name for name in names if row[name] is not None), names[0] if names else None)


def _with_system(system: Any, prompt: list[Message], number: int) -> list[Message]:
    """The conversation with the system text that ShareGPT rows keep in a column of its own."""
    if not system or prompt[0]["role"] == "system":
        return prompt
    if not isinstance(system, str):
        raise DataError(f"row {number}: 'system' is {kind(system)}; it must be text.")
    return [{"role": "system", "content": system}, *prompt]


def _as_answer(completion: str | list[Message]) -> list[Message]:
    return [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion


def _from_text(prompt: str | None, chosen: str, rejected: str, number: int) -> Plain:
    if prompt is None:
        length = shared_beginning(chosen, rejected)
        if not length:
            raise DataError(
                f"row {number} has no 'prompt', and 'chosen' and 'rejected' share no beginning that could be "
                "one. Add a 'prompt' column."
            )
        return Plain(chosen[:length], chosen[length:], rejected[length:])
    return Plain(prompt, chosen, rejected)


def _split_messages(
    prompt: str | list[Message] | None, chosen: list[Message], rejected: list[Message], number: int
) -> tuple[list[Message], list[Message], list[Message]]:
    asked = prompt[0] if isinstance(prompt, list) else None
    repeated = asked is not None and asked["role"] in _ASKING and chosen[0] == rejected[0] == asked
    if isinstance(prompt, list) and not repeated:
        return prompt, chosen, rejected
    # Some public sets give the question, or the better conversation, beside two whole conversations: these decide.
    length = shared_beginning(chosen, rejected)
    if length:
        return chosen[:length], chosen[length:], rejected[length:]
    if isinstance(prompt, str) and chosen[0]["role"] == rejected[0]["role"] == "assistant":
        return [{"role": "user", "content": prompt}], chosen, rejected
    raise DataError(
        f"row {number}: the conversations in 'chosen' and 'rejected' share no first message that could be "
        "the prompt. Add a 'prompt' column with a list of messages."
    )


def _options(row: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    options = row.get("chat_template_kwargs") or {}
    if not isinstance(options, Mapping):
        raise DataError(f"row {number}: 'chat_template_kwargs' is {kind(options)}; it must be a dict.")
    # Columnar files give every row every key: None there means that this row did not set it.
    return {key: value for key, value in options.items() if value is not None}


def _tools(tools: Any, number: int) -> list[Any] | None:
    if isinstance(tools, str) and tools:
        try:
            tools = json.loads(tools)
        except json.JSONDecodeError as error:
            raise DataError(
                f"row {number}: 'tools' is not JSON ({error}). Give a list, or JSON text of one."
            ) from error
    if tools and not isinstance(tools, list):
        raise DataError(f"row {number}: 'tools' is {kind(tools)}; it must be a list, or JSON text of one.")
    return tools or None  # some templates write tool boilerplate for an empty list


def _field(row: Mapping[str, Any], name: str, number: int) -> str | list[Message]:
    """The value of a required field: non-empty text, or a non-empty list of messages."""
    if name not in row:
        columns = ", ".join(map(repr, row)) or "none"
        similar = closest(name, row)
        hint = f" Should {similar!r} be called {name!r}?" if similar else ""
        raise DataError(f"row {number} has no {name!r}. Its columns: {columns}.{hint} Expected: {FORMS}.")
    value = row[name]
    if value is None:
        raise DataError(f"row {number}: {name!r} is None. Fill it in or remove the row.")
    if isinstance(value, Sequence) and not value:
        raise DataError(f"row {number}: {name!r} is empty. Fill it in or remove the row.")
    if isinstance(value, str):
        return value
    if isinstance(value, list | Mapping):
        return read_messages(value if isinstance(value, list) else [value], f"row {number}: {name!r}")
    raise DataError(f"row {number}: {name!r} is {kind(value)}; it must be text or a list of messages.")
