"""Lists and dicts that stand as text in a file: as JSON, as Python writes them, or as numpy writes its arrays."""

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
    """A value, and whether its nulls are meant: those of JSON are, those of Python are Arrow's, which fills dicts."""

    value: Any
    nulls_meant: bool


def spelled_out(text: str) -> Spelled:
    """Returns the value that text is in JSON or in Python, as csv files hold lists.

    >>> spelled_out("[{'a': None} {'a': 'x'}]").value, spelled_out("array(['a', 'b'], dtype=object)").value
    ([{'a': None}, {'a': 'x'}], ['a', 'b'])

    Raises:
        ValueError: it is neither.
    """
    try:
        return Spelled(json.loads(text), nulls_meant=True)
    except (ValueError, RecursionError) as error:
        no_json = error
    try:
        if len(text) > _TOO_LONG:
            raise ValueError
        with warnings.catch_warnings():  # of text that looks like an escape
            warnings.simplefilter("ignore")
            value = _of_python(text.strip())
        return Spelled(value, nulls_meant=False)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise ValueError(f"neither JSON nor Python: {error}") from no_json


def parsed(value: Any) -> Any:
    """Returns the list or dict that text is in JSON or Python; anything else as it is.

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
    """The tokens of a literal, with the commas that numpy leaves out, and without what it writes around an array."""
    before = None
    opened: list[bool] = []  # of each bracket, whether it is that of an array
    skipped = 0
    tokens = [each for each in tokenize.generate_tokens(io.StringIO(text).readline) if each.type not in _SPACE]
    for at, token in enumerate(tokens):
        following = tokens[at + 1].string if at + 1 < len(tokens) else ""
        if skipped:
            skipped -= 1
            continue
        if token.type not in (*_VALUES, tokenize.OP):
            raise ValueError
        if token.string == "array" and following == "(":
            skipped = 1
            opened.append(True)
            if before is not None and _ends(before):
                yield ","
            before = None
            continue
        if token.string == "," and following == "dtype" and opened and opened[-1]:
            skipped = 3  # dtype = object
            continue
        if token.string == ")" and opened and opened[-1]:
            opened.pop()
            continue
        if token.string in "([{":
            opened.append(False)
        elif token.string in ")]}" and opened:
            opened.pop()
        if before is not None and _ends(before) and (token.type in _VALUES or token.string in ("[", "{", "-")):
            yield ","
        yield f" {token.string}"
        before = token


def _ends(token: tokenize.TokenInfo) -> bool:
    return token.type in _VALUES or token.string in ("]", "}")
