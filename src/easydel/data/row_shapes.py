"""The shapes of public preference rows: what asks, what answers, and what stands around them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from easydel.data.answers import EMPTY, answers_of
from easydel.data.column_names import CONVERSATIONS, NUMBERS, QUESTIONS, SYSTEMS, TOOLS
from easydel.data.contents import kind
from easydel.data.literals import parsed
from easydel.data.messages import listed, role_of
from easydel.data.row_columns import RowColumns
from easydel.data.unread import beside, refuse_media, refuse_unread
from easydel.data.values import is_void, written_out
from easydel.errors import DataError


class Fields(NamedTuple):
    """The values of a row by what they are, before they are read as messages; `dropped` says why there is no pair."""

    chosen: Any
    rejected: Any
    sides: tuple[str, str]  # the columns of the two
    prompt: Any = None
    source: str | None = None  # what the prompt is read as
    column: str | None = None  # where it stands in the row
    is_question: bool = False  # text that a user says, not the beginning of a text
    lacking: str = ""  # of a column that could hold the prompt, that it holds nothing
    system: Any = None
    history: Any = None
    tools: Any = None
    options: Any = None
    beside: tuple[tuple[str, Any], ...] = ()  # other columns that could be the prompt
    used: tuple[str, ...] = ()
    dropped: str = ""


def fields_of(row: Mapping[str, Any], number: int, columns: Mapping[str, Any]) -> Fields:
    """Returns the values of a row of text or conversations by what they are.

    Raises:
        DataError: a row of no known shape, or a column that would change its meaning and is not read.
    """
    have = RowColumns(row, columns, number)
    refuse_media(have)
    answers = answers_of(have)
    source, prompt, is_question = _prompt(have)
    options, tools = have.take("chat_template_kwargs")[1], have.take(*TOOLS)[1]
    if source == "input" and isinstance(prompt, Mapping) and "messages" in prompt:  # as OpenAI takes preferences
        prompt, tools = prompt["messages"], tools or prompt.get("tools")
        prompt = None if is_void(prompt) else prompt
    system, history = have.take(*SYSTEMS)[1], have.take("history")[1]
    if source == "" and isinstance(history, str):  # SHP: the post that two comments answer
        source, prompt, is_question, history = "history", history, True, None
    fields = Fields(
        *answers[:3],
        prompt=prompt,
        source=source or None,
        column=have.names.get(source),
        lacking=_lacking(have) if prompt is None else "",
        is_question=is_question,
        system=system,
        history=history,
        tools=tools,
        options=options,
        beside=tuple(beside(have, source or None, prompt, system)),
        dropped=answers.dropped,
    )
    if prompt is None and not fields.dropped and not _asks(fields.chosen, f"row {number}: {fields.sides[0]!r}"):
        refuse_unread(have)
    if "winner_model_a" in have.used and not fields.dropped:
        fields = _in_threads(fields)
    numbers = [name for name in NUMBERS if have.has(name)]
    return fields._replace(used=tuple(have.names[name] for name in [*have.used, *numbers]))


def _asks(answer: Any, where: str) -> bool:
    """Whether a conversation holds a question too."""
    if isinstance(answer, str) and (written := written_out(answer, where)):
        answer = written.value
    messages = [] if answer is None else listed(answer)
    return any(isinstance(each, Mapping) and role_of(each) == "user" for each in messages)


def _in_threads(fields: Fields) -> Fields:
    """Arena rows whose prompt and answers are lists of what was said in each turn, in JSON, as conversations."""
    said = [listed_texts(value) for value in (fields.prompt, fields.chosen, fields.rejected)]
    if any(texts is None for texts in said) or len({len(texts or []) for texts in said}) != 1:
        return fields
    asked, *sides = said
    whole = [
        [{"role": role, "content": text} for turn in zip(asked or [], side or [], strict=True)
         for role, text in zip(("user", "assistant"), turn, strict=True)]
        for side in sides
    ]  # fmt: skip
    empty = any(not (side and side[-1]) for side in sides)
    return fields._replace(prompt=None, chosen=whole[0], rejected=whole[1], dropped=EMPTY if empty else "")


def listed_texts(value: Any) -> list[str] | None:
    """Returns the texts of a list of them, or of JSON text of one; None for anything else.

    >>> listed_texts('["a", null]'), listed_texts("a")
    (['a', ''], None)
    """
    value = parsed(value)
    if not isinstance(value, list) or not all(isinstance(text, str | None) for text in value):
        return None
    return [text or "" for text in value]


def _prompt(have: RowColumns) -> tuple[str, Any, bool]:
    """The column of the prompt, its value, and whether it is what a user says."""
    name, value = have.take("prompt", *CONVERSATIONS)
    if name:
        return name, value, False
    for name in ("context", "trajectory"):  # of HelpSteer and UltraInteract
        if _asks(have.look(name), f"row {have.number}: {name!r}"):
            return (*have.take(name), False)
    name, value = have.take(*QUESTIONS)
    if isinstance(found := parsed(value), Mapping) and found.keys() & {"full_text", "messages"}:
        value = found.get("full_text", found)  # WebGPT, OpenAI
    if name == "instruction" and have.has("input") and str(have.look("input")).strip():
        more = have.take("input")[1]
        for column, text in (("instruction", value), ("input", more)):
            if not isinstance(text, str):
                raise DataError(f"row {have.number}: {column!r} is {kind(text)}; beside another it must be text.")
        value = f"{value}\n{more}"
    return name, value, bool(name)


def _lacking(have: RowColumns) -> str:
    name = next((name for name in ("prompt", *CONVERSATIONS, *QUESTIONS) if name in have.names), None)
    if name is None:
        return ""
    return f"{have.names[name]!r} is {'None' if have.look(name) is None else 'empty'}, and "
