"""A tokenizer's chat template, and the form that it takes messages in: found out once, by what it writes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

from easydel.data.messages import Message
from easydel.data.next_turn import needless_header
from easydel.data.tokenizer import Tokenizer
from easydel.errors import DataError

Span = tuple[int, int]
"""Characters of a text, from the first to before the last."""

REASONING = ("reasoning_content", "thinking", "reasoning")  # what messages call what was thought before an answer
# What a template raises that does with a message what cannot be done, or more than the sandbox it runs in lets it do.
_OF_TEMPLATES = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError, MemoryError)
_MARKS = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
# Arguments as Python writes a dict, as JSON within JSON, and a content that was not there.
_WRONG_FORM = re.compile(r"""'qzkey'|\\"qzkey|None""")
_TEMPLATE = "chat_template"  # the option of a row that names one of several
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*(.*)", re.DOTALL)
# Words that no template writes by itself; the id is of the form that Mistral's templates insist on.
_ASKED = {"role": "user", "content": "qzask"}
_SAID = {"role": "assistant", "content": "qzsay"}
_CALL = {"type": "function", "id": "qzid00001", "function": {"name": "qzname", "arguments": {"qzkey": "qzvalue"}}}


def text_in(message: Message) -> str:
    """Returns the content of a message; "" where it has none, or one that is no text."""
    content = message.get("content")
    return content if isinstance(content, str) else ""


class Refused(Exception):
    """A template cannot write a conversation, in its own words."""


@dataclass(eq=False)
class Template:
    """A chat template of a tokenizer, which writes messages as `easydel.data.messages` reads them.

    Templates differ in the form that they take parts of a message in, and leave out silently what has another. Each
    form is tried once, with words that no template has, and the first that is written whole is taken.
    """

    tokenizer: Tokenizer
    source: str

    @cached_property
    def has_marks(self) -> bool:
        """Whether it says which characters the model writes: `{% generation %}`."""
        return bool(_MARKS.search(self.source))

    @cached_property
    def needless(self) -> str:
        """The beginning of an answer that it writes behind every conversation, asked for or not, which we leave out."""
        return needless_header(self._try, self.tokenizer.bos_token)

    def write(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        tools: list[Any] | None,
        options: Mapping[str, Any],
    ) -> str:
        """Returns the conversation as text.

        Raises:
            Refused: the template cannot write it.
        """
        text = self._written([self._formed(each) for each in messages], add_generation_prompt, tools, options)
        return text if add_generation_prompt else text.removesuffix(self.needless)

    def marked(
        self, messages: Sequence[Message], tools: list[Any] | None, options: Mapping[str, Any]
    ) -> tuple[str, list[Span]]:
        """Returns the conversation as text, and the parts of it that `{% generation %}` marks."""
        text, spans = self._direct([self._formed(each) for each in messages], False, tools, options, marks=True)
        text = text.removesuffix(self.needless)
        return text, [(first, min(last, len(text))) for first, last in spans if first < len(text)]

    @cached_property
    def behind_answer(self) -> str:
        """What it writes behind an answer, without the white space around it; "" is nothing."""
        text = self._try([self._formed(each) for each in (_ASKED, _SAID)]) or ""
        before, _, behind = text.rpartition("qzsay")
        return behind.removesuffix(self.needless).strip() if "qzask" in before else ""

    @cached_property
    def wants_parts(self) -> bool:
        """Whether content is to be a list of parts: templates of models that see pictures leave a text out."""
        parts = {**_ASKED, "content": [{"type": "text", "text": _ASKED["content"]}]}
        return [self._holds([each], "qzask") for each in (_ASKED, parts)] == [False, True]

    @cached_property
    def call_form(self) -> tuple[bool, str]:
        """Whether arguments of calls are to be JSON text; and what stands for the content beside calls where there is
        none: `empty` text, no key (`absent`), or `none`. (transformers itself leaves keys out that are None.)

        DeepSeek-R1's distills write calls only where the content is None, and join arguments as text.
        """
        found: list[tuple[int, bool, str]] = []
        for content in ("empty", "absent", "none"):
            for as_text in (False, True):
                message = self._with_calls(
                    {"role": "assistant", "content": "", "tool_calls": [_CALL]}, as_text, content
                )
                text = self._try([_ASKED, message])
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
        whole, parted = ((self._try([_ASKED, each]) or "").rpartition("qzask")[2] for each in (answer, _parted(answer)))
        as_it_stands = whole.count("</think>") == 1 and "qzthought" in whole
        own_signs = "</think>" not in parted and parted.count("qzthought") == 1  # as of gpt-oss and Gemma 4
        if not whole or (as_it_stands and not own_signs):
            return False
        # A thought behind an empty one is what no model writes: better none, which is said.
        doubled = whole.count("</think>") > parted.count("</think>")
        return parted.count("qzanswer") == 1 and (doubled or parted.count("qzthought") == 1)

    def _holds(self, messages: list[Message], word: str) -> bool:
        text = self._try(messages)
        return text is not None and word in text

    def _try(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str | None:
        for tools in (None, []):  # a template for tools alone goes over them, be there any or not
            try:
                return self._written(list(messages), add_generation_prompt, tools, {})
            except Refused:
                continue
        return None

    def _formed(self, message: Message) -> Message:
        thought = next((message[name] for name in REASONING if message.get(name)), None)
        if thought is not None:  # as newer versions of transformers do, for templates that read the one or the other
            message = {"thinking": thought, **message, "reasoning_content": thought}
        elif message["role"] == "assistant" and "</think>" in text_in(message) and self.parts_thoughts:
            message = _parted(message)
        if message.get("tool_calls"):
            message = self._with_calls(message, *self.call_form)
        if isinstance(message.get("content"), str) and self.wants_parts:
            message = {**message, "content": [{"type": "text", "text": message["content"]}]}
        return message

    @staticmethod
    def _with_calls(message: Message, as_text: bool, content: str) -> Message:
        formed = dict(message)
        if as_text:
            formed["tool_calls"] = [_with_text(call) for call in message["tool_calls"]]
        if not message.get("content") and content != "empty":
            formed["content"] = None
            if content == "absent":
                del formed["content"]
        return formed

    def _written(
        self, messages: list[Message], add_generation_prompt: bool, tools: list[Any] | None, options: Mapping[str, Any]
    ) -> str:
        if any("content" in message and message["content"] is None for message in messages):
            return self._direct(messages, add_generation_prompt, tools, options, marks=False)[0]
        from jinja2 import TemplateError  # only conversations need it

        named = {} if self.source == self.tokenizer.chat_template else {"chat_template": self.source}
        options = {**options, **named}
        try:
            return self.tokenizer.apply_chat_template(
                messages, tools=tools, add_generation_prompt=add_generation_prompt, tokenize=False, **options
            )
        except (TemplateError, *_OF_TEMPLATES) as error:
            raise Refused(str(error)) from error

    def _direct(
        self,
        messages: list[Message],
        add_generation_prompt: bool,
        tools: list[Any] | None,
        options: Mapping[str, Any],
        *,
        marks: bool,
    ) -> tuple[str, list[Span]]:
        """What the tokenizer does below `apply_chat_template`, where keys that are None stay and marks are at hand."""
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            texts, spans = render_jinja_template(
                conversations=[[dict(message) for message in messages]],
                tools=tools,
                chat_template=self.source,
                add_generation_prompt=add_generation_prompt,
                return_assistant_tokens_mask=marks,
                **{**self.tokenizer.special_tokens_map, **_without_template(options)},
            )
        except (TemplateError, *_OF_TEMPLATES) as error:
            raise Refused(str(error)) from error
        return texts[0], [(int(first), int(last)) for first, last in spans[0]] if marks else []


def _without_template(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != _TEMPLATE}


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


def template_of(
    tokenizer: Tokenizer, number: int, tools: list[Any] | None = None, options: Mapping[str, Any] = MappingProxyType({})
) -> Template:
    """Returns the chat template that a row is written with; asked for again, the same one with what is known of it.

    Of several by name it is the one that transformers takes: that of the option `chat_template` of the row, `tool_use`
    for a row with tools, or `default`.

    Raises:
        DataError: naming the row for which it is needed, if there is none.
    """
    given: Any = tokenizer.chat_template
    if not given:
        raise DataError(
            f"row {number} holds conversations, but the tokenizer has no chat template. Set "
            "tokenizer.chat_template, use the tokenizer of an instruction-tuned model, or give the rows as "
            "text."
        )
    wanted = options.get(_TEMPLATE)
    if isinstance(given, str):
        if wanted is not None:
            raise DataError(
                f"row {number}: 'chat_template_kwargs' names the chat template {wanted!r:.40}, and the tokenizer has "
                "a single one, without a name. Leave it out."
            )
        return _template(tokenizer, given)
    name = wanted or ("tool_use" if tools is not None and "tool_use" in given else "default")
    if name not in given:
        asks = "'chat_template_kwargs' asks for" if wanted else "without tools it needs"
        raise DataError(
            f"row {number}: {asks} the chat template {name!r:.40}, and the tokenizer has "
            f"{', '.join(map(repr, given))}. Set tokenizer.chat_template to the text of one, or name it in the row: "
            f"chat_template_kwargs = {{'chat_template': {next(iter(given))!r}}}."
        )
    return _template(tokenizer, given[name])


@lru_cache(maxsize=16)  # of a run that compares models; a worker has one, of a few templates
def _template(tokenizer: Tokenizer, source: str) -> Template:
    return Template(tokenizer, source)
