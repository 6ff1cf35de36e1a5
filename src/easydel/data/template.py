"""A tokenizer's chat template, of several the one for a row, as a function of messages."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

from easydel.data.message_forms import ANSWER, QUESTION, MessageForms
from easydel.data.messages import Message
from easydel.data.tokenizer import Tokenizer
from easydel.errors import DataError

Span = tuple[int, int]
"""Characters of a text, from the first to before the last."""

# What a template raises for a message that it cannot render, or that needs more than its sandbox allows.
_OF_TEMPLATES = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError, MemoryError)
_MARKS = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_MORE = {"role": "user", "content": "qzmore"}
_TEMPLATE = "chat_template"  # the option of a row that names one of several


class Refused(Exception):
    """A template cannot render a conversation; the message is the template's own."""


@dataclass(eq=False)
class Template:
    """A chat template of a tokenizer, which renders messages as `easydel.data.messages` reads them."""

    tokenizer: Tokenizer
    source: str

    @cached_property
    def has_marks(self) -> bool:
        """Whether it marks what the model writes: `{% generation %}`."""
        return bool(_MARKS.search(self.source))

    @cached_property
    def needless(self) -> str:
        """The generation prompt that it writes behind every conversation, asked for or not, which we leave out.

        The first template of Llama 3, and those made after it, end every text in the header of the assistant: behind an
        answer that is the header of a next one, which no model writes.
        """
        asked, answered, more = (self._try([QUESTION, ANSWER, _MORE][:count]) for count in (1, 2, 3))
        if asked is None or answered is None or more is None or asked != self._try([QUESTION], True):
            return ""  # add_generation_prompt makes a difference
        front, _, header = asked.partition("qzask")
        between, _, behind = answered.partition("qzask")[2].partition("qzsay")
        next_turn = more.partition("qzsay")[2].partition("qzmore")[0]
        front = front.removeprefix(self.tokenizer.bos_token or "")
        if not front or not header.strip() or header != between or not next_turn.endswith(front):
            return ""
        end = next_turn.removesuffix(front)
        found = behind.removeprefix(end) if behind.startswith(end) else ""
        return found if found.strip() and header.endswith(found) else ""

    @cached_property
    def forms(self) -> MessageForms:
        """The form that it takes messages in."""
        return MessageForms(self._try)

    def write(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        tools: list[Any] | None,
        options: Mapping[str, Any],
    ) -> str:
        """Returns the conversation as text.

        Raises:
            Refused: the template cannot render it.
        """
        formed = [self.forms.formed(each) for each in messages]
        text, _ = self._written(formed, add_generation_prompt, tools, options)
        return text if add_generation_prompt else text.removesuffix(self.needless)

    def marked(
        self, messages: Sequence[Message], tools: list[Any] | None, options: Mapping[str, Any]
    ) -> tuple[str, list[Span]]:
        """Returns the conversation as text, and the parts of it that `{% generation %}` marks.

        Raises:
            Refused: the template cannot render it.
        """
        text, spans = self._written([self.forms.formed(each) for each in messages], False, tools, options, marks=True)
        text = text.removesuffix(self.needless)
        return text, [(first, min(last, len(text))) for first, last in spans if first < len(text)]

    @cached_property
    def behind_answer(self) -> str:
        """What it writes behind an answer, without the white space around it."""
        text = self._try([self.forms.formed(each) for each in (QUESTION, ANSWER)]) or ""
        before, _, behind = text.rpartition("qzsay")
        return behind.removesuffix(self.needless).strip() if "qzask" in before else ""

    def _try(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str | None:
        """What it writes of messages as they are, None where it cannot render them."""
        for tools in (None, []):  # a template for tools iterates over them, also where there are none
            try:
                return self._written(messages, add_generation_prompt, tools, {})[0]
            except Refused:
                continue
        return None

    def _written(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        tools: list[Any] | None,
        options: Mapping[str, Any],
        *,
        marks: bool = False,
    ) -> tuple[str, list[Span]]:
        from jinja2 import TemplateError  # only conversations need it
        from transformers.utils.chat_template_utils import render_jinja_template

        asked = {"tools": tools, "add_generation_prompt": add_generation_prompt}
        try:
            if not marks and all(message.get("content", "") is not None for message in messages):
                named = {} if self.source == self.tokenizer.chat_template else {_TEMPLATE: self.source}
                options = {**options, **named}
                return self.tokenizer.apply_chat_template(list(messages), tokenize=False, **asked, **options), []
            # As `apply_chat_template` does inside, where keys that are None are kept and marks are known.
            options = {name: value for name, value in options.items() if name != _TEMPLATE}
            texts, spans = render_jinja_template(
                conversations=[[dict(message) for message in messages]],
                chat_template=self.source,
                return_assistant_tokens_mask=marks,
                **asked,
                **{**self.tokenizer.special_tokens_map, **options},
            )
        except (TemplateError, *_OF_TEMPLATES) as error:
            raise Refused(str(error)) from error
        return texts[0], [(int(first), int(last)) for first, last in spans[0]] if marks else []


def template_of(
    tokenizer: Tokenizer, number: int, tools: list[Any] | None = None, options: Mapping[str, Any] = MappingProxyType({})
) -> Template:
    """Returns the chat template of a row; called again, the same one with what is known of it.

    Of several by name it is the one that transformers takes: that of the option `chat_template` of the row, `tool_use`
    for a row with tools, or `default`.

    Raises:
        DataError: naming the row, if the tokenizer has no template, or none of that name.
    """
    given: Any = tokenizer.chat_template
    if not given:
        raise DataError(
            f"row {number} holds conversations, but the tokenizer has no chat template. Set "
            "tokenizer.chat_template, use the tokenizer of an instruction-tuned model, or give the rows as "
            "strings."
        )
    wanted = options.get(_TEMPLATE)
    if isinstance(given, str):
        if wanted is not None:
            raise DataError(
                f"row {number}: 'chat_template_kwargs' names the chat template {wanted!r:.40}, but the tokenizer has "
                "a single one, without a name. Remove 'chat_template'."
            )
        return _template(tokenizer, given)
    name = wanted or ("tool_use" if tools is not None and "tool_use" in given else "default")
    if name not in given:
        asks = "'chat_template_kwargs' asks for" if wanted else "without tools it needs"
        raise DataError(
            f"row {number}: {asks} the chat template {name!r:.40}, but the tokenizer has only "
            f"{', '.join(map(repr, given))}. Set tokenizer.chat_template to the text of one, or name it in the row: "
            f"chat_template_kwargs = {{'chat_template': {next(iter(given))!r}}}."
        )
    return _template(tokenizer, given[name])


@lru_cache(maxsize=16)  # for runs that compare models; a worker has one tokenizer, with a few templates
def _template(tokenizer: Tokenizer, source: str) -> Template:
    return Template(tokenizer, source)
