"""Lists and dicts written as strings: as JSON, as Python writes them, or as numpy writes its arrays."""

import ast
import io
import json
import re
import tokenize
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

_VALUES = (tokenize.STRING, tokenize.NUMBER, tokenize.NAME)
_SPACE = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
_ADJACENT = re.compile(r"""['"]\s+['"]""")  # which Python would join
_TOO_LONG = 10_000_000


class Spelled(NamedTuple):
    """A value, and whether its nulls are meant: those of JSON are, those of Python come from Arrow, which fills "
    "dicts."""

    value: Any
    nulls_meant: bool


def spelled_out(text: str) -> Spelled:
    """Returns the value of a string in JSON or Python, as CSV files hold lists.

    >>> spelled_out("[{'a': None} {'a': 'x'}]").value, spelled_out("array(['a', 'b'], dtype=object)").value
    ([{'a': None}, {'a': 'x'}], ['a', 'b'])

    Raises:
        ValueError: it is neither.
    """
    try:
        return Spelled(json.loads(text), nulls_meant=True)
    except (ValueError, RecursionError) as error:
        not_json = error
    try:
        if len(text) > _TOO_LONG:
            raise ValueError
        with warnings.catch_warnings():  # about strings that look like an escape
            warnings.simplefilter("ignore")
            value = _of_python(text.strip())
        return Spelled(value, nulls_meant=False)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise ValueError(f"neither JSON nor Python: {error}") from not_json


def parsed(value: Any) -> Any:
    """Returns the list or dict that a string holds in JSON or Python; anything else unchanged.

    >>> parsed("['a' 'b']"), parsed("[sic]"), parsed(3)
    (['a', 'b'], '[sic]', 3)
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{", "array(")):
        return value
    try:
        return spelled_out(value).value
    except ValueError:
        return value


def _of_python(text: str) -> Any:
    if not _ADJACENT.search(text):  # nearly always, and faster
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            pass
    return ast.literal_eval("".join(_in_python(text)))


def _in_python(text: str) -> Iterator[str]:
    """The tokens of a literal, with the commas that numpy leaves out, and without its `array` and `dtype=object`."""
    tokens = [each for each in tokenize.generate_tokens(io.StringIO(text).readline) if each.type not in _SPACE]
    skipped, has_ended = 0, False  # whether a value ends right before
    for at, token in enumerate(tokens):
        if skipped:
            skipped -= 1
            continue
        if token.type not in (*_VALUES, tokenize.OP):
            raise ValueError
        following = [each.string for each in tokens[at : at + 3]]
        if following == [",", "dtype", "="]:
            skipped = 3
            continue
        if has_ended and (token.type in _VALUES or token.string in ("[", "{", "-")):
            yield ","
        is_array = following[:2] == ["array", "("]
        if not is_array:
            yield f" {token.string}"
        has_ended = not is_array and (token.type in _VALUES or token.string in ("]", "}", ")"))
