"""Messages of a conversation in one form, `{role, content, ...}`, whatever form they were written in."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from easydel.data.message_content import kind, result_of, text_of, without_thoughts
from easydel.data.plain_values import (
    as_dicts,
    check_json,
    conversation_in,
    from_json,
    is_empty,
    is_void,
    without_nulls,
    written_out,
)
from easydel.errors import DataError, nearest

Message = Mapping[str, Any]
"""`role` is system, user, assistant or tool; `content` is a string, "" where it is absent; `tool_calls` are
`{"type": "function", "function": {"name": ..., "arguments": the parsed value}}`; `loss` is False where an
assistant message is not trained on; other keys are as given, where not empty."""

_CALLS = ("function_call", "tool_call")  # roles whose content is a call in JSON
ROLES = {
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bing", "bard", "claude", "bot", "chatbot", "model", "ai", *_CALLS),
    "system": ("system", "developer"),
    "tool": (
        *("tool", "observation", "function", "ipython", "environment"),
        *(f"{of}_{what}" for of in ("tool", "function") for what in ("response", "result", "output")),
    ),
}
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
_MEDIA = ("image", "images", "video", "videos", "audio", "audios")
_CALL_HINT = "It must be a JSON object with 'name' and 'arguments', or a list of such objects."


def read_messages(value: Sequence[Any], where: str, *, keep_nulls: bool = False) -> list[Message]:
    """Returns the messages of a list.

    With `keep_nulls` a None in the arguments of a call is kept, as in a JSON string; otherwise it is taken for what
    Arrow writes where another row has the key.

    >>> read_messages([{"from": "human", "value": "Hi"}, {"role": "AI", "content": ["Hel", "lo"]}], "row 0")
    [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello'}]

    Raises:
        DataError: beginning with `where`, the number of the message and its key.
    """
    given = enumerate(value)
    return [_message(each, f"{where} message {at}", keep_nulls) for at, each in given if not is_void(each)]


def listed(value: Any) -> list[Any]:
    """Returns a value as a list of messages: it may be a list, one message, or a dict of lists.

    >>> listed({"role": "user", "content": "Hi"}), listed({"from": ["human"], "value": ["Hi"]})
    ([{'role': 'user', 'content': 'Hi'}], [{'from': 'human', 'value': 'Hi'}])
    """
    value = conversation_in(value)
    if isinstance(value, Mapping) and any(isinstance(value.get(name), list) for name in ("role", "from")):
        value = as_dicts(value)
    return value if isinstance(value, list) else [value]


def text_in(message: Message) -> str:
    """Returns the content of a message; "" where it is absent, or not a string."""
    content = message.get("content")
    return content if isinstance(content, str) else ""


def role_of(message: Mapping[str, Any]) -> str | None:
    """Returns the role of a message that is not read yet, None where it is missing or unknown."""
    name = message.get("role") or message.get("from")
    return _ROLE_OF.get(_canonical(name)) if isinstance(name, str) else None


def roles_in(value: Any, where: str) -> list[str | None]:
    """Returns the roles of a conversation that is not read yet, which may be a string that holds one.

    Raises:
        DataError: beginning with `where`, a string that begins like messages and cannot be read.
    """
    if isinstance(value, str) and (written := written_out(value, where)):
        value = written.value
    return [role_of(each) if isinstance(each, Mapping) else None for each in listed(value)]


def _canonical(name: str) -> str:
    return re.sub(r"[- ]", "_", name.strip().lower())


def read_tools(value: Any, where: str) -> list[Any] | None:
    """Returns the schemas of tools as templates take them, `{"type": "function", "function": ...}`; None without tools.

    >>> read_tools('[{"name": "f", "parameters": {}}]', "row 0: 'tools'")
    [{'type': 'function', 'function': {'name': 'f', 'parameters': {}}}]

    Raises:
        DataError: beginning with `where`, a value that is not a list of schemas.
    """
    wanted = "Give a list, or a JSON string of one."
    if isinstance(value, str) and not value.strip():
        return None
    parsed = from_json(value, where, wanted) if isinstance(value, str) else as_dicts(without_nulls(value))
    if is_void(parsed):
        return None
    if isinstance(parsed, Mapping):
        parsed = [parsed]
    if not isinstance(parsed, list):
        raise DataError(f"{where} is {kind(parsed)}; it must be a list, or a JSON string of one.")
    return [_tool(tool, f"{where} {at}") for at, tool in enumerate(parsed) if not is_void(tool)] or None


def _message(message: Any, where: str, keep_nulls: bool) -> Message:
    if isinstance(message, str) and (written := written_out(message, where)):
        message, keep_nulls = written
    if not isinstance(message, Mapping) or (is_void(message.get("role")) and is_void(message.get("from"))):
        raise DataError(
            f"{where} is {kind(message)}; a message is a dict with the keys 'role' and 'content' (ShareGPT: 'from' and "
            "'value')."
        )
    given = {key: value for key, value in message.items() if not is_void(value)}
    role, called = _role(given, where)
    if "text" in given and not given.keys() & {"content", "value"}:  # Open Assistant
        given["content"] = given.pop("text")
    if media := [name for name in _MEDIA if name in given]:
        raise DataError(f"{where} holds {media[0]!r}; only text can be trained on.")
    calls = _calls_of(given, called, where, keep_nulls)
    rest = {key: value for key, value in given.items() if key not in (*_READ, *_SWITCHES)}
    if role == "assistant":
        given, rest = _with_thoughts(given, rest, where)
    elif role == "tool" and "content" in given:
        given["content"] = result_of(given["content"], f"{where}: 'content'")
    says = "" if called in _CALLS else _content(message, given, role, bool(calls or rest.keys() & MEANT), where)
    read: dict[str, Any] = {"role": role, "content": says}
    if calls:
        read["tool_calls"] = calls
    if role == "assistant" and not _is_trained(given, where):
        read["loss"] = False
    return read | (rest if keep_nulls else without_nulls(rest))


_READ = ("role", "from", "content", "value", "tool_calls", "function_call")
_SWITCHES = ("weight", "train", "training", "loss")  # of OpenAI, axolotl, ms-swift: whether a message bears loss
THOUGHTS = ("reasoning_content", "thinking", "reasoning")
"""Keys of the thoughts before an answer."""
MEANT = frozenset((*THOUGHTS, "function_calls", "refusal"))
"""Keys that make a message with an empty content say something."""


def _with_thoughts(given: dict[str, Any], rest: dict[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An assistant message with the thoughts in its content as `reasoning_content`, and a refusal as its content."""
    parts, thought = without_thoughts(given.get("content"), f"{where}: 'content'")
    if thought and (other := next((name for name in THOUGHTS if rest.get(name, thought) != thought), None)):
        raise DataError(f"{where}: the thinking parts of 'content' differ from {other!r}. Keep one of the two.")
    if thought:
        rest = {**rest, "reasoning_content": thought}
    if parts is not given.get("content"):
        given = {**given, "content": parts}
    if isinstance(refusal := rest.get("refusal"), str) and "content" not in given:  # as OpenAI writes it
        given, rest = {**given, "content": refusal}, {key: value for key, value in rest.items() if key != "refusal"}
    return given, rest


def _is_trained(given: Mapping[str, Any], where: str) -> bool:
    for name in _SWITCHES:
        if name in given and given[name] not in (0, 1):
            raise DataError(
                f"{where}: {name!r} is {kind(given[name])}; it must be 1 or true, or 0 or false for no loss on the "
                "message."
            )
    return all(given.get(name, 1) == 1 for name in _SWITCHES)


def _role(given: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The role that templates know, and the name that was written."""
    names = [given[key] for key in ("role", "from") if key in given]
    written = [_canonical(name) if isinstance(name, str) else name for name in names]
    for name, lower in zip(names, written, strict=True):
        if not isinstance(lower, str) or lower not in _ROLE_OF:
            raise DataError(
                f"{where}: the role {name!r} is not one of {', '.join(map(repr, _ROLE_OF))}."
                f"{nearest(str(name), _ROLE_OF)}"
            )
    if len({_ROLE_OF[name] for name in written}) > 1:
        raise DataError(f"{where}: 'role' is {names[0]!r} and 'from' is {names[1]!r}. Keep one of the two.")
    return _ROLE_OF[written[0]], written[0]


def _content(message: Message, given: Mapping[str, Any], role: str, may_lack: bool, where: str) -> str:
    found = {name: text_of(given[name], f"{where}: {name!r}") for name in ("content", "value") if name in given}
    if len(set(found.values())) > 1:
        raise DataError(f"{where}: 'content' and 'value' differ. Keep one of the two.")
    if found:
        return next(iter(found.values()))
    name = "value" if "value" in message or ("from" in given and "content" not in message) else "content"
    # An empty completion has no text, and beside calls and thoughts there may be none.
    if may_lack or message.get(name) is not None or (role in ("assistant", "tool") and name in message):
        return ""
    keys = ", ".join(map(repr, message))
    raise DataError(f"{where}: {name!r} is None; it must be a string. The keys of the message: {keys}.")


def _calls_of(given: Mapping[str, Any], called: str, where: str, keep_nulls: bool) -> list[dict[str, Any]]:
    if called in _CALLS:
        text = text_of(given.get("content", given.get("value")), f"{where}: the value of a function_call")
        parsed = from_json(text, f"{where}: the value of a function_call", _CALL_HINT)
        return [_call(call, f"{where}: the function_call", True) for call in _listed(parsed)]
    found = []
    for key in ("tool_calls", "function_call"):
        value = given.get(key, [])
        if isinstance(value, str):
            value, keep_nulls = from_json(value, f"{where}: {key!r}", _CALL_HINT), True
        found += [_call(call, f"{where}: {key!r}", keep_nulls) for call in _listed(value)]
    return found


def _listed(value: Any) -> list[Any]:
    return listed_dicts if isinstance(listed_dicts := as_dicts(value), list) else [value]


def _call(call: Any, where: str, keep_nulls: bool) -> dict[str, Any]:
    """One call, given as it is or below 'function', in the form of OpenAI."""
    given = from_json(call, where, _CALL_HINT) if isinstance(call, str) else call
    around = {}
    if isinstance(given, Mapping) and not is_empty(given.get("function")) and not isinstance(given["function"], str):
        around = {key: value for key, value in given.items() if key not in ("function", "type") and not is_empty(value)}
        given = given["function"]
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise DataError(f"{where} holds {kind(given)}. {_CALL_HINT}")
    arguments = given.get("arguments", given.get("parameters"))
    around |= {"id": given["id"]} if not is_empty(given.get("id")) else {}
    function = {"name": given["name"], "arguments": _arguments(arguments, where, keep_nulls)}
    return {"type": "function", "function": function, **(around if keep_nulls else without_nulls(around))}


def _arguments(value: Any, where: str, keep_nulls: bool) -> Any:
    """The arguments as a value; a string is its JSON, also where it was encoded twice."""
    if is_empty(value):
        return {}
    if isinstance(value, list) and all(isinstance(each, list) and len(each) == 2 for each in value):
        value = {str(key): each for key, each in value}  # as Arrow writes a map
    if not isinstance(value, str):
        return check_json(value if keep_nulls else without_nulls(value), f"{where}: 'arguments'")
    parsed = from_json(value, f"{where}: 'arguments' {value[:40]!r}", "Give a dict, or a JSON string of one.")
    return _arguments(parsed, where, True) if isinstance(parsed, str) else parsed


def _tool(tool: Any, where: str) -> Any:
    if isinstance(tool, str):
        tool = from_json(tool, where, "A tool is a JSON schema with a 'name'.")
    if callable(tool):  # a function of Python, of which the template makes the schema
        return tool
    if not isinstance(tool, Mapping):
        raise DataError(f"{where} is {kind(tool)}; a tool is a JSON schema with a 'name'.")
    check_json(tool, where)
    if "function" in tool or not isinstance(tool.get("name"), str):
        return tool
    names = {"input_schema": "parameters"}  # as Anthropic calls them
    return {"type": "function", "function": {names.get(key, key): tool[key] for key in tool if key != "type"}}
