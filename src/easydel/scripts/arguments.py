"""Command-line flags made from the fields of dataclasses, in every spelling that users type.

`--use_wandb`, `--use_wandb false`, `--no_use_wandb`, `--max-length 512`, `--max_length=512`,
`--sharding_axis -1,1,1,1,1`, `--loss_weights 0.8 0.2`, and `--config run.yaml` with flags on top. Flags cannot be
shortened: a new flag would change the meaning of a command.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from easydel.errors import ConfigError
from easydel.scripts.completion import SHELLS, completion_script
from easydel.trainers.fields import choices_of, element_type, field_types, read_yaml
from easydel.trainers.renamed import unknown_options

_GENERAL = ("config", "print_completion")  # flags that are no option of a run
_METAVARS = {int: "N", float: "X", str: "TEXT", dict: "NAME=VALUE"}


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
    commands: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Returns the options in the file of `--config` and, over them, those of flags, with values as written.

    Args:
        argv: the arguments after the program's name.
        classes: dataclasses whose fields, made by `easydel.trainers.fields.option`, are the flags.
        aliases: other spellings of field names.
        commands: words that may stand in place of flags, each with what it does, for `--help` and shells only.

    Raises:
        SystemExit: after `--help`, `--version` and `--print_completion`.
        ConfigError: a flag, or a name in the file, that no class has, with the nearest that one has.
    """
    parser = _parser(classes, program, description, version, commands or {})
    fields = {field.name: types for cls in classes for field, types in _fields(cls)}
    flags = vars(parser.parse_args(list(_normalised(argv, fields, aliases, program))))
    if "print_completion" in flags:
        choices = {name: kinds for cls in classes for name, kinds in _choices(cls)}
        print(completion_script(parser, choices, flags["print_completion"], list(commands or {})))
        raise SystemExit(0)
    path = flags.pop("config", None)
    values = {aliases.get(name, name): value for name, value in (read_yaml(path) if path else {}).items()}
    if unknown := {name: value for name, value in values.items() if name not in fields}:
        otherwise = f" `{program} --help` lists all."
        raise ConfigError(f"{path}: there is no option{unknown_options(unknown, fields, otherwise)}")
    return values | flags


def make(cls: type, values: Mapping[str, Any]) -> Any:
    """Returns a `cls` from those values that are its fields."""
    return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values})


def _fields(cls: type) -> Iterator[tuple[dataclasses.Field[Any], tuple[Any, ...]]]:
    types = field_types(cls)
    return ((field, types[field.name]) for field in dataclasses.fields(cls))


def _choices(cls: type) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the options that are a choice between a few values, with these."""
    for field, types in _fields(cls):
        choices = ("true", "false") if bool in types else choices_of(field, types)
        if choices:
            yield field.name, choices


def _parser(
    classes: Sequence[type], program: str, description: str, version: str, commands: Mapping[str, str]
) -> _Parser:
    usages = [f"{program} [--config run.yaml] [--flag value ...]", *(f"{program} {name}" for name in commands)]
    parser = _Parser(
        prog=program,
        description=" ".join([description, *(f"`{program} {name}` {does}." for name, does in commands.items())]),
        usage="\n       ".join(usages),
        allow_abbrev=False,
        add_help=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=110),
    )
    group = parser.add_argument_group("general")
    group.add_argument("-h", "--help", action="help", help="show this help and exit")
    group.add_argument("--version", action="version", version=version, help="show the version and exit")
    group.add_argument("--config", metavar="FILE", help="YAML file of options; flags go over it")
    shells, help = "|".join(SHELLS), "show the script that makes a shell complete flags, and exit"
    group.add_argument("--print_completion", metavar=shells, help=help)
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
        is_number = int in types or float in types
        kinds = (float,) if float in types else (*types, element)
        kind = next((_METAVARS[kind] for kind in kinds if kind in _METAVARS), "")
        metavar = "|".join([*([kind] if is_number else []), *choices]) or kind
        metavar += " ..." if element or dict in types else ""
        group.add_argument(f"--{field.name}", metavar=metavar, help=help)


def _normalised(
    argv: Sequence[str], fields: Mapping[str, tuple[Any, ...]], aliases: Mapping[str, str], program: str
) -> Iterator[str]:
    """Yields the arguments with flags spelt as the fields are and each value joined to its flag.

    A joined value may start with a dash, which argparse would otherwise take for a flag.
    """
    rest, unknown = list(argv), {}
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
        if name not in fields and name not in _GENERAL:
            unknown[flag] = value
            while rest and not rest[0].startswith("--"):
                rest.pop(0)
            continue
        is_bool = bool in fields.get(name, ())
        if not joined and rest and not rest[0].startswith("--"):
            joined, value = "=", rest.pop(0)
            types = fields.get(name, ())
            while (element_type(types) or dict in types) and rest and not rest[0].startswith("--"):
                value += "," + rest.pop(0)
        if not joined and not is_bool:
            raise FlagError(f"--{flag} needs a value.")
        yield f"--{name}{joined}{value}"
    if unknown:
        known, otherwise = (*fields, *aliases, *_GENERAL), f" `{program} --help` lists all."
        raise FlagError(f"unknown flag{unknown_options(unknown, known, otherwise, several='s', flag='--')}")
