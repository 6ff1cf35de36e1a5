"""The shapes of public preference rows: which columns ask, which answer, and which say what answer is better."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from easydel.data.column_names import (
    CONVERSATIONS,
    NUMBERS,
    QUESTIONS,
    READ,
    SIDES,
    SYSTEMS,
    TOOLS,
    renamed,
)
from easydel.data.messages import kind
from easydel.data.ranked import CANDIDATES, RANKS, VERDICTS, WORTH, Candidates, Verdict, preferred, ranked
from easydel.data.values import is_empty, plain, strings, written_out
from easydel.errors import DataError, closest

FORMS = (
    "a row holds text or a list of {role, content} messages as 'prompt', 'chosen' and 'rejected'; or as "
    "'chosen' and 'rejected' that share their beginning; or 'messages' (ShareGPT: 'conversations') with an answer "
    "each as 'chosen' and 'rejected'; or token ids as 'prompt_ids', 'chosen_ids' and 'rejected_ids'"
)
EMPTY = "an answer is empty"
# Columns that would change what a row says, if they hold something and nothing is read from them.
TELLING = frozenset(
    (
        *("prompt", "context", "history", *CONVERSATIONS, *QUESTIONS, *SYSTEMS, *TOOLS, "chat_template_kwargs"),
        *(name for verdict in VERDICTS for name in verdict.columns),
        *("sys_prompt", "system_instruction", "instructions", "contexts", "inputs", "questions", "user", "user_prompt"),
        *("user_message", "prompt_text", "documents", "passage", "rank", "ranks"),
    )
)
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
# What stands beside texts whose prompt is their beginning, and cannot be the prompt.
_HARMLESS = re.compile(
    r"_|.*(id|idx|ids|uid|uuid|index|hash|source|model|dataset|score|rating|reward|rationale|split|subset|category|type|"
    r"lang|language|url|link|date|time|timestamp|domain|topic|tags?|license|author|info|name|version|annotator|comment|"
    r"feedback|critique|file|path|difficulty|status|level|quality|count|tokens|length|metadata|meta)s?$|"
    r"(source|model|dataset|meta|chosen|rejected|generat|num|score|rating|raw|original|label)"
)


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


class _Columns:
    """The columns of one row under the names that are read; remembers which were."""

    def __init__(self, row: Mapping[str, Any], columns: Mapping[str, Any], number: int) -> None:
        self.number = number
        self.names = renamed(row, columns, number)
        self.row = row
        self.used: dict[str, None] = {}
        self._plain: dict[str, Any] = {}

    def has(self, name: str) -> bool:
        return name in self.names and not is_empty(self.look(name))

    def look(self, name: str) -> Any:
        """The value of a column, plain; None where there is none."""
        if name not in self.names:
            return None
        if name not in self._plain:
            self._plain[name] = plain(self.row[self.names[name]], f"row {self.number}: {self.names[name]!r}")
        return self._plain[name]

    def take(self, *names: str) -> tuple[str, Any]:
        """The first of the columns that holds something, and its value; it counts as used."""
        for name in names:
            if not is_empty(value := self.look(name)):
                self.used[name] = None
                return name, value
        return "", None


def fields_of(row: Mapping[str, Any], number: int, columns: Mapping[str, Any]) -> Fields:
    """Returns the values of a row of text or conversations by what they are.

    Raises:
        DataError: a row of no known shape, or a column that would change its meaning and is not read.
    """
    have = _Columns(row, columns, number)
    for name in MEDIA:
        if have.has(name):
            raise DataError(
                f"row {number}: {name!r} holds {kind(have.look(name))}; only text can be trained on. "
                f"{_way_out(name, 'if the text says all')}"
            )
    answers = _answers(have)
    source, prompt, is_question = _prompt(have)
    options, tools = have.take("chat_template_kwargs")[1], have.take(*TOOLS)[1]
    if source == "input" and isinstance(prompt, Mapping) and "messages" in prompt:  # as OpenAI takes preferences
        prompt, tools = prompt["messages"], tools or prompt.get("tools")
        prompt = None if is_empty(prompt) else prompt
    system, history = have.take(*SYSTEMS)[1], have.take("history")[1]
    if source == "" and isinstance(history, str):  # SHP: the post that two comments answer
        source, prompt, is_question, history = "history", history, True, None
    fields = answers._replace(
        prompt=prompt,
        source=source or None,
        column=have.names.get(source),
        lacking=_lacking(have) if prompt is None else "",
        is_question=is_question,
        system=system,
        history=history,
        tools=tools,
        options=options,
    )
    fields = fields._replace(beside=tuple(_beside(have, fields)))
    if prompt is None and isinstance(fields.chosen, str) and written_out(fields.chosen, "") is None:
        _refuse_unread(have, fields)
    numbers = [name for name in NUMBERS if have.has(name)]
    return fields._replace(used=tuple(have.names[name] for name in [*have.used, *numbers]))


def _answers(have: _Columns) -> Fields:
    for sides in SIDES:
        if any(have.has(name) for name in sides):
            return _two_sides(have, sides)
    judged = [verdict for verdict in VERDICTS if any(have.has(name) for name in verdict.responses)]
    if judged:
        return _judged(have, max(judged, key=lambda verdict: sum(name in have.names for name in verdict.responses)))
    for texts in CANDIDATES:
        if isinstance(value := have.look(texts), list | Mapping) and value:
            worth = next((name for name in WORTH if have.has(name) and isinstance(have.look(name), list)), None)
            found = ranked(value, worth and have.look(worth), f"row {have.number}: {texts!r}", by_rank=worth in RANKS)
            if found is not None:
                have.used |= dict.fromkeys([texts] if worth is None else [texts, worth])
                return _pair(found, (texts, texts))
    for sides in SIDES:
        if all(name in have.names for name in sides):
            return _two_sides(have, sides)
    raise DataError(_no_answers(have))


def _two_sides(have: _Columns, sides: tuple[str, str]) -> Fields:
    for name in sides:
        if name not in have.names:
            raise DataError(_missing(have, name))
        have.used[name] = None
    chosen, rejected = (have.look(name) for name in sides)
    names = (have.names[sides[0]], have.names[sides[1]])
    return Fields(chosen, rejected, names, dropped=EMPTY if is_empty(chosen) or is_empty(rejected) else "")


def _judged(have: _Columns, verdict: Verdict) -> Fields:
    first, second = (have.take(name)[1] for name in verdict.responses)
    column = next((name for name in verdict.columns if have.has(name)), None)
    if column is None:
        known = [name for name in verdict.columns if name in have.names]
        if not known:
            raise DataError(
                f"row {have.number} has {' and '.join(map(repr, verdict.responses))}, and no column says which is "
                f"better: {', '.join(map(repr, verdict.columns))}. {FORMS[0].upper()}{FORMS[1:]}."
            )
        column = known[0]
    have.used[column] = None
    where = f"row {have.number}: {have.names[column]!r}"
    return _pair(preferred(first, second, verdict.better(have.look(column), where)), verdict.responses)


def _pair(found: Candidates, sides: tuple[str, str]) -> Fields:
    chosen, rejected, dropped = found
    if not dropped and (is_empty(chosen) or is_empty(rejected)):
        dropped = EMPTY
    return Fields(chosen, rejected, sides, dropped=dropped)


def _prompt(have: _Columns) -> tuple[str, Any, bool]:
    """The column of the prompt, its value, and whether it is what a user says."""
    name, value = have.take("prompt", *CONVERSATIONS)
    if name:
        return name, value, False
    if isinstance(value := have.look("context"), list) or (
        isinstance(value, str) and written_out(value, "") is not None
    ):
        return (*have.take("context"), False)
    name, value = have.take(*QUESTIONS)
    if name == "instruction" and have.has("input"):
        more = have.take("input")[1]
        for column, text in (("instruction", value), ("input", more)):
            if not isinstance(text, str):
                raise DataError(f"row {have.number}: {column!r} is {kind(text)}; beside another it must be text.")
        value = f"{value}\n{more}"
    return name, value, bool(name)


def _lacking(have: _Columns) -> str:
    name = next((name for name in ("prompt", *CONVERSATIONS, *QUESTIONS) if name in have.names), None)
    if name is None:
        return ""
    return f"{have.names[name]!r} is {'None' if have.look(name) is None else 'empty'}, and "


def _beside(have: _Columns, fields: Fields) -> Iterator[tuple[str, Any]]:
    """Yields the columns that hold a prompt too; raises DataError for what would change the meaning otherwise."""
    said = {_bare(text) for value in (fields.prompt, fields.system) for text in strings(value)}
    for name in have.names:
        if name in have.used or _canonical(name) not in TELLING or not have.has(name):
            continue
        value = have.look(name)
        if isinstance(value, str) and _bare(value) in said:
            continue
        if _canonical(name) in ("prompt", *CONVERSATIONS, *QUESTIONS) and fields.source is not None:
            yield name, value
            continue
        if name == "safer_response_id" and "better_response_id" in have.used:
            continue
        asks = "" if fields.source else f"Is it the prompt? --columns prompt={name}. "
        raise DataError(
            f"row {have.number}: the column {name!r} could change what the row says, and nothing is read from it here. "
            f"{asks}{_way_out(name, 'if it does not')}"
        )


def _refuse_unread(have: _Columns, fields: Fields) -> None:
    """Raises DataError for a column of text beside texts without a prompt: it may be the prompt."""
    for name in have.names:
        if name in have.used or name in READ or _HARMLESS.match(_canonical(name)) or not have.has(name):
            continue
        if any(" " in text.strip() or len(text) > 20 for text in strings(have.look(name))):
            raise DataError(
                f"row {have.number} has no 'prompt', and {name!r} could be it: --columns prompt={name} (a text that "
                f"the answers follow) or question={name} (what a user says). {_way_out(name, 'if it is not')}"
            )


def _way_out(name: str, condition: str) -> str:
    return f"--columns ignore={name} leaves it out, {condition}."


def _canonical(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_") if isinstance(name, str) else ""


def _bare(text: str) -> str:
    return " ".join(text.split())


def _missing(have: _Columns, name: str) -> str:
    columns = ", ".join(map(repr, have.row)) or "none"
    similar = closest(name, [str(each) for each in have.row])
    hint = f" Should {similar!r} be called {name!r}?" if similar else ""
    return f"row {have.number} has no {name!r}. Its columns: {columns}.{hint} Expected: {FORMS}."


def _no_answers(have: _Columns) -> str:
    one = next((name for name in ("completion", "response", "output", "answer") if have.has(name)), None)
    label = next((name for name in ("label", "labels", "score", "rating") if name in have.names), None)
    if one and label:
        return (
            f"row {have.number} holds one answer, {one!r}, and {label!r}, as KTO is trained on; a pair of answers to "
            "the same prompt is needed, as 'chosen' and 'rejected'."
        )
    return _missing(have, next((name for name in ("chosen", "rejected") if name not in have.names), "chosen"))
