"""Rows as text for a tokenizer: conversations through the chat template, with what of them bears loss."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from easydel.data.format import NO_COLUMNS, Dialogue, Dropped, Plain, read_row
from easydel.data.messages import Message
from easydel.data.tokenizer import Tokenizer
from easydel.errors import DataError

Render = Callable[[list[Message], bool, list[Any] | None, Mapping[str, Any]], str]
"""Chat template: (messages, add_generation_prompt, tools, further template arguments) -> text."""

Span = tuple[int, int]
"""Characters of a text, from the first to before the last."""

# What a template raises that does with a message what cannot be done, or more than the sandbox it runs in lets it do.
_OF_TEMPLATES = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError, MemoryError)


class Preference(NamedTuple):
    """The three texts of a row: the prompt alone, and the prompt followed by each completion.

    `templated` texts come out of a chat template, which writes the special tokens itself.
    """

    prompt: str
    prompt_chosen: str
    prompt_rejected: str
    templated: bool
    chosen_untrained: tuple[Span, ...] = ()  # parts of `prompt_chosen`, behind the prompt, that bear no loss
    rejected_untrained: tuple[Span, ...] = ()
    lost: tuple[str, ...] = ()  # what the template left out of the messages, a cause each


def to_preference(
    row: Mapping[str, Any], number: int, render: Render | None = None, columns: Mapping[str, Any] = NO_COLUMNS
) -> Preference | Dropped:
    """Returns the texts of one row; conversations go through `render`, the chat template.

    >>> to_preference({"chosen": "Hi you", "rejected": "Hi me"}, 0)[:4]
    ('Hi', 'Hi you', 'Hi me', False)

    Raises:
        DataError: naming the row, the field and the way out.
    """
    said = read_row(row, number, columns)
    return said if isinstance(said, Dropped) else rendered(said, number, render)


def rendered(said: Plain | Dialogue, number: int, render: Render | None) -> Preference:
    """Returns the texts of what a row says, see `to_preference`."""
    if isinstance(said, Plain):
        return Preference(said.prompt, said.prompt + said.chosen, said.prompt + said.rejected, templated=False)
    if render is None:
        raise DataError(f"row {number} holds conversations, which need a chat template. Pass a tokenizer that has one.")
    prompt, chosen, rejected, tools, options = said
    return Preference(
        render(prompt, True, tools, options),
        render(prompt + chosen, False, tools, options),
        render(prompt + rejected, False, tools, options),
        templated=True,
    )


def renderer(tokenizer: Tokenizer, number: int) -> Render:
    """Returns the tokenizer's chat template as a function; its complaints are DataErrors that name the row."""

    def render(
        messages: list[Message],
        add_generation_prompt: bool,
        tools: list[Any] | None,
        options: Mapping[str, Any],
    ) -> str:
        from jinja2 import TemplateError  # only conversations need it

        if not tokenizer.chat_template:
            raise DataError(
                f"row {number} holds conversations, but the tokenizer has no chat template. Set "
                "tokenizer.chat_template, use the tokenizer of an instruction-tuned model, or give the rows as "
                "text."
            )
        if reserved := {"tools", "add_generation_prompt", "tokenize", "conversation"} & set(options):
            raise DataError(f"row {number}: 'chat_template_kwargs' may not set {', '.join(sorted(reserved))}.")
        try:
            return tokenizer.apply_chat_template(
                messages, tools=tools, add_generation_prompt=add_generation_prompt, tokenize=False, **options
            )
        except (TemplateError, *_OF_TEMPLATES) as error:
            raise DataError(f"row {number}: the chat template refuses the conversation: {error}") from error

    return render
