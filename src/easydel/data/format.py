"""Preference rows of any accepted shape as a prompt and two completions, before any template or tokenizer."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.data.column_names import CONVERSATIONS, IDS, OF_IDS, QUESTIONS, READ, SCORES, numbers_among, renamed
from easydel.data.completion_columns import EMPTY
from easydel.data.dialogue import parts_of
from easydel.data.message_content import kind
from easydel.data.messages import MEANT, Message, listed, read_messages
from easydel.data.plain_values import is_empty, not_string_hint, written_out
from easydel.data.prompt_context import PromptContext, read_prompt_context, turns_of
from easydel.data.row_shapes import Fields, fields_of
from easydel.data.text_literals import parsed
from easydel.data.text_prompts import is_asking, is_beginning, is_prompt_alone, once, shared_beginning
from easydel.data.unread import MEDIA, TELLING
from easydel.errors import DataError

NO_COLUMNS: Mapping[str, Any] = MappingProxyType({})


class Plain(NamedTuple):
    """A row of text: the prompt, and the completions that follow it without a separator."""

    prompt: str
    chosen: str
    rejected: str


class Dialogue(NamedTuple):
    """A row of conversations: the messages of the prompt, those that follow it, and what else the template gets."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: list[Any] | None = None
    options: Mapping[str, Any] = MappingProxyType({})


class Dropped(NamedTuple):
    """A row that holds no pair, and why."""

    cause: str


def read_row(
    row: Mapping[str, Any], number: int, columns: Mapping[str, Any] = NO_COLUMNS
) -> Plain | Dialogue | Dropped:
    """Returns one row as text or conversations, or why it is dropped.

    The completions are in `chosen` and `rejected`, or in the columns of a public shape (`easydel.data.row_shapes`). The
    prompt is in `prompt`, or a conversation in `messages` or `conversations`, or a user's message in `question`,
    `instruction` (with `input`) or `query`. Without any of these it is what chosen and rejected begin with: whole
    messages, or characters backing off one trailing space. Strings with a string `prompt` stay text; a user's message,
    and a prompt with `system`, `history`, `tools` or `chat_template_kwargs`, is a conversation. A row with an empty
    completion, or of which no completion is better, is dropped.

    >>> read_row({"chosen": "Hi you", "rejected": "Hi me"}, 0)
    Plain(prompt='Hi', chosen=' you', rejected=' me')

    Args:
        columns: which column is read as which, see `easydel.data.column_names.read_columns`.

    Raises:
        DataError: naming the row, the field and what to do.
    """
    fields = fields_of(row, number, columns)
    if fields.dropped:
        return Dropped(fields.dropped)
    where = f"row {number}"
    chosen, rejected = (
        _value(value, f"{where}: {name!r}")
        for value, name in zip((fields.chosen, fields.rejected), fields.completion_columns, strict=True)
    )
    turns = turns_of(parsed(fields.prompt)) if fields.source in CONVERSATIONS else fields.prompt
    prompt = None if turns is None else _value(turns, f"{where}: {fields.column!r}")
    if isinstance(prompt, str) and fields.source in CONVERSATIONS:
        raise DataError(
            f"{where}: {fields.column!r} is a string; it must be a list of messages. A prompt that is a string goes in "
            f"'prompt': --columns prompt={fields.column}."
        )
    context = read_prompt_context(fields.system, fields.history, fields.tools, fields.options, where)
    talks = isinstance(prompt, list) or fields.is_question or any(context)
    if isinstance(chosen, str) and isinstance(rejected, str) and not talks and not isinstance(prompt, list):
        read = _from_text(prompt, chosen, rejected, where, fields.lacking)
    elif talks or (isinstance(chosen, list) and isinstance(rejected, list)):
        read = _from_messages(fields, context, prompt, chosen, rejected, where)
    else:
        raise DataError(
            f"{where}: {fields.completion_columns[0]!r} is {kind(chosen)}, but {fields.completion_columns[1]!r} is "
            f"{kind(rejected)}. Give both in the same form."
        )
    _compare(read, fields, where)
    return read


def columns_of(
    row: Mapping[str, Any], columns: Mapping[str, Any] = NO_COLUMNS, *, scored: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the columns that a row is read from, and those that are ignored; scores are read if `scored`.

    >>> columns_of({"prompt": "a", "chosen": "b", "rejected": "c", "weight": 1.0, "source": "a book"})
    (('prompt', 'chosen', 'rejected', 'weight'), ('source',))

    Raises:
        DataError: as `read_row`, of the columns.
    """
    names = renamed(row, columns, 0)
    if any(name in names and row[names[name]] is not None for name in IDS):
        used = {names[name] for name in names if name in OF_IDS and row[names[name]] is not None}
    else:
        used = set(fields_of(row, 0, columns).used)
    numbers = [name for name in numbers_among(names) if scored or name not in SCORES]
    used |= {names[name] for name in numbers if not is_empty(row[names[name]])}
    return tuple(name for name in row if name in used), tuple(name for name in row if name not in used)


def content_of(row: Mapping[str, Any], columns: Mapping[str, Any] = NO_COLUMNS) -> dict[str, Any]:
    """Returns all of a row that its tokens depend on, under the names that are read.

    Of columns that nothing is read from only the names of those that would be an error.

    Raises:
        DataError: two columns of the same name, see `easydel.data.column_names.renamed`.
    """
    names = renamed(row, columns, 0)
    read = {name: row[column] for name, column in names.items() if name in READ and name not in numbers_among(names)}
    asked = any(not is_empty(read.get(name)) for name in ("prompt", *CONVERSATIONS, *QUESTIONS))
    beside = [name for name in names if name not in READ and (not asked or name in TELLING or name in MEDIA)]
    return {"read": read, "beside": [str(name) for name in beside if not is_empty(row[names[name]])]}


def _value(value: Any, where: str) -> str | list[Message]:
    """A field as a string or as messages, in whatever form it has them."""
    keep_nulls = False
    if isinstance(value, str):
        written = written_out(value, where)
        if written is None:
            return value
        value, keep_nulls = written
    if isinstance(value, list | Mapping):
        messages = turns_of(listed(value))
        if messages and all(isinstance(each, str) and written_out(each, where) is None for each in messages):
            if len(messages) > 1:
                raise DataError(f"{where} is a list of {len(messages)} strings; it must be one string, or messages.")
            return messages[0]
        return read_messages(messages, where, keep_nulls=keep_nulls)
    raise DataError(f"{where} is {kind(value)}; it must be a string or a list of messages.{not_string_hint(value)}")


def _from_text(prompt: str | None, chosen: str, rejected: str, where: str, lacking: str) -> Plain | Dropped:
    if prompt is None:
        if is_beginning(chosen, rejected):
            return Dropped(EMPTY)
        length = shared_beginning(chosen, rejected)
        if not length:
            raise DataError(
                f"{where}: {lacking}'chosen' and 'rejected' have no common beginning to use as the prompt. Add a "
                "'prompt' column."
            )
        return Plain(chosen[:length], chosen[length:], rejected[length:])
    plain = Plain(*once(prompt, chosen, rejected))
    is_empty_there = not (plain.chosen.strip() and plain.rejected.strip())
    return Dropped(EMPTY) if is_empty_there or is_prompt_alone(*plain) else plain


def _from_messages(
    fields: Fields,
    context: PromptContext,
    prompt: str | list[Message] | None,
    chosen: str | list[Message],
    rejected: str | list[Message],
    where: str,
) -> Dialogue | Dropped:
    asked = [*context.history, *_as_messages("user", prompt or [])]
    if isinstance(chosen, str) and isinstance(rejected, str):
        if not asked:
            raise DataError(
                f"{where}: {fields.lacking}a beginning that two strings share cannot be the prompt of a conversation. "
                "Add a 'prompt' or 'question' column with the user's message."
            )
        question = asked[-1]["content"] if asked[-1]["role"] == "user" else ""
        if is_asking(question):
            _, *found = once(question, chosen, rejected)
            if is_prompt_alone(question, *found):
                return Dropped(EMPTY)
            if found != [chosen, rejected]:
                chosen, rejected = (text.lstrip() for text in found)
    completions = [_as_messages("assistant", each) for each in (chosen, rejected)]
    if any(map(_says_nothing, completions)):
        return Dropped(EMPTY)
    if context.system:
        asked = _with_system(context.system, asked, completions, where)
    names = (fields.column or "prompt", *fields.completion_columns)
    parts = parts_of(asked, completions[0], completions[1], names, where, fields.lacking)
    if any(_says_nothing(each) for each in parts[1:]):
        return Dropped(EMPTY)
    prompt = [{key: message[key] for key in message if key != "loss"} for message in parts.prompt]
    return Dialogue(prompt, parts.chosen, parts.rejected, context.tools, context.options)


def _with_system(system: str, asked: list[Message], completions: list[list[Message]], where: str) -> list[Message]:
    """The prompt behind a system prompt, unless that is in the conversation."""
    first = next((each[0] for each in (asked, *completions) if each and each[0]["role"] == "system"), None)
    if first is None:
        return [{"role": "system", "content": system}, *asked]
    if system.split() != first["content"].split():
        raise DataError(
            f"{where}: 'system' is {system!r:.40}, but the conversation begins with the system message "
            f"{first['content']!r:.40}. Make them the same, or drop the column: --columns ignore=system."
        )
    return asked


def _as_messages(role: str, value: str | list[Message]) -> list[Message]:
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def _says_nothing(messages: list[Message]) -> bool:
    return not any(message["content"].strip() or message.keys() & {"tool_calls", *MEANT} for message in messages)


def _compare(read: Plain | Dialogue | Dropped, fields: Fields, where: str) -> None:
    """Raises DataError where another column that could be the prompt differs from it."""
    if isinstance(read, Dropped):
        return
    texts = [read.prompt] if isinstance(read, Plain) else [message["content"] for message in read.prompt]
    known = [" ".join(text.split()) for text in texts]
    for name, value in fields.beside:
        for text in _asked_in(value, f"{where}: {name!r}"):
            if not any(" ".join(text.split()) in each for each in known):
                raise DataError(
                    f"{where}: {name!r} and {fields.column!r} differ, and each could be the prompt. Drop one of them: "
                    f"--columns ignore={name}, or ignore={fields.column}."
                )


def _asked_in(value: Any, where: str) -> list[str]:
    """The messages of others than the assistant in a column beside the prompt."""
    try:
        given = _value(value, where)
    except DataError as error:
        name = where.rpartition(": ")[2].strip("'")
        raise DataError(f"{error} There is another prompt column: --columns ignore={name} drops this one.") from error
    return [given] if isinstance(given, str) else [each["content"] for each in given if each["role"] != "assistant"]
