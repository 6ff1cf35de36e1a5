"""Messages of a conversation in one form, `{role, content, ...}`, whatever form they were written in."""

from collections.abc import Mapping, Sequence
from typing import Any

from easydel.data.values import check_json, from_json, is_empty, of_text, without_nulls
from easydel.errors import DataError, nearest

Message = Mapping[str, Any]
"""`role` is system, user, assistant or tool; `content` is text, "" where there is none; `tool_calls` are
`{"type": "function", "function": {"name": ..., "arguments": the parsed value}}`; other keys are as given, where not
empty."""

_CALLS = ("function_call", "tool_call")  # roles whose content is a call in JSON
ROLES = {
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai", *_CALLS),
    "system": ("system", "developer"),
    "tool": ("tool", "observation", "function", "ipython", "tool_response", "function_response", "tool_result"),
}
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
_TEXT_PARTS = (None, "text", "input_text", "output_text")
_MEDIA = ("image", "images", "video", "videos", "audio", "audios")
_CALL_WAY_OUT = "It must be a JSON object with 'name' and 'arguments', or a list of such objects."


def read_messages(value: Sequence[Any], where: str, *, keep_nulls: bool = False) -> list[Message]:
    """Returns the messages of a list.

    With `keep_nulls` a None in the arguments of a call is meant, as in JSON text; otherwise it is what Arrow writes
    where another row has a key.

    >>> read_messages([{"from": "human", "value": "Hi"}, {"role": "AI", "content": ["Hel", "lo"]}], "row 0")
    [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello'}]

    Raises:
        DataError: beginning with `where`, the message and its key.
    """
    return [_message(message, f"{where} message {at}", keep_nulls) for at, message in enumerate(value)]


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


def read_tools(value: Any, where: str) -> list[Any] | None:
    """Returns the schemas of tools as templates want them, `{"type": "function", "function": ...}`; None for none.

    >>> read_tools('[{"name": "f", "parameters": {}}]', "row 0: 'tools'")
    [{'type': 'function', 'function': {'name': 'f', 'parameters': {}}}]

    Raises:
        DataError: beginning with `where`.
    """
    wanted = "Give a list, or JSON text of one."
    parsed = from_json(value, where, wanted) if isinstance(value, str) else without_nulls(value)
    if isinstance(parsed, Mapping):
        parsed = [parsed]
    if not isinstance(parsed, list):
        raise DataError(f"{where} is {kind(parsed)}; it must be a list, or JSON text of one.")
    return [_tool(tool, f"{where} {at}") for at, tool in enumerate(parsed)] or None


def text_of(content: Any, where: str) -> str:
    """Returns the text of a content: text, a part of text, or a list of parts.

    >>> text_of([{"type": "text", "text": "a"}, "b"], "row 0")
    'ab'

    Raises:
        DataError: beginning with `where`, a part that is no text.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        raise DataError(f"{where} is {kind(content)}; it must be text.{of_text(content)}")
    texts = []
    for at, part in enumerate(content):
        given = without_nulls(part)
        if isinstance(given, Mapping) and given.get("type") in _TEXT_PARTS and isinstance(given.get("text"), str):
            given = given["text"]
        if not isinstance(given, str):
            name = given.get("type") if isinstance(given, Mapping) else None
            shown = f"of type {name!r}" if name is not None else kind(given)
            raise DataError(f"{where} part {at} is {shown}; only parts of text can be trained on: {{'type': 'text'}}.")
        texts.append(given)
    return "".join(texts)


def _message(message: Any, where: str, keep_nulls: bool) -> Message:
    if not isinstance(message, Mapping) or (is_empty(message.get("role")) and is_empty(message.get("from"))):
        raise DataError(
            f"{where} is {kind(message)}; a message is a dict with the keys 'role' and 'content' (ShareGPT: 'from' and "
            "'value')."
        )
    given = {key: value for key, value in message.items() if not is_empty(value)}
    role, called = _role(given, where)
    if media := [name for name in _MEDIA if name in given]:
        raise DataError(f"{where} holds {media[0]!r}; only text can be trained on.")
    rest = {key: value for key, value in given.items() if key not in _READ}
    calls = _calls_of(given, called, where, keep_nulls)
    says = "" if called in _CALLS else _content(message, given, role, bool(calls or rest.keys() & _THOUGHTS), where)
    read: dict[str, Any] = {"role": role, "content": says}
    if calls:
        read["tool_calls"] = calls
    return read | (rest if keep_nulls else without_nulls(rest))


_READ = ("role", "from", "content", "value", "tool_calls", "function_call")
_THOUGHTS = {"thinking", "reasoning", "reasoning_content"}


def _role(given: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The role that templates know, and the name that was written."""
    names = [given[key] for key in ("role", "from") if key in given]
    written = [name.strip().lower() if isinstance(name, str) else name for name in names]
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
    # No text at all is what an empty answer is, and what calls and thoughts may stand beside.
    if may_lack or message.get(name) is not None or (role in ("assistant", "tool") and name in message):
        return ""
    keys = ", ".join(map(repr, message))
    raise DataError(f"{where}: {name!r} is None; it must be text. The keys of the message: {keys}.")


def _calls_of(given: Mapping[str, Any], called: str, where: str, keep_nulls: bool) -> list[dict[str, Any]]:
    if called in _CALLS:
        text = text_of(given.get("content", given.get("value")), f"{where}: the value of a function_call")
        parsed = from_json(text, f"{where}: the value of a function_call", _CALL_WAY_OUT)
        return [_call(call, f"{where}: the function_call", True) for call in _listed(parsed)]
    found = []
    for key in ("tool_calls", "function_call"):
        value = given.get(key, [])
        if isinstance(value, str):
            value, keep_nulls = from_json(value, f"{where}: {key!r}", _CALL_WAY_OUT), True
        found += [_call(call, f"{where}: {key!r}", keep_nulls) for call in _listed(value)]
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _call(call: Any, where: str, keep_nulls: bool) -> dict[str, Any]:
    """One call, given as it is or below 'function', in the form of OpenAI."""
    given = from_json(call, where, _CALL_WAY_OUT) if isinstance(call, str) else call
    around = {}
    if isinstance(given, Mapping) and not is_empty(given.get("function")) and not isinstance(given["function"], str):
        around = {key: value for key, value in given.items() if key not in ("function", "type") and not is_empty(value)}
        given = given["function"]
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise DataError(f"{where} holds {kind(given)}. {_CALL_WAY_OUT}")
    arguments = given.get("arguments", given.get("parameters"))
    around |= {"id": given["id"]} if not is_empty(given.get("id")) else {}
    function = {"name": given["name"], "arguments": _arguments(arguments, where, keep_nulls)}
    return {"type": "function", "function": function, **(around if keep_nulls else without_nulls(around))}


def _arguments(value: Any, where: str, keep_nulls: bool) -> Any:
    """The arguments as the value that they are; text is the JSON of one, also where it was encoded twice."""
    if is_empty(value):
        return {}
    if not isinstance(value, str):
        return check_json(value if keep_nulls else without_nulls(value), f"{where}: 'arguments'")
    parsed = from_json(value, f"{where}: 'arguments' {value[:40]!r}", "Give a dict, or JSON text of one.")
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
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}
