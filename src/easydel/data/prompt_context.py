"""The columns beside a prompt that go into its conversation: system, history, tools, chat_template_kwargs."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.data.message_content import kind, text_of
from easydel.data.messages import Message, listed, read_messages, read_tools
from easydel.data.plain_values import from_json, is_void
from easydel.data.text_literals import spelled_out
from easydel.errors import DataError

_TURNS = (("input", "output"), ("question", "answer"), ("user", "assistant"), ("human", "assistant"))


class PromptContext(NamedTuple):
    """The values of these columns, read; each is empty where its column is."""

    system: str = ""
    history: tuple[Message, ...] = ()
    tools: list[Any] | None = None
    options: Mapping[str, Any] = MappingProxyType({})


def read_prompt_context(system: Any, history: Any, tools: Any, options: Any, where: str) -> PromptContext:
    """Returns the columns `system`, `history`, `tools` and `chat_template_kwargs` of a row, read.

    Raises:
        DataError: beginning with `where` and the column, a value of another type.
    """
    return PromptContext(
        "" if is_void(system) else _system(system, f"{where}: 'system'"),
        tuple(_history(history, f"{where}: 'history'")),
        None if is_void(tools) else read_tools(tools, f"{where}: 'tools'"),
        _options(options, where),
    )


def turns_of(value: Any) -> Any:
    """Returns a list of turns, each a dict of question and answer, as messages; any other value unchanged.

    >>> turns_of([{"input": "Hi", "output": "Ho"}, {"input": "sky?", "output": None}])  # doctest: +ELLIPSIS
    [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Ho'}, {'role': 'user', 'content': 'sky?'}]
    """
    if not isinstance(value, list) or not value or not all(isinstance(turn, Mapping) for turn in value):
        return value
    pair = next((pair for pair in _TURNS if all(set(pair) <= turn.keys() for turn in value)), None)
    if pair is None or any({"role", "from"} & turn.keys() for turn in value):
        return value
    said = [(role, turn[name]) for turn in value for role, name in zip(("user", "assistant"), pair, strict=True)]
    return [{"role": role, "content": text} for role, text in said if not is_void(text)]


def _system(value: Any, where: str) -> str:
    """The text of a system prompt, which may be given as system messages."""
    messages = listed(value) if isinstance(value, Mapping | list) else []
    if messages and all(isinstance(each, Mapping) and each.keys() & {"role", "from"} for each in messages):
        return "\n\n".join(message["content"] for message in read_messages(messages, where))
    return text_of(value, where)


def _history(history: Any, where: str) -> list[Message]:
    """The turns before the question: pairs of a user's and the model's text, or messages."""
    wanted = "It must be a list of [user, assistant] pairs of strings, or of messages."
    if isinstance(history, str) and history.strip():
        try:
            history = spelled_out(history).value
        except ValueError as error:
            raise DataError(f"{where} is a string. {wanted}") from error
    if is_void(history) or (isinstance(history, str) and not history.strip()):
        return []
    history = turns_of(listed(history))
    if all(isinstance(turn, Mapping) for turn in history):
        return read_messages(history, where)
    turns: list[Message] = []
    for at, turn in enumerate(history):
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
            raise DataError(f"{where} {at} is {kind(turn)}. {wanted}")
        turns += [{"role": role, "content": text} for role, text in zip(("user", "assistant"), turn, strict=True)]
    return turns


def _options(options: Any, where: str) -> Mapping[str, Any]:
    wanted = "It must be a dict."
    if isinstance(options, str) and options.strip():
        options = from_json(options, f"{where}: 'chat_template_kwargs'", wanted)
    if not (options is None or options == "" or isinstance(options, Mapping)):
        raise DataError(f"{where}: 'chat_template_kwargs' is {kind(options)}. {wanted}")
    # Columnar files give every row every key: None there means that this row did not set it.
    return {key: value for key, value in (options or {}).items() if value is not None}
