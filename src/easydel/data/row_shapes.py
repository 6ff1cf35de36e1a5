"""The shapes of public preference rows: which columns are the prompt, the completions, and what goes with them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from easydel.data.column_names import CONVERSATIONS, QUESTIONS, SYSTEMS, TOOLS, RowColumns
from easydel.data.completion_columns import EMPTY, completions_of
from easydel.data.message_content import kind
from easydel.data.messages import roles_in
from easydel.data.plain_values import is_void
from easydel.data.text_literals import parsed
from easydel.data.unread import beside, refuse_media, refuse_unread
from easydel.errors import DataError


class Fields(NamedTuple):
    """The values of a row by their meaning, before they are read as messages; `dropped` says why there is no pair."""

    chosen: Any
    rejected: Any
    completion_columns: tuple[str, str]
    prompt: Any = None
    source: str | None = None  # what the prompt is read as
    column: str | None = None  # its name in the row
    is_question: bool = False  # text that a user says, not the beginning of a text
    lacking: str = ""  # says why there is no prompt, as the beginning of a message
    system: Any = None
    history: Any = None
    tools: Any = None
    options: Any = None
    beside: tuple[tuple[str, Any], ...] = ()  # other columns that could be the prompt
    used: tuple[str, ...] = ()
    dropped: str = ""


def fields_of(row: Mapping[str, Any], number: int, columns: Mapping[str, Any]) -> Fields:
    """Returns the values of a row of text or conversations by their meaning.

    Raises:
        DataError: a row of unknown shape, or a column that would change its meaning and is not read.
    """
    have = RowColumns(row, columns, number)
    refuse_media(have)
    completions = completions_of(have)
    source, prompt, is_question = _prompt(have)
    options, tools = have.take("chat_template_kwargs")[1], have.take(*TOOLS)[1]
    if source == "input" and isinstance(prompt, Mapping) and "messages" in prompt:  # as OpenAI takes preferences
        prompt, tools = prompt["messages"], tools or prompt.get("tools")
        prompt = None if is_void(prompt) else prompt
    system, history = have.take(*SYSTEMS)[1], have.take("history")[1]
    if source == "" and isinstance(history, str):  # SHP: the post that two comments reply to
        source, prompt, is_question, history = "history", history, True, None
    fields = Fields(
        *completions[:3],
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
        dropped=completions.dropped,
    )
    where = f"row {number}: {fields.completion_columns[0]!r}"
    if prompt is None and not fields.dropped and "user" not in roles_in(fields.chosen, where):
        refuse_unread(have)
    if "winner_model_a" in have.used and not fields.dropped:
        fields = _in_threads(fields)
    return fields._replace(used=tuple(have.names[name] for name in have.used))


def _in_threads(fields: Fields) -> Fields:
    """Arena rows, whose prompt and completions are JSON lists of the text of each turn, as conversations."""
    texts = [listed_texts(value) for value in (fields.prompt, fields.chosen, fields.rejected)]
    if any(each is None for each in texts) or len({len(each or []) for each in texts}) != 1:
        return fields
    asked, *both = texts
    whole = [
        [{"role": role, "content": text} for turn in zip(asked or [], each or [], strict=True)
         for role, text in zip(("user", "assistant"), turn, strict=True)]
        for each in both
    ]  # fmt: skip
    empty = any(not (each and each[-1]) for each in both)
    return fields._replace(prompt=None, chosen=whole[0], rejected=whole[1], dropped=EMPTY if empty else "")


def listed_texts(value: Any) -> list[str] | None:
    """Returns a list of strings, which may be given as JSON; None for anything else.

    >>> listed_texts('["a", null]'), listed_texts("a")
    (['a', ''], None)
    """
    value = parsed(value)
    if not isinstance(value, list) or not all(isinstance(text, str | None) for text in value):
        return None
    return [text or "" for text in value]


def _prompt(have: RowColumns) -> tuple[str, Any, bool]:
    """The column of the prompt, its value, and whether it is a user's message."""
    name, value = have.take("prompt", *CONVERSATIONS)
    if name:
        return name, value, False
    for name in ("context", "trajectory"):  # of HelpSteer and UltraInteract
        if "user" in roles_in(have.look(name), f"row {have.number}: {name!r}"):
            return (*have.take(name), False)
    name, value = have.take(*QUESTIONS)
    if isinstance(found := parsed(value), Mapping) and found.keys() & {"full_text", "messages"}:
        value = found.get("full_text", found)  # WebGPT, OpenAI
    if name == "instruction" and have.has("input") and str(have.look("input")).strip():
        more = have.take("input")[1]
        for column, text in (("instruction", value), ("input", more)):
            if not isinstance(text, str):
                raise DataError(
                    f"row {have.number}: {column!r} is {kind(text)}; where 'instruction' and 'input' are both given, "
                    "each must be a string."
                )
        value = f"{value}\n{more}"
    return name, value, bool(name)


def _lacking(have: RowColumns) -> str:
    name = next((name for name in ("prompt", *CONVERSATIONS, *QUESTIONS) if name in have.names), None)
    if name is None:
        return "there is no prompt column, and "
    return f"{have.names[name]!r} is {'None' if have.look(name) is None else 'empty'}, and "
