"""The names of columns: those that rows are read from, and which columns of a run stand for them."""

from collections.abc import Mapping
from typing import Any

from easydel.data.ranked import CANDIDATES, VERDICTS, WORTH
from easydel.data.values import is_empty, plain
from easydel.errors import ConfigError, DataError, nearest

CONVERSATIONS = ("messages", "conversations", "conversation")
QUESTIONS = ("question", "instruction", "query", "input")  # what a user says; `prompt` in text stays text
SYSTEMS = ("system", "system_prompt", "system_message")
TOOLS = ("tools", "functions")
_NOUNS = ("response", "answer", "output", "completion", "message", "messages", "conversation")
SIDES = (
    ("chosen", "rejected"),
    *((f"chosen_{noun}", f"rejected_{noun}") for noun in _NOUNS),
    *((f"{noun}_chosen", f"{noun}_rejected") for noun in _NOUNS),
    ("response_j", "response_k"),
    ("preferred_output", "non_preferred_output"),
)
SIDES_TOGETHER = (("accepted", "rejected"), ("response", "rejected_response"), ("real", "generated"))
"""As `SIDES`, where both columns are there: one of them alone says something else."""
REJECTED_BESIDE = ("rejected_messages", "rejected_response")
"""Columns of the rejected answer alone, beside a conversation that ends in the chosen one."""
NUMBERS = ("weight", "margin")
IGNORE = "ignore"
ANSWERS = frozenset(
    name for pair in (*SIDES, *SIDES_TOGETHER, *(verdict.responses for verdict in VERDICTS)) for name in pair
)
"""The columns of two answers."""
IDS = ("prompt_ids", "chosen_ids", "rejected_ids", "prompt_input_ids", "chosen_input_ids", "rejected_input_ids")
MASKS = ("mask", "completion_mask", "loss_mask", "labels", "attention_mask")
"""What may stand beside the token ids of a side, as in `chosen_labels`."""
OF_IDS = (*IDS, *(f"{side}_{mask}" for side in ("prompt", "chosen", "rejected") for mask in MASKS))
"""The columns that rows of token ids are read from."""
READ = frozenset(
    (
        *("prompt", "context", "history", *CONVERSATIONS, *QUESTIONS, *SYSTEMS, *TOOLS, "chat_template_kwargs"),
        *(*NUMBERS, *ANSWERS, *CANDIDATES, *WORTH, *OF_IDS),
        *(
            name
            for verdict in VERDICTS
            for name in (*verdict.columns, *(each for pair in verdict.worth for each in pair))
        ),
        "turn",
    )
)
"""The columns that some row is read from."""


def read_columns(columns: Any) -> dict[str, Any]:
    """Returns which column of the rows stands for which that is read, checked; `ignore` is a list of columns.

    >>> read_columns({"prompt": "question", "ignore": "notes"})
    {'prompt': 'question', 'ignore': ['notes']}

    Raises:
        ConfigError: a column that nothing is read from, or a name that is no text.
    """
    if columns is None:
        return {}
    if not isinstance(columns, Mapping):
        raise ConfigError(f"columns = {columns!r} must be pairs such as {{'prompt': 'question'}}.")
    read: dict[str, Any] = {}
    for role, name in columns.items():
        if role == IGNORE:
            read[role] = [name] if isinstance(name, str) else list(name)
        elif role not in READ:
            hint = nearest(str(role), READ) or f" {IGNORE!r} leaves a column out."
            main = "prompt, question, chosen, rejected, system, history, tools, weight and margin"
            raise ConfigError(f"columns: {role!r} is not read from any row. What is: {main}, among others.{hint}")
        else:
            read[role] = name
        for each in read[role] if role == IGNORE else [name]:
            if not isinstance(each, str) or not each:
                raise ConfigError(f"columns: {role} = {each!r} must be the name of a column.")
    return read


def renamed(row: Mapping[str, Any], columns: Mapping[str, Any], number: int) -> dict[str, str]:
    """Returns the columns of a row by the names that are read, without those to be ignored.

    Raises:
        DataError: a column beside the one that `columns` puts in its place.
    """
    left_out, moved = columns.get(IGNORE, ()), {role: name for role, name in columns.items() if role != IGNORE}
    names = {name: name for name in row if name not in left_out and name not in moved.values()}
    for role, name in moved.items():
        if role in names and not is_empty(plain(row[role], f"row {number}: {role!r}")):
            raise DataError(
                f"row {number} has a column {role!r} beside {name!r}, which columns puts in its place. Leave one out: "
                f"columns ignore={role}."
            )
        if name in row and name not in left_out:
            names[role] = name
    return names
