"""What is in the messages of a row, but not in the text that its chat template wrote."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from easydel.data.messages import THOUGHTS, Message, text_in
from easydel.data.plain_values import leaves

MOVED = "the prompt as it is written before a completion (the prompt alone is used instead)"
"""Where the prompt alone, which is what the model will be asked, differs from the beginning of the conversation."""

OF_EARLIER_TURNS = "the reasoning of an assistant message in the prompt"
"""What most models take out by design, of turns that are over; nothing that is trained goes with it."""

_SPACE = re.compile(r"\s+")
_SIGNS = re.compile(r"[\W_]+")
_SWITCHES = re.compile(r"\s*/(?:no_?)?think\b")  # what turns thinking on and off in a message, and is not passed on
_NAMES = {"system": "a system message", "user": "a message of a user", "tool": "the result of a tool"}


@dataclass(frozen=True)
class Text:
    """A text in which words are looked for as templates write them: trimmed, in other white space, as JSON."""

    text: str

    @cached_property
    def _squeezed(self) -> str:
        return _SPACE.sub(" ", self.text)

    @cached_property
    def _letters(self) -> str:
        return _SIGNS.sub("", self.text)

    def holds(self, words: str) -> bool:
        """Returns whether the words are there.

        >>> Text('{"say": "no \\\\"way\\\\""}').holds('no "way" ')
        True
        """
        stripped = _SWITCHES.sub("", words).strip()
        if stripped in self.text:
            return True
        encoded = [json.dumps(stripped, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True)]
        if any(_SPACE.sub(" ", form) in self._squeezed for form in (stripped, *encoded)):
            return True
        # Whatever else is escaped: by letters and digits alone. A text of signs only is not found that way.
        return any((letters := _SIGNS.sub("", form)) and letters in self._letters for form in (stripped, *encoded))


def lost_in_prompt(messages: Sequence[Message], tools: Sequence[Any] | None, text: str) -> Iterator[str]:
    """Yields what of a prompt is not in its text, a cause each."""
    held = Text(text)
    functions = [str(message["functions"]) for message in messages if message.get("functions")]  # of OLMo 3
    if not all(held.holds(name) for name in [*map(_tool_name, tools or ()), *functions] if name):
        yield "the tools"
    for message in messages:
        for part in _lost(message, held):
            yield f"{part} of an assistant message in the prompt" if message["role"] == "assistant" else part


def lost_in_completion(messages: Sequence[Message], text: str) -> Iterator[str]:
    """Yields what of a completion is not in its text, a cause each."""
    held = Text(text)
    for message in messages:
        for part in _lost(message, held):
            yield f"{part} of a completion" if message["role"] == "assistant" else f"{part} in a completion"


def _lost(message: Message, text: Text) -> Iterator[str]:
    content = text_in(message)
    if message["role"] != "assistant":
        if not text.holds(content):
            yield _NAMES.get(message["role"], f"a message of the role {message['role']!r}")
        return
    thought = next((str(message[name]) for name in THOUGHTS if message.get(name)), "")
    if "</think>" in content and not text.holds(content):  # in the content, but written elsewhere or not at all
        inside, _, content = content.rpartition("</think>")
        thought = thought or inside.rpartition("<think>")[2]
    if not text.holds(thought):
        yield "the reasoning"
    if not text.holds(content):
        yield "the content"
    calls = all(_holds_call(call, text) for call in message.get("tool_calls") or ())
    if not calls or not text.holds(str(message.get("function_calls") or "")):
        yield "a tool call"


def _holds_call(call: Mapping[str, Any], text: Text) -> bool:
    """Whether the name of a call and the texts and numbers in its arguments are there; True and None may be renamed."""
    function = call["function"]
    given = [each for each in leaves(function.get("arguments")) if isinstance(each, str | int | float)]
    words = [each if isinstance(each, str) else json.dumps(each) for each in given if not isinstance(each, bool)]
    return all(map(text.holds, [str(function["name"]), *words]))


def _tool_name(tool: Any) -> str:
    if isinstance(tool, Mapping):
        function = tool.get("function", tool)
        return str(function.get("name") or "") if isinstance(function, Mapping) else ""
    return getattr(tool, "__name__", "")
