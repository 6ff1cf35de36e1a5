"""Rows of token ids: which columns hold them, what of them is padding or the prompt once more, and what bears loss."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from easydel.data.answers import EMPTY
from easydel.data.column_names import renamed
from easydel.data.format import NO_COLUMNS
from easydel.data.tokenize import Joined
from easydel.errors import DataError

ID_COLUMNS = (
    ("prompt_ids", "chosen_ids", "rejected_ids"),
    ("prompt_input_ids", "chosen_input_ids", "rejected_input_ids"),
)
_LOSS_MASKS = ("{side}_mask", "{side}_completion_mask", "{side}_loss_mask")
_NO_LOSS = -100  # the label of a token that bears none, in transformers
NO_LOSS = "no token of a completion bears loss"
_UNREAD = ("completion_mask", "loss_mask", "labels", "attention_mask")  # of which side?


class _Side(NamedTuple):
    ids: list[int]
    trained: list[bool] | None  # as labels or a mask say


def id_columns(row: Mapping[str, Any], columns: Mapping[str, Any] = NO_COLUMNS) -> tuple[str, ...] | None:
    """Returns the names of the columns that hold token ids, None for a row of text."""
    given = _given(row, columns)
    return next((names for names in ID_COLUMNS if any(given.get(name) is not None for name in names)), None)


def read_ids(row: Mapping[str, Any], number: int, columns: Mapping[str, Any] = NO_COLUMNS) -> Joined | None:
    """Returns the token ids that a row holds, None for a row of text.

    Tokens whose attention mask is 0 are padding, and left out. A loss mask of 0, or a label of -100, leaves a token of
    a completion without loss. A side that begins with the prompt, without loss, holds it once more; without labels and
    masks, sides that both begin with it do.

    Raises:
        DataError: naming the row and the column.
    """
    names = id_columns(row, columns)
    if names is None:
        return None
    given = _given(row, columns)
    for name in _UNREAD:
        if given.get(name) is not None:
            raise DataError(
                f"row {number}: {name!r} does not say of which completion it is: call it 'chosen_{name}' and "
                f"'rejected_{name}', or leave it out with --columns ignore={name}."
            )
    if any(name in given and given[name] is None for name in names[1:]):
        return Joined([], [], [], dropped=EMPTY)
    sides = [_side(given, names[at], word, number) for at, word in ((1, "chosen"), (2, "rejected"))]
    if not all(side.ids for side in sides):
        return Joined([], [], [], dropped=EMPTY)
    prompt = _prompt(given, names, sides, number)
    masked = any(_holds(side, prompt) and side.trained is not None for side in sides)
    if masked or (len(prompt) > 1 and all(_holds(side, prompt) for side in sides)):
        sides = [_after(side, prompt) if _holds(side, prompt) else side for side in sides]
        if not all(side.ids for side in sides):
            return Joined([], [], [], dropped=EMPTY)
    if any(side.trained is not None and not any(side.trained) for side in sides):
        return Joined([], [], [], dropped=NO_LOSS)
    masks = [None if side.trained is None or all(side.trained) else side.trained for side in sides]
    return Joined(prompt, sides[0].ids, sides[1].ids, chosen_trained=masks[0], rejected_trained=masks[1])


def _given(row: Mapping[str, Any], columns: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: row[column] for name, column in renamed(row, columns, 0).items()} if columns else row


def _prompt(given: Mapping[str, Any], names: Sequence[str], sides: Sequence[_Side], number: int) -> list[int]:
    if given.get(names[0]) is not None:
        ids, _ = _without_padding(given, names[0], "prompt", None, number)
        if not ids:
            raise DataError(f"row {number}: {names[0]!r} is empty; it needs at least one token.")
        return ids
    if any(side.trained is None for side in sides):
        raise DataError(f"row {number} has token ids but no {names[0]!r}. All of {', '.join(names)} are needed.")
    lengths = [(side.trained or []).index(True) if any(side.trained or []) else len(side.ids) for side in sides]
    prompt = sides[0].ids[: min(lengths)]
    if not prompt or sides[1].ids[: len(prompt)] != prompt:
        raise DataError(
            f"row {number} has no {names[0]!r}, and the completions do not begin with the same tokens without loss "
            f"(a label of {_NO_LOSS}, or a mask of 0)."
        )
    return prompt


def _side(given: Mapping[str, Any], name: str, side: str, number: int) -> _Side:
    if given.get(name) is None:
        raise DataError(f"row {number} has token ids but no {name!r}. All of prompt, chosen and rejected are needed.")
    masks = [each for each in (mask.format(side=side) for mask in _LOSS_MASKS) if given.get(each) is not None]
    labels = f"{side}_labels" if given.get(f"{side}_labels") is not None else None
    if len(masks) + (labels is not None) > 1:
        raise DataError(
            f"row {number} has {', '.join(map(repr, [*masks, labels] if labels else masks))}: give one of them."
        )
    ids, trained = _without_padding(given, name, side, labels or (masks[0] if masks else None), number)
    return _Side(ids, trained)


def _without_padding(
    given: Mapping[str, Any], name: str, side: str, mask: str | None, number: int
) -> tuple[list[int], list[bool] | None]:
    """The ids of a column without its padding, and which of them bear loss."""
    ids = _integers(given[name], name, number)
    trained = None
    if mask is not None:
        values = _integers(given[mask], mask, number, of=(name, len(ids)))
        trained = (
            [value != _NO_LOSS for value in values] if mask.endswith("_labels") else [value != 0 for value in values]
        )
        if mask.endswith("_labels") and any(
            value not in (_NO_LOSS, token) for value, token in zip(values, ids, strict=True)
        ):
            raise DataError(
                f"row {number}: {mask!r} holds a label that is neither {_NO_LOSS} nor the token of {name!r} there."
            )
    attention = f"{side}_attention_mask"
    if given.get(attention) is not None:
        seen = _integers(given[attention], attention, number, of=(name, len(ids)))
        if "1 0 1" in " ".join(
            str(value) for value, before in zip(seen, [None, *seen], strict=False) if value != before
        ):
            raise DataError(f"row {number}: {attention!r} leaves out tokens between others; padding is at an end.")
        trained = None if trained is None else [each for each, value in zip(trained, seen, strict=True) if value]
        ids = [token for token, value in zip(ids, seen, strict=True) if value]
    return ids, trained


def _holds(side: _Side, prompt: Sequence[int]) -> bool:
    """Whether a side begins with the prompt, and its labels or mask, if it has any, say that it is one."""
    masked = side.trained is None or not any(side.trained[: len(prompt)])
    return side.ids[: len(prompt)] == list(prompt) and masked


def _after(side: _Side, prompt: Sequence[int]) -> _Side:
    trained = None if side.trained is None else side.trained[len(prompt) :]
    return _Side(side.ids[len(prompt) :], trained)


def _integers(value: Any, name: str, number: int, of: tuple[str, int] | None = None) -> list[int]:
    values = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(values, list | tuple) or not _are_whole(values, may_be_bool=of is not None):
        words = "the ids of its tokens" if of is None else f"one for each token of {of[0]!r}"
        raise DataError(f"row {number}: {name!r} must be a list of whole numbers, {words}.")
    if of is not None and len(values) != of[1]:
        raise DataError(f"row {number}: {name!r} has the length {len(values)}, and {of[0]!r} {of[1]}.")
    return list(map(int, values))


def _are_whole(values: Sequence[Any], *, may_be_bool: bool) -> bool:
    """Whether all are whole numbers, of Python or numpy; a truth value is one in a mask alone."""
    kinds = set(map(type, values))
    return all(
        issubclass(kind, Integral | np.bool_) and (may_be_bool or kind not in (bool, np.bool_)) for kind in kinds
    )
