"""The date that chat templates write as today's: one for a whole run, also when it is continued on another day.

`transformers` gives templates a function `strftime_now(format)`, which reads the clock whenever a row is rendered.
"""

import copy
from datetime import date, datetime
from typing import Any, TypeVar

from easydel.data.tokenizer import Tokenizer
from easydel.errors import ConfigError

T = TypeVar("T", bound=Tokenizer)

_ASKS = "strftime_now"
# Names are written in English: those of `strftime` follow the locale of the process.
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def asks_for_day(tokenizer: Tokenizer | None) -> bool:
    """Returns whether the chat template may write the current date."""
    return any(_ASKS in source and not source.startswith(_OPENING) for source in _sources(tokenizer))


def read_day(text: str) -> date:
    """Returns the date of a string such as `2026-11-28`.

    Raises:
        ConfigError: a string of another form, or a date that does not exist.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"chat_template_date = {text!r} is not a date: write YYYY-MM-DD, such as '2026-11-28', or leave it out for "
            "the day on which the run begins."
        ) from error


def on_day(tokenizer: T, day: date) -> T:
    """Returns a copy of a tokenizer whose chat template takes `day`, at midnight, for the present.

    The tokenizer itself is returned where the template does not write the date. A `date_string` in the
    `chat_template_kwargs` of a row takes precedence, as templates have it.
    """
    if not asks_for_day(tokenizer):
        return tokenizer
    pinned = copy.copy(tokenizer)
    given: Any = tokenizer.chat_template
    opening = _opening(day)
    several = isinstance(given, dict)
    template = {name: opening + source for name, source in given.items()} if several else opening + given
    pinned.chat_template = template  # pyright: ignore[reportAttributeAccessIssue]
    return pinned


def _sources(tokenizer: Tokenizer | None) -> list[str]:
    given = tokenizer.chat_template if tokenizer is not None else None
    return [str(source) for source in (given.values() if isinstance(given, dict) else [given])]


_OPENING = "{#- the day of the run -#}"


def _opening(day: date) -> str:
    """Returns a macro that replaces the function `strftime_now`, and writes a day in every format."""
    written = "".join(f" | replace('{code}', '{value}')" for code, value in _codes(day).items())
    body = "{{- format | replace('%%', '\\x00')" + written + " | replace('\\x00', '%') -}}"
    # The line break is trimmed: the template begins a line.
    return _OPENING + "{%- macro " + _ASKS + "(format) -%}" + body + "{%- endmacro %}\n"


def _codes(day: date) -> dict[str, str]:
    """Returns what each code of `strftime` stands for, longer codes first."""
    moment = datetime(day.year, day.month, day.day)
    weekday, month = _DAYS[day.weekday()], _MONTHS[day.month - 1]
    numbers = {f"%{code}": moment.strftime(f"%{code}") for code in "YymdjHIMSfUWVGuw"}
    numbers |= {"%C": f"{day.year // 100:02}", "%g": numbers["%G"][-2:]}
    plain = {f"%-{code}": numbers[f"%{code}"].lstrip("0") or "0" for code in "mdjHIMSyUWV"}
    blank = {f"%_{code}": f"{plain[f'%-{code}']:>2}" for code in "mdHIMSyUWV"} | {"%k": " 0", "%l": "12"}
    names = {"%A": weekday, "%a": weekday[:3], "%B": month, "%b": month[:3], "%h": month[:3], "%p": "AM"}
    large = {f"%^{name[1]}": value.upper() for name, value in names.items()}
    whole = {
        "%F": day.isoformat(),
        **dict.fromkeys(("%D", "%x"), moment.strftime("%m/%d/%y")),
        **dict.fromkeys(("%T", "%X"), "00:00:00"),
        "%R": "00:00",
        "%r": "12:00:00 AM",
        "%P": "am",
        "%n": "\n",
        "%t": "\t",
        "%c": f"{weekday[:3]} {month[:3]} {day.day:2} 00:00:00 {day.year}",
        "%e": f"{day.day:2}",
        **dict.fromkeys(("%Z", "%z"), ""),
    }
    return plain | blank | large | numbers | names | whole
