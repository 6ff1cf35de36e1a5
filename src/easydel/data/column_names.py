"""The names of columns: those that rows are read from, and the columns of a dataset or a row that are read as them."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from easydel.data.plain_values import is_empty, is_void, plain
from easydel.data.rankings import CANDIDATES, VERDICTS, WORTH
from easydel.errors import ConfigError, DataError, nearest

CONVERSATIONS = ("messages", "conversations", "conversation")
QUESTIONS = ("question", "instruction", "query", "input")  # what a user says; `prompt` in text stays text
SYSTEMS = ("system", "system_prompt", "system_message")
TOOLS = ("tools", "functions")
_NOUNS = ("response", "answer", "output", "completion", "message", "messages", "conversation")
COMPLETION_PAIRS = (
    ("chosen", "rejected"),
    *((f"chosen_{noun}", f"rejected_{noun}") for noun in _NOUNS),
    *((f"{noun}_chosen", f"{noun}_rejected") for noun in _NOUNS),
    ("response_j", "response_k"),
    ("preferred_output", "non_preferred_output"),
)
BOTH_OR_NEITHER = (("accepted", "rejected"), ("response", "rejected_response"), ("real", "generated"))
"""As `COMPLETION_PAIRS`, where both columns are there: one of them alone means something else."""
REJECTED_BESIDE = ("rejected_messages", "rejected_response")
"""Columns of the rejected completion alone, beside a conversation that ends in the chosen one."""
SCORES = ("chosen_score", "rejected_score")
NUMBERS = ("weight", "margin", "preference", *SCORES)
IGNORE = "ignore"
COMPLETIONS = frozenset(chain(*COMPLETION_PAIRS, *BOTH_OR_NEITHER, *(verdict.responses for verdict in VERDICTS)))
"""The columns of two completions."""
ID_COLUMNS = (
    ("prompt_ids", "chosen_ids", "rejected_ids"),
    ("prompt_input_ids", "chosen_input_ids", "rejected_input_ids"),
)
IDS = (*ID_COLUMNS[0], *ID_COLUMNS[1])
MASKS = ("mask", "completion_mask", "loss_mask", "labels", "attention_mask")
"""What may be given beside token ids, as in `chosen_labels`."""
OF_IDS = (*IDS, *(f"{side}_{mask}" for side in ("prompt", "chosen", "rejected") for mask in MASKS))
"""The columns that rows of token ids are read from."""
READ = frozenset(
    (
        *("prompt", "context", "history", *CONVERSATIONS, *QUESTIONS, *SYSTEMS, *TOOLS, "chat_template_kwargs"),
        *(*NUMBERS, *COMPLETIONS, *CANDIDATES, *WORTH, *OF_IDS),
        *chain.from_iterable(chain(verdict.columns, *verdict.worth) for verdict in VERDICTS),
        "turn",
    )
)
"""The columns that some row is read from."""


def read_columns(columns: Any) -> dict[str, Any]:
    """Returns the column of the rows that is read for each name, checked; `ignore` is a list of columns.

    >>> read_columns({"prompt": "question", "ignore": "notes"})
    {'prompt': 'question', 'ignore': ['notes']}

    Raises:
        ConfigError: a name that nothing is read from, or a column that is not a string.
    """
    if columns is None:
        return {}
    if not isinstance(columns, Mapping):
        raise ConfigError(f"columns = {columns!r} is not a mapping such as {{'prompt': 'question'}}.")
    read: dict[str, Any] = {}
    for role, name in columns.items():
        if role == IGNORE:
            read[role] = [name] if isinstance(name, str) else list(name)
        elif role not in READ:
            hint = nearest(str(role), READ)
            if isinstance(name, str) and name in READ:
                reads = f"{name}={role} reads your column {role!r} as {name!r}."
                hint += f" Or the other way around: {reads}" if hint else f" The name that is read comes first: {reads}"
            hint = hint or f" To drop a column, use {IGNORE!r}."
            known = "prompt, question, chosen, rejected, system, history, tools, weight, margin, preference and others"
            raise ConfigError(f"columns: unknown name {role!r}. Rows are read from {known}.{hint}")
        else:
            read[role] = name
        for each in read[role] if role == IGNORE else [name]:
            if not isinstance(each, str) or not each:
                raise ConfigError(f"columns: {role} = {each!r} is not the name of a column.")
    return read


def renamed(row: Mapping[str, Any], columns: Mapping[str, Any], number: int) -> dict[str, str]:
    """Returns the columns of a row by the names that they are read as, without those to be ignored.

    Raises:
        DataError: a column that has the name which `columns` gives to another.
    """
    left_out, moved = columns.get(IGNORE, ()), {role: name for role, name in columns.items() if role != IGNORE}
    names = {name: name for name in row if name not in left_out and name not in moved.values()}
    for role, name in moved.items():
        if role in names and not is_empty(plain(row[role], f"row {number}: {role!r}")):
            raise DataError(
                f"row {number} has a column {role!r}, and another, {name!r}, that columns reads as {role!r}. Drop the "
                f"first: --columns ignore={role}."
            )
        if name in row and name not in left_out:
            names[role] = name
    return names


def numbers_among(names: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns which columns of a row hold its numbers: `preference` does not where it says which of two is better."""
    verdicts = (verdict for verdict in VERDICTS if "preference" in verdict.columns)
    is_verdict = "preference" in names and any(names.keys() >= set(each.responses) for each in verdicts)
    return tuple(name for name in NUMBERS if name in names and not (is_verdict and name == "preference"))


class RowColumns:
    """The columns of one row under the names that they are read as; remembers which were read.

    Raises:
        DataError: of any method, a value that is not valid Unicode.
    """

    def __init__(self, row: Mapping[str, Any], columns: Mapping[str, Any], number: int) -> None:
        self.number = number
        self.names = renamed(row, columns, number)
        self.row = row
        self.used: dict[str, None] = {}
        self._plain: dict[str, Any] = {}

    def has(self, name: str) -> bool:
        """Returns whether a column is there and not empty."""
        return name in self.names and not is_void(self.look(name))

    def look(self, name: str) -> Any:
        """Returns the value of a column, plain; None where it is absent."""
        if name not in self.names:
            return None
        if name not in self._plain:
            self._plain[name] = plain(self.row[self.names[name]], f"row {self.number}: {self.names[name]!r}")
        return self._plain[name]

    def take(self, *names: str) -> tuple[str, Any]:
        """Returns the first of the columns that is not empty, and its value; it counts as read."""
        for name in names:
            if not is_void(value := self.look(name)):
                self.used[name] = None
                return name, value
        return "", None
