"""Values of options: read as the type of their field, and checked against what `option` says of it.

The constructor, YAML files and the command line all go through `check_fields`, so a value means the same
wherever it is written.
"""

import dataclasses
import json
import math
import numbers
import operator
import os
import types
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from easydel.errors import ConfigError, nearest
from easydel.trainers.options.fields import choices_of, element_type, field_types, listed
from easydel.trainers.options.other_programs import unknown_options

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NOUN = {bool: "true or false", int: "an integer", float: "a finite number", str: "a string"}
_STEPS = "a number of steps (an integer), a share of the run below 1"


def reject_unknown(given: Mapping[str, Any], cls: type) -> None:
    """Raises ConfigError for unknown options, those that are not a field of dataclass `cls`, with the nearest field."""
    known = [field.name for field in dataclasses.fields(cls)]
    if unknown := {name: value for name, value in given.items() if name not in known}:
        otherwise = f" The options are {', '.join(known)}; `easydel-dpo --help all` explains them."
        raise ConfigError(f"{cls.__name__}: {unknown_options(unknown, known, otherwise)}")


def check_fields(instance: Any) -> None:
    """Converts every field of a frozen dataclass to its declared type and checks its choices, limits and needs.

    Raises:
        ConfigError: a value of another type, not among the choices, out of range, or without effect as another
            option is not set.
    """
    cls = type(instance)
    alternatives = field_types(cls)
    for field in dataclasses.fields(cls):
        value = _converted(field, getattr(instance, field.name), alternatives[field.name])
        for words, limit in field.metadata["limits"].items():
            for each in value if isinstance(value, list) else [value]:
                if each is not None and not isinstance(each, str) and not _WITHIN[words](each, limit):
                    raise ConfigError(f"{field.name} = {value!r} must be {_range_in_words(field)}.")
        object.__setattr__(instance, field.name, value)
    for field in dataclasses.fields(cls):
        if getattr(instance, field.name) != field.default:
            _check_needs(instance, field)


def _check_needs(instance: Any, field: dataclasses.Field[Any]) -> None:
    name, value = field.name, getattr(instance, field.name)
    for needed, wanted in field.metadata["needs"].items():
        given = getattr(instance, needed)
        if isinstance(wanted, tuple) and given not in wanted:
            raise ConfigError(
                f"{name} = {value!r} has no effect with {needed} = {given!r}: leave it out, or set {needed} to "
                f"{listed(wanted)}."
            )
        if not given:
            shown = f"{needed} = True" if wanted is True else f"{needed}, such as {needed} = {wanted!r}"
            raise ConfigError(f"{name} = {value!r} needs {shown}: set it, or leave {name} out.")


_WITHIN = {"above": operator.gt, "at least": operator.ge, "below": operator.lt, "at most": operator.le}


def _range_in_words(field: dataclasses.Field[Any]) -> str:
    return " and ".join(f"{words} {limit}" for words, limit in field.metadata["limits"].items())


def _converted(field: dataclasses.Field[Any], value: Any, alternatives: tuple[Any, ...]) -> Any:
    """Returns `value` as one of the field's types, where a string may spell a number or `none`."""
    optional = types.NoneType in alternatives
    if value is None or (optional and isinstance(value, str) and value.lower() in ("none", "null")):
        if optional:
            return None
        raise ConfigError(f"{field.name} = None is not allowed: the default is {field.default!r}.")
    element = element_type(alternatives)
    plural = isinstance(value, list | tuple) or (isinstance(value, str) and "," in value)
    if element is not None and (plural or element not in alternatives):
        items = value.split(",") if isinstance(value, str) else value if plural else [value]
        others = tuple(kind for kind in alternatives if kind is Callable)
        converted = [_converted(field, _stripped(item), (element, *others)) for item in items]
        if not converted:
            raise ConfigError(f"{field.name} = [] is empty: give at least one value, or leave it out.")
        return converted
    if dict in alternatives:
        return _read_pairs(field.name, value, field.metadata["example"])
    same = field.metadata["same"]
    if not field.metadata["choices"] and str(value).lower() in same:
        return same[str(value).lower()]
    choices, kinds = choices_of(field, alternatives), [kind for kind in alternatives if kind in _NOUN]
    is_number = float in kinds
    if choices and (value in choices or not is_number):
        return _chosen(field, value, choices, alternatives)
    converted = next((read for kind in kinds if (read := _READERS[kind](value)) is not None), None)
    if converted is None:
        noun = _STEPS if field.metadata["share"] else _NOUN[float if is_number else kinds[0]]
        words = [noun, *map(repr, choices), *(["none"] if optional else [])]
        given = "" if isinstance(value, str) else f"; this is {type(value).__name__}"
        wanted = f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else noun
        raise ConfigError(f"{field.name} = {value!r} must be {wanted}{given}.")
    if field.metadata["share"] and isinstance(converted, float) and converted > 1:
        raise ConfigError(f"{field.name} = {value!r} must be {_STEPS}.")
    return converted


def _chosen(field: dataclasses.Field[Any], value: Any, choices: tuple[str, ...], alternatives: tuple[Any, ...]) -> Any:
    """Returns a value that is one of the choices, or a function where one may be given."""
    if value in choices:
        return choices[choices.index(value)]  # of an enumeration of another program, its string
    if Callable in alternatives and callable(value):
        return value
    same, refused = field.metadata["same"], field.metadata["refused"]
    # By `==`: an enumeration of another program has the hash of its own name.
    known = next((name for name in (*same, *refused) if name == value), None)
    if known in same:
        return same[known]
    if known in refused:
        raise ConfigError(f"{field.name} = {known!r} is not available: {refused[known]}")
    hint = nearest(str(value), choices) if isinstance(value, str) else ""
    if Callable in alternatives and ":" in str(value):  # how a function is written to a file
        hint = f" A function cannot be read from a string: import it in Python and pass it as {field.name}."
    raise ConfigError(f"{field.name} = {value!r} is not one of {', '.join(map(repr, choices))}.{hint}")


def _read_pairs(name: str, value: Any, example: str) -> dict[str, Any]:
    """A dict, JSON, or `name=value` pairs of a command line; a name that comes again gets a list of its values."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{name} = {value!r} is not JSON: {error}.") from None
    if isinstance(value, Mapping):
        return {str(key): list(each) if isinstance(each, tuple) else each for key, each in value.items()}
    pairs: dict[str, list[str]] = {}
    for pair in value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]:
        key, equals, given = str(pair).strip().partition("=")
        if not (key and equals and given):
            raise ConfigError(f"{name} = {value!r} must be name=value pairs, such as {example}; {pair!r} is not one.")
        pairs.setdefault(key, []).append(given)
    return {key: given[0] if len(given) == 1 else given for key, given in pairs.items()}


def _stripped(item: Any) -> Any:
    return item.strip() if isinstance(item, str) else item


def _read_bool(value: Any) -> bool | None:
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    return value if isinstance(value, bool) else None


def _read_int(value: Any) -> int | None:
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)  # not through float, which rounds above 2**53
    number = _read_float(value)
    return int(number) if number is not None and number.is_integer() else None


def _read_float(value: Any) -> float | None:
    if isinstance(value, str):  # PyYAML reads 5e-7 as a string
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        return None
    return float(value)


def _read_str(value: Any) -> str | None:
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    value = value.isoformat() if isinstance(value, date) else value  # as PyYAML reads 2026-11-28
    return value if isinstance(value, str) else None


_READERS: dict[type, Callable[[Any], Any]] = {bool: _read_bool, int: _read_int, float: _read_float, str: _read_str}
