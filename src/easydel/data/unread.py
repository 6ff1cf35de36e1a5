"""Columns that are not read: those that could change the meaning of a row are refused, the others ignored."""

import re
from collections.abc import Iterator
from typing import Any

from easydel.data.column_names import CONVERSATIONS, QUESTIONS, READ, SYSTEMS, TOOLS, RowColumns, numbers_among
from easydel.data.message_content import kind
from easydel.data.plain_values import leaves
from easydel.data.rankings import CANDIDATES
from easydel.data.text_literals import parsed
from easydel.errors import DataError

# Columns that would change the meaning of a row, if they hold something and are not read.
TELLING = frozenset(
    (
        *("prompt", "context", "history", *CONVERSATIONS, *QUESTIONS, *SYSTEMS, *TOOLS, "chat_template_kwargs"),
        *("better_response_id", "safer_response_id", "overall_preference", "preference_strength", "winner"),
        *("label", "labels", "preference", "preferred", "rank", "ranks"),
        *("sys_prompt", "system_instruction", "instructions", "contexts", "inputs", "questions", "user", "user_prompt"),
        *("user_message", "user_input", "prompt_text", "documents", "document", "passage", "passages", "article"),
        *("background", "knowledge", "preamble", "persona", "schema", "sql_context", "choices", "initial_reason_steps"),
    )
)
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
# What stands beside texts whose prompt is their beginning, and cannot be the prompt.
_HARMLESS = re.compile(
    r"_|.*(id|idx|ids|uid|uuid|index|hash|source|model|dataset|score|rating|reward|rationale|split|subset|category|type|"
    r"lang|language|url|link|date|time|timestamp|domain|tags?|license|author|info|name|version|annotator|comment|"
    r"feedback|critique|file|path|difficulty|status|level|quality|count|tokens|length|metadata|meta)s?$"
)
_HARMLESS_BEGIN = re.compile(r"(source|model|dataset|meta|chosen|rejected|generat|num|score|rating|raw|original|label)")
_ASKING = re.compile(r"prompt|question|instruction|query|problem|request|message|conversation|dialog|input")
_LABEL = re.compile(r"[\w.:/@+-]{0,40}", re.ASCII)


def beside(have: RowColumns, source: str | None, *read: Any) -> Iterator[tuple[str, Any]]:
    """Yields the columns that hold a prompt too; raises DataError for what would change the meaning of the row.

    Args:
        source: what the prompt is read as.
        read: the values of prompt and system, which another column may repeat.
    """
    numbers = numbers_among(have.names)
    known = {_bare(text) for text in leaves(read) if isinstance(text, str)}
    for name in have.names:
        if name in have.used or _canonical(name) not in TELLING or name in numbers or not have.has(name):
            continue
        value = have.look(name)
        if isinstance(value, str) and _bare(value) in known:
            continue
        if _canonical(name) in ("prompt", *CONVERSATIONS, *QUESTIONS) and source is not None:
            yield name, value
            continue
        if name == "safer_response_id" and "better_response_id" in have.used:
            continue
        if name == "ranks" and isinstance(parsed(value), list) and not have.used.keys() & {*CANDIDATES}:
            continue  # of the answers of which the two were taken
        asks = "" if source else f"Is it the prompt? --columns prompt={name}. "
        raise DataError(
            f"row {have.number}: the column {name!r} could change the meaning of the row, but is not read here. "
            f"{asks}{_hint(name, 'if it does not')}"
        )


def refuse_unread(have: RowColumns) -> None:
    """Raises DataError for a column that may be the prompt of completions without one."""
    for name in have.names:
        canonical = _canonical(name)
        asks = bool(_ASKING.search(canonical))
        if name in have.used or name in READ or _HARMLESS.fullmatch(canonical) or not have.has(name):
            continue
        if _HARMLESS_BEGIN.match(canonical) and not asks:
            continue
        texts = [text.strip() for text in leaves(have.look(name)) if isinstance(text, str)]
        if any(text and (asks or not _LABEL.fullmatch(text)) for text in texts):
            raise DataError(
                f"row {have.number} has no 'prompt', and {name!r} could be it: --columns prompt={name} (a text that "
                f"the completions follow) or question={name} (what a user says). {_hint(name, 'if it is not')}"
            )


def refuse_media(have: RowColumns) -> None:
    """Raises DataError for a column of images, videos or audio that is not empty."""
    for name in MEDIA:
        if have.has(name):
            raise DataError(
                f"row {have.number}: {name!r} holds {kind(have.look(name))}; only text can be trained on. "
                f"{_hint(name, 'if the text says all')}"
            )


def _hint(name: str, condition: str) -> str:
    return f"--columns ignore={name} leaves it out, {condition}."


def _canonical(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_") if isinstance(name, str) else ""


def _bare(text: str) -> str:
    return " ".join(text.split())
