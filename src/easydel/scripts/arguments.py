"""Command-line flags made from the fields of dataclasses, in every spelling that users type.

`--use_wandb`, `--use_wandb false`, `--no_use_wandb`, `--max-length 512`, `--max_length=512`,
`--sharding_axis -1,1,1,1,1`, `--loss_weights 0.8 0.2`, and `--config run.yaml` with flags on top. Flags cannot be
shortened: a new flag would change the meaning of a command.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from easydel.errors import ConfigError, nearest
from easydel.trainers.fields import choices_of, element_type, field_types, read_yaml

_METAVARS = {int: "N", float: "X", str: "TEXT"}


class FlagError(ConfigError):
    """A command line that cannot be read."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FlagError(message)


def parse_arguments(
    argv: Sequence[str],
    classes: Sequence[type],
    *,
    program: str,
    description: str,
    version: str,
    aliases: Mapping[str, str],
) -> dict[str, Any]:
    """Returns the options in the file of `--config` and, over them, those of flags, with values as written.

    Args:
        argv: the arguments after the program's name.
        classes: dataclasses whose fields, made by `easydel.trainers.fields.option`, are the flags.
        aliases: other spellings of field names.

    Raises:
        ConfigError: a flag, or a name in the file, that no class has, with the nearest that one has.
    """
    parser = _parser(classes, program, description, version)
    fields = {field.name: types for cls in classes for field, types in _fields(cls)}
    flags = vars(parser.parse_args(list(_normalised(argv, fields, aliases))))
    path = flags.pop("config", None)
    values: dict[str, Any] = {}
    for name, value in (read_yaml(path) if path else {}).items():
        name = aliases.get(name, name)
        if name not in fields:
            raise ConfigError(f"{path}: there is no option {name!r}.{nearest(name, fields)}")
        values[name] = value
    return values | flags


def make(cls: type, values: Mapping[str, Any]) -> Any:
    """Returns a `cls` from those values that are its fields."""
    return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values})


def _fields(cls: type) -> Iterator[tuple[dataclasses.Field[Any], tuple[Any, ...]]]:
    types = field_types(cls)
    return ((field, types[field.name]) for field in dataclasses.fields(cls))


def _parser(classes: Sequence[type], program: str, description: str, version: str) -> _Parser:
    parser = _Parser(
        prog=program,
        description=description,
        usage=f"{program} [--config run.yaml] [--flag value ...]",
        allow_abbrev=False,
        add_help=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=110),
    )
    group = parser.add_argument_group("general")
    group.add_argument("-h", "--help", action="help", help="show this help and exit")
    group.add_argument("--version", action="version", version=version, help="show the version and exit")
    group.add_argument("--config", metavar="FILE", help="YAML file of options; flags go over it")
    for cls in classes:
        for field, types in _fields(cls):
            if field.metadata["group"]:
                group = parser.add_argument_group(field.metadata["group"])
            _add_flag(group, field, types)
    return parser


def _add_flag(group: Any, field: dataclasses.Field[Any], types: tuple[Any, ...]) -> None:
    choices = choices_of(field, types)
    default = str(field.default).lower() if bool in types else field.default
    shown = "" if default in (None, "") else f" [{default}]"  # the help of a field says what its none means
    help = (field.metadata["help"] + shown).replace("%", "%%")
    if bool in types:
        group.add_argument(f"--{field.name}", nargs="?", const=True, metavar="true|false", help=help)
    else:
        element = element_type(types)
        metavar = "|".join(choices) or next(_METAVARS[kind] for kind in (*types, element) if kind in _METAVARS)
        metavar += " ..." if element else ""
        group.add_argument(f"--{field.name}", metavar=metavar, help=help)


def _normalised(
    argv: Sequence[str], fields: Mapping[str, tuple[Any, ...]], aliases: Mapping[str, str]
) -> Iterator[str]:
    """Yields the arguments with flags spelt as the fields are and each value joined to its flag.

    A joined value may start with a dash, which argparse would otherwise take for a flag.
    """
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument in ("-h", "--help", "--version"):
            yield argument
            continue
        if not argument.startswith("--"):
            raise FlagError(f"{argument!r} belongs to no flag: every option is written --name value.")
        flag, joined, value = argument[2:].partition("=")
        name = flag.replace("-", "_")
        name = aliases.get(name, name)
        if name.startswith("no_") and bool in fields.get(name[3:], ()) and not joined:
            yield f"--{name[3:]}=false"
            continue
        if name not in fields and name != "config":
            near = nearest(f"--{name}", [f"--{known}" for known in (*fields, *aliases, "config")])
            raise FlagError(f"unknown flag --{flag}." + near.replace("'", ""))
        is_bool = bool in fields.get(name, ())
        if not joined and rest and not rest[0].startswith("--"):
            joined, value = "=", rest.pop(0)
            while element_type(fields.get(name, ())) and rest and not rest[0].startswith("--"):
                value += "," + rest.pop(0)
        if not joined and not is_bool:
            raise FlagError(f"--{flag} needs a value.")
        yield f"--{name}{joined}{value}"
