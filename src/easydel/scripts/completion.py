"""Scripts that make a shell complete the flags of the command line, and what may follow them."""

import argparse
from collections.abc import Mapping, Sequence

from easydel.errors import ConfigError, nearest

SHELLS = ("bash", "zsh", "fish", "tcsh")
# Options that name a file or a folder, or may.
_FILES = ("config", "dataset_name", "eval_dataset_name")
_FOLDERS = ("repo_id", "processor_repo_id", "reference_model_repo_id", "save_directory", "cache_directory")


def completion_script(
    parser: argparse.ArgumentParser, choices: Mapping[str, Sequence[str]], shell: str, commands: Sequence[str]
) -> str:
    """Returns the script that makes a shell complete a command line; the parser cannot be used afterwards.

    Args:
        parser: of the command line.
        choices: the values of the options that have a few, by name.
        shell: one of `SHELLS`.
        commands: words that may be given in place of flags.

    Raises:
        ConfigError: an unknown shell.
    """
    import shtab  # no other command needs it

    if shell not in SHELLS:
        raise ConfigError(f"--print_completion {shell} is not one of {', '.join(SHELLS)}.{nearest(shell, SHELLS)}")
    for action in parser._actions:  # what shtab reads too
        if action.dest in choices:
            action.choices = list(choices[action.dest])
        elif action.dest in _FILES + _FOLDERS:
            action.complete = shtab.DIRECTORY if action.dest in _FOLDERS else shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
    parser.add_argument("command", nargs="?", choices=list(commands))
    return shtab.complete(parser, shell)
