"""What to say of an unknown option or argument: where it is, or what takes the place of another program's.

The names are in `other_programs.toml`; docs/migrating.md has the same tables, with the reasons, and a test compares.
"""

from collections.abc import Callable, Collection, Container, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from easydel.errors import nearest

P = ParamSpec("P")
Self = TypeVar("Self")

OURS = {"args": "arguments", "ref_model": "reference_model", "tokenizer": "processing_class"}
"""Our names of the arguments of TRL's `DPOTrainer`, where they differ."""
_NOTHING = " It has no equivalent here: docs/migrating.md says why."


class Names(NamedTuple):
    """Names that are not options where they were given."""

    renamed: Mapping[str, str]  # of other programs: our option and, behind a colon, what its value must be
    not_here: frozenset[str]  # of other programs, without an equivalent
    in_python: Mapping[str, str]  # of the command line alone: where they are in Python


@cache
def known_names() -> Names:
    """Returns what `other_programs.toml` holds, which is read when the first unknown option asks for it."""
    import tomllib

    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    renamed = {name: ours for names in table["renamed"].values() for name, ours in names.items()}
    return Names(renamed, frozenset(" ".join(table["not_here"].values()).split()), table["in_python"])


def unknown_options(given: Mapping[str, Any], known: Collection[str], otherwise: str, *, flag: str = "") -> str:
    """Returns the message for unknown options, all at once: a recipe of another program has twenty.

    Args:
        given: the unknown options with their values; a null is to be left out, whatever its option does.
        known: the options that may be given there.
        otherwise: the hint for a name that nothing is known of.
        flag: what is written before an option there, `--` for flags.

    >>> print(unknown_options({"bta": 1, "stage": "dpo", "rl": None}, ["beta"], ""))
    unknown options:
      bta: Did you mean 'beta'?
      rl: It is null: leave it out.
      stage: It has no equivalent here: docs/migrating.md says why.
    """
    noun, hints = "flag" if flag else "option", {}
    for name, value in given.items():
        spelt = name.replace("-", "_") if flag else name
        near = nearest(f"{flag}{spelt}", [f"{flag}{each}" for each in known])
        hint = elsewhere(spelt, known, flag=flag) or (near.replace("'", "") if flag else near) or otherwise
        hints[name] = hint if value is not None or hint == _NOTHING else " It is null: leave it out."
    if len(hints) == 1:
        name, hint = next(iter(hints.items()))
        return f"unknown {noun} {flag}{name}.{hint}" if flag else f"unknown {noun} {name!r}.{hint}"
    nothing = [f"{flag}{name}" for name, hint in hints.items() if hint == _NOTHING]
    lines = [f"\n  {flag}{name}:{hint}" for name, hint in hints.items() if hint != _NOTHING]
    lines += [f"\n  {', '.join(nothing)}:{_NOTHING}"] if nothing else []
    return f"unknown {noun}s:{''.join(lines)}"


def elsewhere(name: str, known: Container[str], *, flag: str = "") -> str:
    """Returns the hint for an option of another program, or of another place, and `""` for any other name.

    Args:
        name: as it was given; it is unknown.
        known: the options that may be given there.
        flag: what is written before an option there.

    >>> elsewhere("max_grad_norm", ["clip_grad"])
    ' Use clip_grad.'
    >>> elsewhere("load_in_4bit", ["quantization"], flag="--")
    ' Use --quantization: nf4 where that is true.'
    >>> elsewhere("bta", ["beta"])
    ''
    """
    renamed, not_here, in_python = known_names()
    if name not in renamed and name.startswith("no_") and (name[3:] in renamed or name[3:] in not_here):
        name = name[3:]  # how a flag is turned off
    if name in not_here:
        return _NOTHING
    option, colon, remark = renamed.get(name, name).partition(": ")
    if option in known:
        where = f"{flag}{option}"
    elif option in in_python and not flag:
        where = in_python[option]
    else:
        return ""
    return f" Use {where}{colon}{remark}."


def explains_trl_names(init: Callable[Concatenate[Self, P], None]) -> Callable[Concatenate[Self, P], None]:
    """Returns a constructor whose error for an argument of TRL's names ours.

    Raises:
        TypeError: of the constructor, such an argument.
    """

    @wraps(init)
    def checked(self: Self, *given: P.args, **named: P.kwargs) -> None:
        if theirs := [name for name in OURS if name in named]:
            ours = ", ".join(f"{OURS[name]}= for {name}=" for name in theirs)
            raise TypeError(f"DPOTrainer names arguments unlike TRL: use {ours}. docs/migrating.md lists the options.")
        init(self, *given, **named)

    return checked
