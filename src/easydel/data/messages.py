"""Messages of a conversation: `{role, content}` as chat templates want them, and ShareGPT's `{from, value}`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from easydel.errors import DataError, nearest

Message = Mapping[str, Any]
_FUNCTION_CALL = "function_call"
# What ShareGPT files call the roles; the names of chat templates are understood there too.
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    _FUNCTION_CALL: "assistant",
}


def read_messages(value: Sequence[Any], where: str) -> list[Message]:
    """Returns the messages of a list, those of ShareGPT in the form of the others.

    >>> read_messages([{"from": "human", "value": "Hi"}, {"role": "assistant", "content": "Hello"}], "row 0")
    [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello'}]

    Raises:
        DataError: beginning with `where`, the message and its key.
    """
    return [_message(message, f"{where} message {at}") for at, message in enumerate(value)]


def kind(value: Any) -> str:
    """Returns what an error message calls a value.

    >>> kind({"from": "human"}), kind([1]), kind(3)
    ("a dict with the keys 'from'", 'a list of int', '3 (int)')
    """
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "a dict with the keys " + (", ".join(map(repr, value)) or "(none)")
    if isinstance(value, list):
        return f"a list of {type(value[0]).__name__}" if value else "an empty list"
    return "None" if value is None else f"{value!r:.40} ({type(value).__name__})"


def _message(message: Any, where: str) -> Message:
    if isinstance(message, Mapping) and message.get("role") is None and message.get("from") is not None:
        return _from_sharegpt(message, where)
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise DataError(
            f"{where} is {kind(message)}; a message is a dict with the keys 'role' and 'content' (ShareGPT: 'from' and "
            "'value')."
        )
    content = message.get("content")
    if not isinstance(content, str | list) and not message.get("tool_calls"):
        raise DataError(f"{where}: 'content' is {kind(content)}; it must be text.")
    # Columnar files give every message every key: None there means that this one has none.
    return {key: value for key, value in message.items() if value is not None or key == "content"}


def _from_sharegpt(message: Mapping[str, Any], where: str) -> Message:
    name, value = message["from"], message.get("value")
    if not isinstance(name, str) or name not in ROLES:
        raise DataError(
            f"{where}: the role {name!r} is not one of {', '.join(map(repr, ROLES))}.{nearest(str(name), ROLES)}"
        )
    if not isinstance(value, str):
        raise DataError(f"{where}: 'value' is {kind(value)}; it must be text.")
    if name == _FUNCTION_CALL:
        return {"role": ROLES[name], "content": "", "tool_calls": _calls(value, where)}
    return {"role": ROLES[name], "content": value}


def _calls(value: str, where: str) -> list[dict[str, Any]]:
    """The calls in the text of a function_call: one JSON object with a name and arguments, or a list of them."""
    way_out = "It must be a JSON object with 'name' and 'arguments', or a list of such objects."
    try:
        calls = json.loads(value)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: the value of a function_call is not JSON ({error}). {way_out}") from error
    calls = calls if isinstance(calls, list) else [calls]
    for call in calls:
        if not isinstance(call, dict) or "name" not in call:
            raise DataError(f"{where}: the function_call holds {kind(call)}. {way_out}")
    return [{"type": "function", "function": call} for call in calls]
