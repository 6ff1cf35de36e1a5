"""Dataclass fields that carry their own help, range and group, and the checks made from them.

The constructor, YAML files and the command line all go through `check_fields`, so a value means the same
wherever it is written.
"""

import dataclasses
import json
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from easydel.errors import ConfigError, nearest
from easydel.trainers.renamed import unknown_options

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NOUN = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}
_STEPS = "a whole number of steps, a share of the run below 1"


def option(
    default: Any,
    help: str,
    *,
    group: str = "",
    choices: tuple[str, ...] = (),
    same: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
    share: bool = False,
    example: str = "",
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> Any:
    """Returns a dataclass field with its help string and its allowed range.

    `group` on a field starts a group of that title in `--help`. `choices` is for fields whose type cannot
    list them; a `Literal` type lists its own. Of other programs, `same` holds the names of a choice, or of text, in
    small letters, and `refused` the choices that are none here, with the reason. `share` is for numbers of steps that
    may be a share of the run: whole, or below 1. `example` is of a dict's pairs.
    """
    limits = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    limits = {words: limit for words, limit in limits.items() if limit is not None}
    metadata = {"help": help, "group": group, "choices": choices, "limits": limits}
    return dataclasses.field(
        default=default,
        metadata={**metadata, "same": same or {}, "refused": refused or {}, "share": share, "example": example},
    )


def field_types(cls: type) -> dict[str, tuple[Any, ...]]:
    """Returns what each field may be: `int | None` gives `(int, NoneType)`, a `Literal` its values.

    A list keeps the type of its elements: `str | list[str]` gives `(str, list[str])`.
    """
    return {name: _alternatives(hint) for name, hint in typing.get_type_hints(cls).items()}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return tuple(part for member in typing.get_args(hint) for part in _alternatives(member))
    if origin is typing.Literal:
        return typing.get_args(hint)
    return (hint if origin is list else origin or hint,)


def element_type(alternatives: tuple[Any, ...]) -> type | None:
    """Returns the type of the elements of a field that may be a list, None for one that may not."""
    return next((typing.get_args(kind)[0] for kind in alternatives if typing.get_origin(kind) is list), None)


def choices_of(field: dataclasses.Field[Any], alternatives: tuple[Any, ...]) -> tuple[str, ...]:
    """Returns the names a field accepts, or `()` when it is not a choice between names."""
    return field.metadata["choices"] or tuple(value for value in alternatives if isinstance(value, str))


def reject_unknown(given: Mapping[str, Any], cls: type) -> None:
    """Raises ConfigError for the options that are no field of dataclass `cls`, with the fields that were meant."""
    known = [field.name for field in dataclasses.fields(cls)]
    if unknown := {name: value for name, value in given.items() if name not in known}:
        otherwise = f" easydel-dpo --help explains those that it has: {', '.join(known)}."
        raise ConfigError(f"{cls.__name__} has no option{unknown_options(unknown, known, otherwise)}")


def check_fields(instance: Any) -> None:
    """Converts every field of a frozen dataclass to its declared type and checks its choices and limits.

    Raises:
        ConfigError: a value of another type, not among the choices, or out of range.
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


_WITHIN: dict[str, Callable[[float, float], bool]] = {
    "above": lambda value, limit: value > limit,
    "at least": lambda value, limit: value >= limit,
    "below": lambda value, limit: value < limit,
    "at most": lambda value, limit: value <= limit,
}


def _range_in_words(field: dataclasses.Field[Any]) -> str:
    return " and ".join(f"{words} {limit}" for words, limit in field.metadata["limits"].items())


def _converted(field: dataclasses.Field[Any], value: Any, alternatives: tuple[Any, ...]) -> Any:
    """Returns `value` as one of the field's types, where text may spell a number or `none`."""
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
        said = f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else noun
        raise ConfigError(f"{field.name} = {value!r} must be {said}{given}.")
    if field.metadata["share"] and isinstance(converted, float) and converted > 1:
        raise ConfigError(f"{field.name} = {value!r} must be {_STEPS}.")
    return converted


def _chosen(field: dataclasses.Field[Any], value: Any, choices: tuple[str, ...], alternatives: tuple[Any, ...]) -> Any:
    """Returns a value that is one of the choices, or a function where one may be given."""
    if value in choices:
        return choices[choices.index(value)]  # of an enumeration of another program, its text
    if Callable in alternatives and callable(value):
        return value
    same, refused = field.metadata["same"], field.metadata["refused"]
    # By `==`: an enumeration of another program has the hash of its own name.
    known = next((name for name in (*same, *refused) if name == value), None)
    if known in same:
        return same[known]
    if known in refused:
        raise ConfigError(f"{field.name} = {known!r} is none here: {refused[known]}")
    hint = nearest(str(value), choices) if isinstance(value, str) else ""
    if Callable in alternatives and ":" in str(value):  # how a function is written to a file
        hint = f" A function cannot be read from text: import it in Python and pass it as {field.name}."
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
    pairs: dict[str, Any] = {}
    for pair in value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]:
        key, equals, given = str(pair).strip().partition("=")
        if not (key and equals and given):
            raise ConfigError(f"{name} = {value!r} must be name=value pairs, such as {example}; {pair!r} is none.")
        pairs[key] = given if key not in pairs else [*_listed(pairs[key]), given]
    return pairs


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
    if isinstance(value, str):  # PyYAML reads 5e-7 as text
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


_READERS: dict[type, Callable[[Any], Any]] = {
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    str: _read_str,
}


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Returns the mapping of option names to values in a YAML file; an empty file gives `{}`.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds something other than `name: value` lines.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {str(path)!r}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path} must hold 'name: value' lines, but holds a {type(values).__name__}.")
    return {str(name): value for name, value in values.items()}
