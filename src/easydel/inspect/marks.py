"""What a completion looks like, whatever it says: lists, markdown, refusals, the prompt once more."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from easydel.inspect.texts import normalized

_LIST = re.compile(r"^\s*(?:[-*•+]|\d{1,2}[.)])\s+\S", re.MULTILINE)
_MARKDOWN = re.compile(r"^#{1,6} \S|\*\*[^*\s][^*\n]*\*\*|^```|^\|.*\|\s*$", re.MULTILINE)
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:so |very |really )?(?:sorry|afraid|unable|not able)|i (?:can(?:not|'t| not)|won't|will not|"
    r"must decline|do(?: not|n't) feel comfortable)|(?:sorry|apologies), (?:but )?i|as an ai\b|i apologize)"
)
_OPENING = 160  # characters in which a refusal refuses
_MIN_ECHO = 20  # characters of a prompt that nobody answers with the same words


class Mark(NamedTuple):
    """Something that one of two completions may have: `found` looks at the prompt and the completion."""

    words: str
    found: Callable[[str, str], bool]


def has_list(prompt: str, completion: str) -> bool:
    """Returns whether a completion holds a list of at least two points."""
    return len(_LIST.findall(completion)) > 1


def has_markdown(prompt: str, completion: str) -> bool:
    """Returns whether a completion holds headings, bold text, tables or code blocks of markdown."""
    return _MARKDOWN.search(completion) is not None


def refuses(prompt: str, completion: str) -> bool:
    """Returns whether a completion begins with a refusal, in English.

    >>> refuses("", "I'm sorry, but I can't help with that."), refuses("", "You can not divide by 0.")
    (True, False)
    """
    return _REFUSAL.search(completion[:_OPENING].lower().replace("\u2019", "'")) is not None


def echoes(prompt: str, completion: str) -> bool:
    """Returns whether a completion begins with its prompt.

    >>> echoes("What is the capital of Norway?", "What is the capital of norway? Oslo."), echoes("Hi", "Hi you")
    (True, False)
    """
    asked = normalized(prompt)
    return len(asked) >= _MIN_ECHO and normalized(completion[: 2 * len(prompt) + 20]).startswith(asked)


MARKS: Mapping[str, Mark] = {
    "lists": Mark("holds a list", has_list),
    "markdown": Mark("holds markdown", has_markdown),
    "refusals": Mark("refuses", refuses),
    "echoes": Mark("repeats the prompt", echoes),
}
"""What is looked for in both completions of a pair; a row is all that a new one takes."""


def marks_of(prompt: str, completion: str) -> int:
    """Returns which marks a completion has, a bit each, in the order of `MARKS`."""
    return sum(mark.found(prompt, completion) << at for at, mark in enumerate(MARKS.values()))
