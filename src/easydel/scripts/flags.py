"""The flags of a program and its help: of the options most people use, of a group, or of all."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from easydel.errors import ConfigError, nearest
from easydel.scripts.completion import SHELLS
from easydel.trainers.options.fields import choices_of, element_type

Groups = Mapping[str, Sequence[tuple[dataclasses.Field[Any], tuple[Any, ...]]]]
"""The title of each group, with the fields in it and what each may be: see `options.fields.groups_of`."""

GENERAL = ("help", "version", "config", "print_completion")  # flags that are not an option of a run
_METAVARS = {int: "N", float: "X", str: "TEXT", dict: "NAME=VALUE"}


class FlagError(ConfigError):
    """A command line that cannot be read."""


class Program(NamedTuple):
    """What `--help` says of a program besides its options.

    Attributes:
        commands: words that may stand in place of flags, each with what it does.
        arguments: what stands in front of the flags, as usage shows it.
    """

    name: str
    description: str
    version: str
    commands: Mapping[str, str] = {}
    arguments: str = ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FlagError(message)


def make_parser(program: Program, groups: Groups, epilog: str = "") -> argparse.ArgumentParser:
    """Returns a parser of these flags, which raises FlagError."""
    name, commands = program.name, program.commands
    called = f"{name} {program.arguments}".rstrip()
    usages = [f"{called} [--config run.yaml] [--flag value ...]", *(f"{name} {command}" for command in commands)]
    sentences = [program.description, *(f"`{name} {command}` {does}." for command, does in commands.items())]
    parser = _Parser(
        prog=name,
        description=" ".join(sentences),
        usage="\n       ".join(usages),
        epilog=epilog,
        allow_abbrev=False,
        add_help=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=110),
    )
    general = parser.add_argument_group("general")
    help = "show the options most people use, all of them, or those of a group, and exit"
    general.add_argument("-h", "--help", nargs="?", const="", metavar="all|GROUP", help=help)
    general.add_argument("--version", action="version", version=program.version, help="show the version and exit")
    general.add_argument("--config", metavar="FILE", help="YAML file of options; flags override it")
    help = "show the script that makes a shell complete flags, and exit"
    general.add_argument("--print_completion", metavar="|".join(SHELLS), help=help)
    for title, fields in groups.items():
        group = parser.add_argument_group(title)
        for field, types in fields:
            _add_flag(group, field, types)
    return parser


def help_text(program: Program, groups: Groups, topic: str) -> str:
    """Returns what `--help` shows.

    Args:
        topic: a group, "all", or "" for the options marked `common`, all where no option is.

    Raises:
        FlagError: an unknown group, with those there are.
    """
    titles = {title.lower(): title for title in groups}
    if title := titles.get(topic.lower()):
        text = make_parser(program, {title: groups[title]}).format_help()
        return text[text.index(f"{title}:\n") :]  # without the general flags
    if topic not in ("", "all"):
        raise FlagError(
            f"--help {topic}: unknown group.{nearest(topic, titles)} The groups are {', '.join(titles)}; --help all "
            "shows all of them."
        )
    common = {title: [each for each in groups[title] if each[0].metadata["common"]] for title in groups}
    if topic == "all" or not any(common.values()):
        return make_parser(program, groups).format_help()
    count, total = (sum(map(len, some.values())) for some in (common, groups))
    epilog = (
        f"These are {count} of {total} options. `{program.name} --help all` shows all of them, "
        f"`{program.name} --help GROUP` those of a group: {', '.join(titles)}."
    )
    return make_parser(program, {title: fields for title, fields in common.items() if fields}, epilog).format_help()


def choices_by_name(groups: Groups) -> dict[str, Sequence[str]]:
    """Returns the values of each flag that takes one of a few."""
    found: dict[str, Sequence[str]] = {"help": ["all", *(title.lower() for title in groups)]}
    for field, types in (member for members in groups.values() for member in members):
        if choices := ("true", "false") if bool in types else choices_of(field, types):
            found[field.name] = choices
    return found


def _add_flag(group: Any, field: dataclasses.Field[Any], types: tuple[Any, ...]) -> None:
    choices = choices_of(field, types)
    default = str(field.default).lower() if isinstance(field.default, bool) else field.default
    shown = "" if default in (None, "") else f" (default: {default})"  # for None, the help of a field says it
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
