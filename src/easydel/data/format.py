"""What a preference row of any accepted shape says, before any template or tokenizer sees it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.data.answers import EMPTY, FORMS
from easydel.data.around import Around, read_around, turns_of
from easydel.data.column_names import CONVERSATIONS, IDS, NUMBERS, OF_IDS, QUESTIONS, READ, renamed
from easydel.data.contents import kind
from easydel.data.dialogue import parts_of
from easydel.data.literals import parsed
from easydel.data.messages import MEANT, Message, listed, read_messages
from easydel.data.repeats import is_asking, once
from easydel.data.row_shapes import Fields, fields_of
from easydel.data.unread import MEDIA, TELLING
from easydel.data.values import is_empty, of_text, written_out
from easydel.errors import DataError

__all__ = ("FORMS", "Dialogue", "Dropped", "Plain", "columns_of", "content_of", "read_row", "shared_beginning")
_ASK = "Add a 'prompt' or 'question' column with what a user says."
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
    """Returns what one row says.

    The answers are in `chosen` and `rejected`, or in the columns of a public shape (`easydel.data.row_shapes`). The
    prompt is in `prompt`, or a conversation in `messages` or `conversations`, or what a user says in `question`,
    `instruction` (with `input`) or `query`. Without any of these it is what chosen and rejected begin with: whole
    messages, or characters backing off one trailing space. Text beside a text `prompt` stays text; what a user says,
    and a prompt beside `system`, `history`, `tools` or `chat_template_kwargs`, is a conversation. A row with an empty
    answer, or of which no answer is better, is dropped.

    >>> read_row({"chosen": "Hi you", "rejected": "Hi me"}, 0)
    Plain(prompt='Hi', chosen=' you', rejected=' me')

    Args:
        columns: which column stands for which that is read, see `easydel.data.column_names.read_columns`.

    Raises:
        DataError: naming the row, the field and the way out.
    """
    fields = fields_of(row, number, columns)
    if fields.dropped:
        return Dropped(fields.dropped)
    where = f"row {number}"
    chosen, rejected = (
        _value(value, f"{where}: {name!r}")
        for value, name in zip((fields.chosen, fields.rejected), fields.sides, strict=True)
    )
    turns = turns_of(parsed(fields.prompt)) if fields.source in CONVERSATIONS else fields.prompt
    prompt = None if turns is None else _value(turns, f"{where}: {fields.column!r}")
    if isinstance(prompt, str) and fields.source in CONVERSATIONS:
        raise DataError(f"{where}: {fields.column!r} is text; it must be a list of messages, or be called 'prompt'.")
    around = read_around(fields.system, fields.history, fields.tools, fields.options, where)
    talks = isinstance(prompt, list) or fields.is_question or any(around)
    if isinstance(chosen, str) and isinstance(rejected, str) and not talks and not isinstance(prompt, list):
        said = _from_text(prompt, chosen, rejected, where, fields.lacking)
    elif talks or (isinstance(chosen, list) and isinstance(rejected, list)):
        said = _from_messages(fields, around, prompt, chosen, rejected, where)
    else:
        raise DataError(
            f"{where}: {fields.sides[0]!r} is {kind(chosen)} and {fields.sides[1]!r} is {kind(rejected)}. Give both "
            "the same form."
        )
    _compare(said, fields, where)
    return said


def columns_of(
    row: Mapping[str, Any], columns: Mapping[str, Any] = NO_COLUMNS
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the columns that a row is read from, and those that are left alone.

    >>> columns_of({"prompt": "a", "chosen": "b", "rejected": "c", "weight": 1.0, "source": "a book"})
    (('prompt', 'chosen', 'rejected', 'weight'), ('source',))
    """
    names = renamed(row, columns, 0)
    if any(name in names and row[names[name]] is not None for name in IDS):
        used = {names[name] for name in names if name in OF_IDS and row[names[name]] is not None}
    else:
        used = set(fields_of(row, 0, columns).used)
    used |= {names[name] for name in ("weight", "margin") if name in names and not is_empty(row[names[name]])}
    return tuple(name for name in row if name in used), tuple(name for name in row if name not in used)


def content_of(row: Mapping[str, Any], columns: Mapping[str, Any] = NO_COLUMNS) -> dict[str, Any]:
    """Returns all of a row that its tokens depend on, under the names that are read.

    Of columns that nothing is read from only the names of those that may not stand there.
    """
    names = renamed(row, columns, 0)
    read = {name: row[column] for name, column in names.items() if name in READ and name not in NUMBERS}
    asked = any(not is_empty(read.get(name)) for name in ("prompt", *CONVERSATIONS, *QUESTIONS))
    beside = [name for name in names if name not in READ and (not asked or name in TELLING or name in MEDIA)]
    return {"read": read, "beside": [str(name) for name in beside if not is_empty(row[names[name]])]}


def shared_beginning(chosen: Sequence[Any], rejected: Sequence[Any]) -> int:
    """Returns how many leading messages or characters are the implicit prompt of two whole sequences.

    One of each is always left as the completion, also when one sequence is the beginning of the other.

    >>> shared_beginning("Name a colour. Blue", "Name a colour. Red")
    14
    """
    shorter = min(len(chosen), len(rejected))
    length = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter - 1)
    return length - 1 if length and chosen[length - 1] == " " else length


def _value(value: Any, where: str) -> str | list[Message]:
    """A field as text or as messages, in whatever form it has them."""
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
                raise DataError(f"{where} is a list of {len(messages)} texts; it must be one, or a list of messages.")
            return messages[0]
        return read_messages(messages, where, keep_nulls=keep_nulls)
    raise DataError(f"{where} is {kind(value)}; it must be text or a list of messages.{of_text(value)}")


def _from_text(prompt: str | None, chosen: str, rejected: str, where: str, lacking: str) -> Plain | Dropped:
    if prompt is None:
        if _is_beginning(chosen, rejected):
            return Dropped(EMPTY)
        length = shared_beginning(chosen, rejected)
        if not length:
            raise DataError(
                f"{where}: {lacking or 'no column holds a prompt, and '}'chosen' and 'rejected' share no beginning "
                "that could be one. Add a 'prompt' column."
            )
        return Plain(chosen[:length], chosen[length:], rejected[length:])
    said = Plain(*once(prompt, chosen, rejected))
    is_empty_there = not (said.chosen.strip() and said.rejected.strip())
    return Dropped(EMPTY) if is_empty_there or _is_prompt_alone(*said) else said


def _is_beginning(chosen: str, rejected: str) -> bool:
    """Whether one of two different texts is what the other begins with, so that behind the shared beginning is none."""
    shorter, longer = sorted((chosen, rejected), key=len)
    return chosen != rejected and longer.startswith(shorter.rstrip())


def _is_prompt_alone(prompt: str, chosen: str, rejected: str) -> bool:
    """Whether both answers begin with the prompt, and one of them ends with it."""
    both = all(text.strip().startswith(prompt.strip()) for text in (chosen, rejected))
    return both and is_asking(prompt) and prompt.strip() in (chosen.strip(), rejected.strip())


def _from_messages(
    fields: Fields,
    around: Around,
    prompt: str | list[Message] | None,
    chosen: str | list[Message],
    rejected: str | list[Message],
    where: str,
) -> Dialogue | Dropped:
    asked = [*around.history, *_as_messages("user", prompt or [])]
    if isinstance(chosen, str) and isinstance(rejected, str):
        if not asked:
            lacking = fields.lacking or "no column holds a prompt, and "
            raise DataError(f"{where}: {lacking}text that two answers begin with is none for a conversation. {_ASK}")
        question = asked[-1]["content"] if asked[-1]["role"] == "user" else ""
        if is_asking(question):
            _, *found = once(question, chosen, rejected)
            if _is_prompt_alone(question, *found):
                return Dropped(EMPTY)
            if found != [chosen, rejected]:
                chosen, rejected = (text.lstrip() for text in found)
    sides = [_as_messages("assistant", side) for side in (chosen, rejected)]
    if any(map(_says_nothing, sides)):
        return Dropped(EMPTY)
    if around.system:
        asked = _with_system(around.system, asked, sides, where)
    names = (fields.column or "prompt", *fields.sides)
    parts = parts_of(asked, sides[0], sides[1], names, where, fields.lacking)
    if any(_says_nothing(side) for side in parts[1:]):
        return Dropped(EMPTY)
    prompt = [{key: message[key] for key in message if key != "loss"} for message in parts.prompt]
    return Dialogue(prompt, parts.chosen, parts.rejected, around.tools, around.options)


def _with_system(system: str, asked: list[Message], sides: list[list[Message]], where: str) -> list[Message]:
    """The prompt behind a system text, unless that is in the conversation."""
    first = next((each[0] for each in (asked, *sides) if each and each[0]["role"] == "system"), None)
    if first is None:
        return [{"role": "system", "content": system}, *asked]
    if system.split() != first["content"].split():
        raise DataError(
            f"{where}: 'system' is {system!r:.40}, and the conversation begins with the system message "
            f"{first['content']!r:.40}. A prompt has one: make them the same, or leave out the column, --columns "
            "ignore=system."
        )
    return asked


def _as_messages(role: str, value: str | list[Message]) -> list[Message]:
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def _says_nothing(messages: list[Message]) -> bool:
    return not any(message["content"].strip() or message.keys() & {"tool_calls", *MEANT} for message in messages)


def _compare(said: Plain | Dialogue | Dropped, fields: Fields, where: str) -> None:
    """Raises DataError where another column that could be the prompt says something else."""
    if isinstance(said, Dropped):
        return
    texts = [said.prompt] if isinstance(said, Plain) else [message["content"] for message in said.prompt]
    known = [" ".join(text.split()) for text in texts]
    for name, value in fields.beside:
        for text in _asked_in(value, f"{where}: {name!r}"):
            if not any(" ".join(text.split()) in each for each in known):
                raise DataError(
                    f"{where}: {name!r} is not what {fields.column!r} says, and each could be the prompt. Leave one "
                    f"out: --columns ignore={name}, or ignore={fields.column}."
                )


def _asked_in(value: Any, where: str) -> list[str]:
    """What is asked in a column beside the prompt."""
    try:
        given = _value(value, where)
    except DataError as error:
        name = where.rpartition(": ")[2].strip("'")
        raise DataError(f"{error} It stands beside the prompt: --columns ignore={name} leaves it out.") from error
    return [given] if isinstance(given, str) else [each["content"] for each in given if each["role"] != "assistant"]
