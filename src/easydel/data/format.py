"""Preference rows as text: what a row of any accepted form says, before any tokenizer sees it."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from easydel.errors import DataError, closest

Message = Mapping[str, Any]
Render = Callable[[list[Message], bool, list[Any] | None, Mapping[str, Any]], str]
"""Chat template: (messages, add_generation_prompt, tools, further template arguments) -> text."""

FORMS = (
    "a row holds text or a list of {role, content} messages as 'prompt', 'chosen' and 'rejected'; or as "
    "'chosen' and 'rejected' that share their beginning; or token ids as 'prompt_ids', 'chosen_ids' and "
    "'rejected_ids'"
)


class Preference(NamedTuple):
    """The three texts of a row: the prompt alone, and the prompt followed by each completion.

    `templated` texts come out of a chat template, which writes the special tokens itself.
    """

    prompt: str
    prompt_chosen: str
    prompt_rejected: str
    templated: bool


def to_preference(row: Mapping[str, Any], number: int, render: Render | None = None) -> Preference:
    """Returns the texts of one row; conversations go through `render`, the chat template.

    Without a `prompt` column the prompt is what chosen and rejected begin with: whole messages, or characters
    backing off one trailing space. Columns `tools` (a list, or JSON text of one) and `chat_template_kwargs`
    (a dict) are handed to the template. Other columns are ignored.

    >>> to_preference({"chosen": "Hi you", "rejected": "Hi me"}, 0)
    Preference(prompt='Hi', prompt_chosen='Hi you', prompt_rejected='Hi me', templated=False)

    Raises:
        DataError: naming the row, the field and the way out.
    """
    chosen, rejected = (_field(row, name, number) for name in ("chosen", "rejected"))
    prompt = _field(row, "prompt", number) if "prompt" in row else None
    if isinstance(chosen, str) and isinstance(rejected, str):
        if isinstance(prompt, list):
            raise DataError(
                f"row {number}: 'prompt' is {_kind(prompt)} and 'chosen' is {_kind(chosen)}. Give completions "
                "as [{'role': 'assistant', 'content': ...}], or the prompt as text."
            )
        return _from_text(prompt, chosen, rejected, number)
    if isinstance(chosen, list) and isinstance(rejected, list):
        messages = _split_messages(prompt, chosen, rejected, number)
        return _from_messages(*messages, row, number, render)
    raise DataError(
        f"row {number}: 'chosen' is {_kind(chosen)} and 'rejected' is {_kind(rejected)}. Give both the same form."
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


def _from_text(prompt: str | None, chosen: str, rejected: str, number: int) -> Preference:
    if prompt is None:
        length = shared_beginning(chosen, rejected)
        if not length:
            raise DataError(
                f"row {number} has no 'prompt', and 'chosen' and 'rejected' share no beginning that could be "
                "one. Add a 'prompt' column."
            )
        return Preference(chosen[:length], chosen, rejected, templated=False)
    return Preference(prompt, prompt + chosen, prompt + rejected, templated=False)


def _split_messages(
    prompt: str | list[Message] | None, chosen: list[Message], rejected: list[Message], number: int
) -> tuple[list[Message], list[Message], list[Message]]:
    if isinstance(prompt, list):
        return prompt, chosen, rejected
    # Some public sets repeat the first question as text beside two whole conversations: these decide.
    length = shared_beginning(chosen, rejected)
    if length:
        return chosen[:length], chosen[length:], rejected[length:]
    if prompt is not None and chosen[0]["role"] == rejected[0]["role"] == "assistant":
        return [{"role": "user", "content": prompt}], chosen, rejected
    raise DataError(
        f"row {number}: the conversations in 'chosen' and 'rejected' share no first message that could be "
        "the prompt. Add a 'prompt' column with a list of messages."
    )


def _from_messages(
    prompt: list[Message],
    chosen: list[Message],
    rejected: list[Message],
    row: Mapping[str, Any],
    number: int,
    render: Render | None,
) -> Preference:
    if render is None:
        raise DataError(f"row {number} holds conversations, which need a chat template. Pass a tokenizer that has one.")
    tools = _tools(row.get("tools"), number)
    options = row.get("chat_template_kwargs") or {}
    if not isinstance(options, Mapping):
        raise DataError(f"row {number}: 'chat_template_kwargs' is {_kind(options)}; it must be a dict.")
    # Columnar files give every row every key: None there means that this row did not set it.
    options = {key: value for key, value in options.items() if value is not None}
    return Preference(
        render(prompt, True, tools, options),
        render(prompt + chosen, False, tools, options),
        render(prompt + rejected, False, tools, options),
        templated=True,
    )


def _tools(tools: Any, number: int) -> list[Any] | None:
    if isinstance(tools, str) and tools:
        try:
            tools = json.loads(tools)
        except json.JSONDecodeError as error:
            raise DataError(
                f"row {number}: 'tools' is not JSON ({error}). Give a list, or JSON text of one."
            ) from error
    if tools and not isinstance(tools, list):
        raise DataError(f"row {number}: 'tools' is {_kind(tools)}; it must be a list, or JSON text of one.")
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
    if isinstance(value, list):
        return [_message(message, f"row {number}: {name!r} message {at}") for at, message in enumerate(value)]
    raise DataError(f"row {number}: {name!r} is {_kind(value)}; it must be text or a list of messages.")


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise DataError(f"{where} is {_kind(message)}; a message is a dict with the keys 'role' and 'content'.")
    content = message.get("content")
    if not isinstance(content, str | list) and not message.get("tool_calls"):
        raise DataError(f"{where}: 'content' is {_kind(content)}; it must be text.")
    return {key: value for key, value in message.items() if value is not None or key == "content"}


def _kind(value: Any) -> str:
    """How an error message calls a value.

    >>> _kind({"from": "human"}), _kind([1]), _kind(3)
    ("a dict with the keys 'from'", 'a list of int', '3 (int)')
    """
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "a dict with the keys " + (", ".join(map(repr, value)) or "(none)")
    if isinstance(value, list):
        return f"a list of {type(value[0]).__name__}" if value else "an empty list"
    return "None" if value is None else f"{value!r:.40} ({type(value).__name__})"
