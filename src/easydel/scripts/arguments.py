"""Command-line flags made from the fields of dataclasses, in every spelling that users type.

`--use_wandb`, `--use_wandb false`, `--no_use_wandb`, `--max-length 512`, `--max_length=512`,
`--sharding_axis -1,1,1,1,1`, `--loss_weights 0.8 0.2`, and `--config run.yaml` with flags on top. Flags cannot be
shortened: a new flag would change the meaning of a command.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from easydel.errors import ConfigError
from easydel.scripts.completion import completion_script
from easydel.scripts.flags import GENERAL, FlagError, Program, choices_by_name, help_text, make_parser
from easydel.trainers.options.fields import element_type, groups_of, read_yaml
from easydel.trainers.options.other_programs import unknown_options


def parse_arguments(
    argv: Sequence[str], classes: Sequence[type], program: Program, *, aliases: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Returns the options in the file of `--config` and, over them, those of flags, with values as written.

    Args:
        argv: the arguments after the program's name.
        classes: dataclasses whose fields, made by `easydel.trainers.options.fields.option`, are the flags.
        program: what `--help` says of it.
        aliases: other spellings of field names.

    Raises:
        SystemExit: after `--help`, `--version` and `--print_completion`.
        ConfigError: an unknown flag, or an unknown option in the file, with the nearest that is known.
    """
    groups, aliases = groups_of(*classes), aliases or {}
    fields = {field.name: types for members in groups.values() for field, types in members}
    parser = make_parser(program, groups)
    flags = vars(parser.parse_args(list(_normalized(argv, fields, aliases, program.name))))
    if "help" in flags:
        print(help_text(program, groups, flags["help"]), end="")
        raise SystemExit(0)
    if "print_completion" in flags:
        print(completion_script(parser, choices_by_name(groups), flags["print_completion"], list(program.commands)))
        raise SystemExit(0)
    path = flags.pop("config", None)
    values = {aliases.get(name, name): value for name, value in (read_yaml(path) if path else {}).items()}
    if unknown := {name: value for name, value in values.items() if name not in fields}:
        raise ConfigError(f"{path}: {unknown_options(unknown, fields, _see_all(program.name))}")
    return values | flags


def make(cls: type, values: Mapping[str, Any]) -> Any:
    """Returns a `cls` from those values that are its fields.

    Raises:
        ConfigError: as its constructor.
    """
    return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values})


def _see_all(program: str) -> str:
    return f" `{program} --help all` lists all."


def _normalized(
    argv: Sequence[str], fields: Mapping[str, tuple[Any, ...]], aliases: Mapping[str, str], program: str
) -> Iterator[str]:
    """Yields the arguments with flags spelled as the fields are and each value joined to its flag.

    A joined value may start with a dash, which argparse would otherwise take for a flag.
    """
    rest, unknown = list(argv), {}
    while rest:
        argument = rest.pop(0)
        if argument == "-h":
            argument = "--help"
        if not argument.startswith("--"):
            raise FlagError(f"{argument!r} does not follow a flag: every option is written --name value.")
        flag, joined, value = argument[2:].partition("=")
        name = flag.replace("-", "_")
        name = aliases.get(name, name)
        if name.startswith("no_") and bool in fields.get(name[3:], ()) and not joined:
            yield f"--{name[3:]}=false"
            continue
        if name not in fields and name not in GENERAL:
            unknown[flag] = value
            while rest and not rest[0].startswith("--"):
                rest.pop(0)
            continue
        may_stand_alone = bool in fields.get(name, ()) or name in ("help", "version")
        if not joined and rest and not rest[0].startswith("--"):
            joined, value = "=", rest.pop(0)
            types = fields.get(name, ())
            while (element_type(types) or dict in types) and rest and not rest[0].startswith("--"):
                value += "," + rest.pop(0)
        if not joined and not may_stand_alone:
            raise FlagError(f"--{flag} needs a value.")
        yield f"--{name}{joined}{value}"
    if unknown:
        known = (*fields, *aliases, *GENERAL)
        raise FlagError(unknown_options(unknown, known, _see_all(program), flag="--"))
