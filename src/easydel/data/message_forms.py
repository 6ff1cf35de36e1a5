"""The form that a chat template takes messages in, found out once by what it writes.

Templates differ in the form that they take parts of a message in, and leave out silently what has another. Each form is
tried once, with words that no template has, and the first that is written whole is taken.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from easydel.data.messages import THOUGHTS, Message, text_in

# Arguments as Python writes a dict, as JSON within JSON, and a content that was not there.
_WRONG_FORM = re.compile(r"""'qzkey'|\\"qzkey|None""")
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*(.*)", re.DOTALL)
# Words that no template writes by itself; the id is of the form that Mistral's templates insist on.
QUESTION = {"role": "user", "content": "qzask"}
ANSWER = {"role": "assistant", "content": "qzsay"}
_CALL = {"type": "function", "id": "qzid00001", "function": {"name": "qzname", "arguments": {"qzkey": "qzvalue"}}}


@dataclass(eq=False)
class MessageForms:
    """The form that a template takes messages in.

    Args:
        write: messages -> text, None where the template cannot render them.
    """

    write: Callable[[Sequence[Message]], str | None]

    def formed(self, message: Message) -> Message:
        """Returns a message, as `easydel.data.messages` reads it, in the form that the template takes."""
        thought = next((message[name] for name in THOUGHTS if message.get(name)), None)
        if thought is not None:  # as newer versions of transformers do, for templates that read the one or the other
            message = {"thinking": thought, **message, "reasoning_content": thought}
        elif message["role"] == "assistant" and "</think>" in text_in(message) and self.parts_thoughts:
            message = _parted(message)
        if message.get("tool_calls"):
            message = _with_calls(message, *self.call_form)
        if isinstance(message.get("content"), str) and self.wants_parts:
            message = {**message, "content": [{"type": "text", "text": message["content"]}]}
        return message

    @cached_property
    def wants_parts(self) -> bool:
        """Whether content is to be a list of parts: templates of vision models leave out a string."""
        parts = {**QUESTION, "content": [{"type": "text", "text": QUESTION["content"]}]}
        return ["qzask" in (self.write([each]) or "") for each in (QUESTION, parts)] == [False, True]

    @cached_property
    def call_form(self) -> tuple[bool, str]:
        """Whether arguments of calls are to be a JSON string; and what an empty content beside calls is to be: a string
        (`empty`), no key (`absent`), or None (`none`). (transformers itself leaves keys out that are None.)

        DeepSeek-R1's distills write calls only where the content is None, and join arguments as strings.
        """
        found: list[tuple[int, bool, str]] = []
        for content in ("empty", "absent", "none"):
            for as_text in (False, True):
                message = _with_calls({"role": "assistant", "content": "", "tool_calls": [_CALL]}, as_text, content)
                text = self.write([QUESTION, message])
                whole = text is not None and "qzname" in text and "qzkey" in text and "qzvalue" in text
                behind = (text or "").rpartition("qzask")[2]
                if whole and not _WRONG_FORM.search(behind):
                    found.append((len(behind), as_text, content))
        if not found:
            return False, "empty"
        # Of the contents the one that writes least: for one that is there and says nothing some write an answer more.
        _, as_text, content = min((form for form in found if form[1] == found[0][1]), key=lambda form: form[0])
        return as_text, content

    @cached_property
    def parts_thoughts(self) -> bool:
        """Whether `<think>` in the content is to be taken out and given as `reasoning_content`.

        Most templates do that themselves, or write the content as it is. Of those that do not, the newer ones write an
        empty thought in front of it, and some have other signs than `<think>`, which their models never write.
        """
        answer = {"role": "assistant", "content": "<think>\nqzthought\n</think>\n\nqzanswer"}
        # Behind the question: a system text that explains thinking, as SmolLM 3 has, holds its signs too.
        whole, parted = (
            (self.write([QUESTION, each]) or "").rpartition("qzask")[2] for each in (answer, _parted(answer))
        )
        as_it_stands = whole.count("</think>") == 1 and "qzthought" in whole
        own_signs = "</think>" not in parted and parted.count("qzthought") == 1  # as of gpt-oss and Gemma 4
        if not whole or (as_it_stands and not own_signs):
            return False
        # No model writes a thought behind an empty one: better leave it out, which is counted.
        doubled = whole.count("</think>") > parted.count("</think>")
        return parted.count("qzanswer") == 1 and (doubled or parted.count("qzthought") == 1)


def _parted(message: Message) -> Message:
    found = _THOUGHT.fullmatch(message["content"])
    if found is None:
        return message
    thought = found[1].strip()
    return {**message, "content": found[2], "thinking": thought, "reasoning_content": thought}


def _with_text(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}


def _with_calls(message: Message, as_text: bool, content: str) -> Message:
    formed = dict(message)
    if as_text:
        formed["tool_calls"] = [_with_text(call) for call in message["tool_calls"]]
    if not message.get("content") and content != "empty":
        formed["content"] = None
        if content == "absent":
            del formed["content"]
    return formed
