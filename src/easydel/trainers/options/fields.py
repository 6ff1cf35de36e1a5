"""Dataclass fields that carry their own help, range, group and needs; `values` checks what is given for them."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from easydel.errors import ConfigError


def option(
    default: Any,
    help: str,
    *,
    group: str = "",
    common: bool = False,
    may_change_on_resume: bool = False,
    needs: Mapping[str, Any] | None = None,
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
    """Returns a dataclass field with what is known of an option: its help, its range, when it may be given.

    Args:
        help: one line; for a default of None, or where None means something else, it says what.
        group: on the first field of a group of `--help`, the title of the group.
        common: `--help` shows it, not only `--help all`.
        may_change_on_resume: see `free_option`.
        needs: the options without which this one has no effect, each with an example of a value, or with the tuple
            of the values under which it has one.
        choices: for a field whose type cannot list them; a `Literal` lists its own.
        same: names that other programs have for a choice, or for a string, in lower case, with ours.
        refused: choices of other programs that are not available, with the reason.
        share: a number of steps, an integer, that may also be a share of the run below 1.
        example: a name=value pair, for a dict.
    """
    limits = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    metadata = {"help": help, "group": group, "common": common, "may_change_on_resume": may_change_on_resume}
    metadata |= {"limits": {words: limit for words, limit in limits.items() if limit is not None}, "choices": choices}
    metadata |= {"needs": needs or {}, "same": same or {}, "refused": refused or {}, "share": share, "example": example}
    return dataclasses.field(default=default, metadata=metadata)


free_option = functools.partial(option, may_change_on_resume=True)
"""An option that changes what a run shows or keeps, not what it computes: it may change when a run is resumed."""


def field_types(cls: type) -> dict[str, tuple[Any, ...]]:
    """Returns what each field may be: `int | None` gives `(int, NoneType)`, a `Literal` its values.

    A list keeps the type of its elements: `str | list[str]` gives `(str, list[str])`.
    """
    return {name: _alternatives(hint) for name, hint in typing.get_type_hints(cls).items()}


def groups_of(*classes: type) -> dict[str, list[tuple[dataclasses.Field[Any], tuple[Any, ...]]]]:
    """Returns the fields of dataclasses with what each may be, by group, in the order of `--help`."""
    found: dict[str, list[tuple[dataclasses.Field[Any], tuple[Any, ...]]]] = {}
    for cls in classes:
        types_of, group = field_types(cls), ""
        for field in dataclasses.fields(cls):
            group = field.metadata["group"] or group
            found.setdefault(group, []).append((field, types_of[field.name]))
    return found


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


def listed(names: Sequence[str]) -> str:
    """Returns quoted names as an enumeration.

    >>> listed(["sigmoid"]), listed(["robust", "aot", "aot_pair"])
    ("'sigmoid'", "'robust', 'aot' or 'aot_pair'")
    """
    quoted = [repr(name) for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted)


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
