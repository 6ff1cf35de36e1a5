"""Scripts that make a shell complete the flags of the command line, and what may follow them."""

import argparse
from collections.abc import Mapping, Sequence

from easydel.errors import ConfigError

SHELLS = ("bash", "zsh", "fish", "tcsh")
# Options that name a file or a folder, or may.
_FILES = ("config", "dataset_name", "eval_dataset_name")
_FOLDERS = ("repo_id", "processor_repo_id", "reference_model_repo_id", "save_directory", "cache_directory")


def completion_script(
    parser: argparse.ArgumentParser, choices: Mapping[str, Sequence[str]], shell: str, commands: Sequence[str]
) -> str:
    """Returns the script of a shell that completes a command line; the parser is of no other use afterwards.

    Args:
        parser: of the command line.
        choices: the values of an option that has a few, by its name.
        shell: one of `SHELLS`.
        commands: words that may stand in place of flags.

    Raises:
        ConfigError: no such shell.
    """
    import shtab  # no other command needs it

    if shell not in SHELLS:
        raise ConfigError(f"--print_completion {shell}: there are scripts for {', '.join(SHELLS)}.")
    for action in parser._actions:  # what shtab reads too
        if action.dest in choices:
            action.choices = list(choices[action.dest])
        elif action.dest in _FILES + _FOLDERS:
            action.complete = shtab.DIRECTORY if action.dest in _FOLDERS else shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
    parser.add_argument("command", nargs="?", choices=list(commands))
    return shtab.complete(parser, shell)
