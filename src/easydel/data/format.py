"""What a preference row of any accepted shape says, before any template or tokenizer sees it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from easydel.data.column_names import CONVERSATIONS, IDS, NUMBERS, OF_IDS, QUESTIONS, READ, renamed
from easydel.data.dialogue import parts_of
from easydel.data.messages import Message, kind, read_messages, read_tools, text_of
from easydel.data.row_shapes import EMPTY, FORMS, MEDIA, TELLING, Fields, fields_of
from easydel.data.values import from_json, is_empty, of_text, without_nulls, written_out
from easydel.errors import DataError

__all__ = ("FORMS", "Dialogue", "Dropped", "Plain", "columns_of", "content_of", "read_row", "shared_beginning")
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
    prompt = None if fields.prompt is None else _value(fields.prompt, f"{where}: {fields.column!r}")
    if isinstance(prompt, str) and fields.source in CONVERSATIONS:
        raise DataError(f"{where}: {fields.column!r} is text; it must be a list of messages, or be called 'prompt'.")
    around = [fields.system, fields.history, fields.tools, fields.options]
    talks = isinstance(prompt, list) or fields.is_question or any(map(_holds, around))
    if isinstance(chosen, str) and isinstance(rejected, str) and not isinstance(prompt, list) and not talks:
        said = _from_text(prompt, chosen, rejected, where, fields.lacking)
    elif talks or (isinstance(chosen, list) and isinstance(rejected, list)):
        said = _from_messages(fields, prompt, chosen, rejected, where)
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
        value, keep_nulls = written, True
    if isinstance(value, list | Mapping):
        return read_messages(value if isinstance(value, list) else [value], where, keep_nulls=keep_nulls)
    raise DataError(f"{where} is {kind(value)}; it must be text or a list of messages.{of_text(value)}")


def _holds(value: Any) -> bool:
    return not is_empty(without_nulls(value))


def _from_text(prompt: str | None, chosen: str, rejected: str, where: str, lacking: str) -> Plain:
    if prompt is None:
        length = shared_beginning(chosen, rejected)
        if not length:
            raise DataError(
                f"{where}: {lacking or 'no column holds a prompt, and '}'chosen' and 'rejected' share no beginning "
                "that could be one. Add a 'prompt' column."
            )
        return Plain(chosen[:length], chosen[length:], rejected[length:])
    return Plain(prompt, *_once(prompt, chosen, rejected))


def _once(prompt: str, chosen: str, rejected: str) -> tuple[str, str]:
    """Two completions without the prompt that both may begin with."""
    if all(text.startswith(prompt) and len(text) > len(prompt) for text in (chosen, rejected)):
        return chosen[len(prompt) :], rejected[len(prompt) :]
    return chosen, rejected


def _from_messages(
    fields: Fields,
    prompt: str | list[Message] | None,
    chosen: str | list[Message],
    rejected: str | list[Message],
    where: str,
) -> Dialogue | Dropped:
    if isinstance(prompt, str) and isinstance(chosen, str) and isinstance(rejected, str) and _is_asking(prompt):
        chosen, rejected = (text.lstrip() for text in _once(prompt, chosen, rejected))
    asked = [*_history(fields.history, where), *_as_messages("user", prompt or [])]
    sides = [_as_messages("assistant", side) for side in (chosen, rejected)]
    if any(map(_says_nothing, sides)):
        return Dropped(EMPTY)
    if _holds(fields.system):
        text = text_of(fields.system, f"{where}: 'system'")
        if not any(messages and messages[0]["role"] == "system" for messages in (asked, *sides)):
            asked = [{"role": "system", "content": text}, *asked]
    names = (fields.column or "prompt", *fields.sides)
    parts = parts_of(asked, sides[0], sides[1], names, where, fields.lacking)
    if any(_says_nothing(side) for side in parts[1:]):
        return Dropped(EMPTY)
    tools = read_tools(fields.tools, f"{where}: 'tools'") if _holds(fields.tools) else None
    return Dialogue(parts.prompt, parts.chosen, parts.rejected, tools, _options(fields.options, where))


def _as_messages(role: str, value: str | list[Message]) -> list[Message]:
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def _is_asking(text: str) -> bool:
    """Whether an answer that begins with this text repeats it: a greeting is given back, a question is not."""
    return text.rstrip().endswith(("?", ":")) or len(text.split()) >= 5


def _says_nothing(messages: list[Message]) -> bool:
    return not any(message["content"] or len(message) > 2 for message in messages)


def _history(history: Any, where: str) -> list[Message]:
    """The turns before the question: pairs of what a user and the model said, or messages."""
    if is_empty(history):
        return []
    wanted = "It must be a list of [question, answer] pairs, or of messages."
    if isinstance(history, str):
        history = from_json(history, f"{where}: 'history'", wanted)
    if isinstance(history, list) and all(isinstance(turn, Mapping) for turn in history):
        return read_messages(history, f"{where}: 'history'")
    turns: list[Message] = []
    for at, turn in enumerate(history if isinstance(history, list) else [history]):
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
            raise DataError(f"{where}: 'history' {at} is {kind(turn)}. {wanted}")
        turns += [{"role": role, "content": text} for role, text in zip(("user", "assistant"), turn, strict=True)]
    return turns


def _options(options: Any, where: str) -> Mapping[str, Any]:
    wanted = "it must be a dict."
    if isinstance(options, str) and options:
        options = from_json(options, f"{where}: 'chat_template_kwargs'", wanted)
    if options is not None and not isinstance(options, Mapping):
        raise DataError(f"{where}: 'chat_template_kwargs' is {kind(options)}; {wanted}")
    # Columnar files give every row every key: None there means that this row did not set it.
    return {key: value for key, value in (options or {}).items() if value is not None}


def _compare(said: Plain | Dialogue | Dropped, fields: Fields, where: str) -> None:
    """Raises DataError where another column that could be the prompt says something else."""
    if isinstance(said, Dropped):
        return
    texts = [said.prompt] if isinstance(said, Plain) else [message["content"] for message in said.prompt]
    known = {" ".join(text.split()) for text in texts}
    for name, value in fields.beside:
        given = _value(value, f"{where}: {name!r}")
        asked = (
            [given] if isinstance(given, str) else [each["content"] for each in given if each["role"] != "assistant"]
        )
        for text in asked:
            if " ".join(text.split()) not in known:
                raise DataError(
                    f"{where}: {name!r} is not what {fields.column!r} says, and each could be the prompt. Leave one "
                    f"out: --columns ignore={name}, or ignore={fields.column}."
                )
