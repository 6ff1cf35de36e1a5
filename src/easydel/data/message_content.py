"""The content of a message: a string, a list of parts, thoughts in front of them, or the result of a tool."""

import json
from collections.abc import Mapping
from typing import Any

from easydel.data.plain_values import check_json, is_void, not_string_hint, without_nulls
from easydel.data.text_literals import parsed
from easydel.errors import DataError

_TEXT_PARTS = (None, "text", "input_text", "output_text")
_THINKING = ("thinking", "reasoning")


def kind(value: Any) -> str:
    """Returns what an error message calls a value.

    >>> kind({"from": "human"}), kind([1]), kind(3)
    ("a dict with the keys 'from'", 'a list of int', '3 (int)')
    """
    if isinstance(value, str):
        return "a string"
    if isinstance(value, Mapping):
        return "a dict with the keys " + (", ".join(map(repr, value)) or "(none)")
    if isinstance(value, list):
        return f"a list of {type(value[0]).__name__}" if value else "an empty list"
    return "None" if value is None else f"{value!r:.40} ({type(value).__name__})"


def text_of(content: Any, where: str) -> str:
    """Returns the text of a content: a string, a text part, or a list of parts.

    >>> text_of([{"type": "text", "text": "a"}, "b"], "row 0")
    'ab'

    Raises:
        DataError: beginning with `where`, a part that is not text.
    """
    if isinstance(content, str):
        parts = _written_parts(content)
        return "".join(part["text"] for part in parts) if parts else content
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        raise DataError(f"{where} is {kind(content)}; it must be a string.{not_string_hint(content)}")
    return "".join(_text_of_part(part, f"{where} part {at}") for at, part in enumerate(content) if not is_void(part))


def without_thoughts(content: Any, where: str) -> tuple[Any, str]:
    """Returns a content without the thoughts in front of it, and their text.

    >>> without_thoughts([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "4"}], "row 0")
    ([{'type': 'text', 'text': '4'}], 'hm')

    Raises:
        DataError: beginning with `where`, a thought that is not text.
    """
    parts, thoughts = content, []
    while isinstance(parts, list) and parts and isinstance(parts[0], Mapping) and parts[0].get("type") in _THINKING:
        part = parts[0]
        said = next((part[name] for name in (*_THINKING, "text", "summary") if not is_void(part.get(name))), "")
        thoughts.append(text_of(said, f"{where} part {len(thoughts)}"))
        parts = parts[1:]
    return parts, "".join(thoughts)


def result_of(content: Any, where: str) -> Any:
    """Returns the result of a tool: content as it is, any other value as JSON.

    >>> [result_of(value, "row 0") for value in ({"degrees": 4}, 4.5, [{"text": "a"}])]
    ['{"degrees": 4}', '4.5', [{'text': 'a'}]]

    Raises:
        DataError: beginning with `where`, a value that JSON cannot hold.
    """
    parts = content if isinstance(content, list) else [content]
    if isinstance(content, str | None) or all(isinstance(part, str) or _is_text_part(part) for part in parts):
        return content
    return json.dumps(check_json(without_nulls(content), where), ensure_ascii=False)


def _text_of_part(part: Any, where: str) -> str:
    given = without_nulls(part)
    if isinstance(given, Mapping) and _is_text_part(given):
        return given["text"]
    if isinstance(given, Mapping) and given.get("type") == "refusal" and isinstance(given.get("refusal"), str):
        return given["refusal"]
    if not isinstance(given, str):
        name = given.get("type") if isinstance(given, Mapping) else None
        shown = f"of type {name!r}" if name is not None else kind(given)
        raise DataError(f"{where} is {shown}; only text can be trained on, as parts {{'type': 'text'}}.")
    return given


def _is_text_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str)


def _written_parts(text: str) -> list[Mapping[str, Any]]:
    """The parts that a JSON string of them holds; [] for any other string."""
    begin = text[:40].lstrip().removeprefix("[").lstrip().removeprefix("{").lstrip()[1:]
    if not text.lstrip().startswith("[") or not begin.startswith(("type", "text")):
        return []
    parts = without_nulls(parsed(text))
    typed = isinstance(parts, list) and all(_is_text_part(part) and part.keys() == {"type", "text"} for part in parts)
    return parts if typed else []
