"""Rows of token ids: their columns, what of them is padding or the prompt once more, and what bears loss."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from easydel.data.column_names import ID_COLUMNS, renamed
from easydel.data.completion_columns import EMPTY
from easydel.data.format import NO_COLUMNS
from easydel.data.tokenize import Joined
from easydel.errors import DataError

_LOSS_MASKS = ("{name}_mask", "{name}_completion_mask", "{name}_loss_mask")
_NO_LOSS = -100  # the label of a token that bears none, in transformers
NO_LOSS = "no token of a completion bears loss"
_UNREAD = ("completion_mask", "loss_mask", "labels", "attention_mask")  # of which completion?


class _Completion(NamedTuple):
    ids: list[int]
    trained: list[bool] | None  # as labels or a mask say


def id_columns(row: Mapping[str, Any], columns: Mapping[str, Any] = NO_COLUMNS) -> tuple[str, ...] | None:
    """Returns the names of the columns that hold token ids, None for a row of text.

    Raises:
        DataError: two columns of the same name, see `easydel.data.column_names.renamed`.
    """
    given = _given(row, columns)
    return next((names for names in ID_COLUMNS if any(given.get(name) is not None for name in names)), None)


def read_ids(row: Mapping[str, Any], number: int, columns: Mapping[str, Any] = NO_COLUMNS) -> Joined | None:
    """Returns the token ids that a row holds, None for a row of text.

    Tokens whose attention mask is 0 are padding, and left out. A loss mask of 0, or a label of -100, leaves a token of
    a completion without loss. A completion that begins with the prompt, without loss, repeats it; without labels and
    masks, completions that both begin with it do.

    Raises:
        DataError: naming the row and the column, ids or masks that are not integers, differ in length, or do not fit.
    """
    names = id_columns(row, columns)
    if names is None:
        return None
    given = _given(row, columns)
    for name in _UNREAD:
        if given.get(name) is not None:
            raise DataError(
                f"row {number}: {name!r} does not say which completion it belongs to: call it 'chosen_{name}' and "
                f"'rejected_{name}', or drop it: --columns ignore={name}."
            )
    if any(name in given and given[name] is None for name in names[1:]):
        return Joined([], [], [], dropped=EMPTY)
    both = [_completion(given, names[at], word, number) for at, word in ((1, "chosen"), (2, "rejected"))]
    if not all(each.ids for each in both):
        return Joined([], [], [], dropped=EMPTY)
    prompt = _prompt(given, names, both, number)
    masked = any(_holds(each, prompt) and each.trained is not None for each in both)
    if masked or (len(prompt) > 1 and all(_holds(each, prompt) for each in both)):
        both = [_after(each, prompt) if _holds(each, prompt) else each for each in both]
        if not all(each.ids for each in both):
            return Joined([], [], [], dropped=EMPTY)
    if any(each.trained is not None and not any(each.trained) for each in both):
        return Joined([], [], [], dropped=NO_LOSS)
    masks = [None if each.trained is None or all(each.trained) else each.trained for each in both]
    return Joined(prompt, both[0].ids, both[1].ids, chosen_trained=masks[0], rejected_trained=masks[1])


def _given(row: Mapping[str, Any], columns: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: row[column] for name, column in renamed(row, columns, 0).items()} if columns else row


def _prompt(given: Mapping[str, Any], names: Sequence[str], both: Sequence[_Completion], number: int) -> list[int]:
    if given.get(names[0]) is not None:
        ids = _without_padding(given, names[0], "prompt", None, number).ids
        if not ids:
            raise DataError(f"row {number}: {names[0]!r} is empty; it needs at least one token.")
        return ids
    if any(each.trained is None for each in both):
        raise DataError(f"row {number} has token ids but no {names[0]!r}. All of {', '.join(names)} are needed.")
    lengths = [(each.trained or []).index(True) if any(each.trained or []) else len(each.ids) for each in both]
    prompt = both[0].ids[: min(lengths)]
    if not prompt or both[1].ids[: len(prompt)] != prompt:
        raise DataError(
            f"row {number} has no {names[0]!r}, and the completions do not begin with the same masked tokens (label "
            f"{_NO_LOSS} or mask 0), which could be the prompt."
        )
    return prompt


def _completion(given: Mapping[str, Any], name: str, which: str, number: int) -> _Completion:
    if given.get(name) is None:
        raise DataError(f"row {number} has token ids but no {name!r}. All of prompt, chosen and rejected are needed.")
    masks = [each for each in (mask.format(name=which) for mask in _LOSS_MASKS) if given.get(each) is not None]
    labels = f"{which}_labels" if given.get(f"{which}_labels") is not None else None
    if len(masks) + (labels is not None) > 1:
        raise DataError(
            f"row {number} has {', '.join(map(repr, [*masks, labels] if labels else masks))}: keep one of them."
        )
    return _without_padding(given, name, which, labels or (masks[0] if masks else None), number)


def _without_padding(given: Mapping[str, Any], name: str, which: str, mask: str | None, number: int) -> _Completion:
    """The ids of a column without its padding, and which of them bear loss."""
    ids = _integers(given[name], name, number)
    trained = None
    if mask is not None:
        values = _integers(given[mask], mask, number, of=(name, len(ids)))
        is_label = mask.endswith("_labels")
        trained = [value != (_NO_LOSS if is_label else 0) for value in values]
        at = next((at for at, token in enumerate(ids) if is_label and values[at] not in (_NO_LOSS, token)), None)
        if at is not None:
            raise DataError(
                f"row {number}: {mask!r} has the label {values[at]} at position {at}, where {name!r} has the token "
                f"{ids[at]}; it must be that token, or {_NO_LOSS} for no loss."
            )
    attention = f"{which}_attention_mask"
    if given.get(attention) is not None:
        seen = _integers(given[attention], attention, number, of=(name, len(ids)))
        if "1 0 1" in " ".join(str(value) for value, _ in groupby(seen)):
            raise DataError(f"row {number}: {attention!r} has a 0 between ones; padding is at the ends.")
        trained = None if trained is None else [each for each, value in zip(trained, seen, strict=True) if value]
        ids = [token for token, value in zip(ids, seen, strict=True) if value]
    return _Completion(ids, trained)


def _holds(completion: _Completion, prompt: Sequence[int]) -> bool:
    """Whether a completion begins with the prompt, on which its labels or mask, if it has any, put no loss."""
    masked = completion.trained is None or not any(completion.trained[: len(prompt)])
    return completion.ids[: len(prompt)] == list(prompt) and masked


def _after(completion: _Completion, prompt: Sequence[int]) -> _Completion:
    trained = None if completion.trained is None else completion.trained[len(prompt) :]
    return _Completion(completion.ids[len(prompt) :], trained)


def _integers(value: Any, name: str, number: int, of: tuple[str, int] | None = None) -> list[int]:
    values = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(values, list | tuple) or not _are_integers(values, may_be_bool=of is not None):
        which = "the token ids" if of is None else f"one for each token of {of[0]!r}"
        raise DataError(f"row {number}: {name!r} must be a list of integers, {which}.")
    if of is not None and len(values) != of[1]:
        raise DataError(f"row {number}: {name!r} has length {len(values)}, but {of[0]!r} has length {of[1]}.")
    return list(map(int, values))


def _are_integers(values: Sequence[Any], *, may_be_bool: bool) -> bool:
    """Whether all are integers, of Python or numpy; a boolean counts as one in a mask alone."""
    kinds = set(map(type, values))
    return all(
        issubclass(kind, Integral | np.bool_) and (may_be_bool or kind not in (bool, np.bool_)) for kind in kinds
    )
