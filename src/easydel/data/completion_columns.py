"""Which columns of a row are the two completions, or say which of several completions is better."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from easydel.data.column_names import (
    BOTH_OR_NEITHER,
    COMPLETION_PAIRS,
    CONVERSATIONS,
    READ,
    REJECTED_BESIDE,
    RowColumns,
)
from easydel.data.messages import role_of, roles_in
from easydel.data.plain_values import is_void
from easydel.data.rankings import (
    CANDIDATES,
    RANKS,
    UNRANKED,
    VERDICTS,
    WORTH,
    Candidates,
    Verdict,
    best_and_worst,
    by_worth,
    preferred,
)
from easydel.data.text_literals import parsed
from easydel.errors import DataError, closest

FORMS = (
    "'prompt', 'chosen' and 'rejected', each a string or a list of {role, content} messages; or 'chosen' and "
    "'rejected' that begin with the prompt; or 'messages' (ShareGPT: 'conversations') with a completion each in "
    "'chosen' and 'rejected'; or token ids in 'prompt_ids', 'chosen_ids' and 'rejected_ids'"
)
EMPTY = "a completion is empty"


class Completions(NamedTuple):
    """The better and the worse completion, unread, and their columns; `dropped` says why there is no pair."""

    chosen: Any
    rejected: Any
    columns: tuple[str, str]
    dropped: str = ""


def completions_of(have: RowColumns) -> Completions:
    """Returns the two completions of a row.

    Raises:
        DataError: there are not two, or nothing says which is better.
    """
    both = (*COMPLETION_PAIRS, *BOTH_OR_NEITHER)
    two = next((pair for pair in both if all(map(have.has, pair))), None)
    there = [pair for pair in both if all(name in have.names for name in pair)]
    two = two or next((pair for pair in there if any(map(have.has, pair))), None)
    if two is None and (found := _beside_conversation(have)):
        return found
    two = two or next((pair for pair in COMPLETION_PAIRS if any(map(have.has, pair))), None)
    if two is not None:
        return _two_columns(have, two)
    judged = [verdict for verdict in VERDICTS if any(have.has(name) for name in verdict.responses)]
    if judged:
        most = max(sum(name in have.names for name in verdict.responses) for verdict in judged)
        return _judged(have, [one for one in judged if sum(name in have.names for name in one.responses) == most])
    if found := _of_several(have):
        return found
    if there:
        return _two_columns(have, there[0])
    raise DataError(_no_pair(have))


def _beside_conversation(have: RowColumns) -> Completions | None:
    """As ms-swift takes pairs: a conversation that ends in the chosen completion, and the rejected one beside it."""
    rejected = next((name for name in REJECTED_BESIDE if have.has(name)), None)
    chosen = next((name for name in CONVERSATIONS if have.has(name)), None)
    if rejected is None or chosen is None:
        return None
    if roles_in(have.look(chosen), f"row {have.number}: {chosen!r}")[-1:] != ["assistant"]:
        return None
    have.used |= dict.fromkeys([chosen, rejected])
    return Completions(have.look(chosen), have.look(rejected), (have.names[chosen], have.names[rejected]))


def _of_several(have: RowColumns) -> Completions | None:
    for texts in CANDIDATES:
        value = parsed(have.look(texts))
        if not isinstance(value, list | Mapping) or is_void(value):
            continue
        worth = next((name for name in WORTH if isinstance(parsed(have.look(name)), list)), None)
        numbers = parsed(have.look(worth)) if worth else None
        found = best_and_worst(value, numbers, f"row {have.number}: {texts!r}", by_rank=worth in RANKS)
        if found is not None:
            have.used |= dict.fromkeys([texts] if worth is None else [texts, worth])
            return _pair(found, (texts, texts))
    empty = next((name for name in CANDIDATES if name in have.names and is_void(have.look(name))), None)
    one = any(have.has(name) for name in ("completion", "response", "output", "answer"))
    if empty is None or one or any(name in have.names for pair in COMPLETION_PAIRS for name in pair):
        return None
    have.used[empty] = None
    return Completions(None, None, (empty, empty), UNRANKED)


def _two_columns(have: RowColumns, pair: tuple[str, str]) -> Completions:
    for name in pair:
        if name not in have.names:
            raise DataError(_missing(have, name))
        have.used[name] = None
    chosen, rejected = map(have.look, pair)
    return _pair(Candidates(chosen, rejected), (have.names[pair[0]], have.names[pair[1]]))


def _judged(have: RowColumns, verdicts: Sequence[Verdict]) -> Completions:
    responses = verdicts[0].responses
    verdicts = [verdict for verdict in verdicts if verdict.responses == responses]
    first, second = (_first_turns(have, name) for name in responses)
    known = [(verdict, name) for verdict in verdicts for name in verdict.columns if name in have.names]
    given = next(((verdict, name) for verdict, name in known if have.has(name)), None)
    worth = next((pair for verdict in verdicts for pair in verdict.worth if all(map(have.has, pair))), None)
    if given is None and worth is not None:
        have.used |= dict.fromkeys(worth)
        where = f"row {have.number}: {worth[0]!r} or {worth[1]!r}"
        better = by_worth(have.look(worth[0]), have.look(worth[1]), where)
        return _pair(preferred(first, second, better), responses)
    if not known:
        names = dict.fromkeys(name for verdict in verdicts for name in verdict.columns)
        raise DataError(
            f"row {have.number} has {' and '.join(map(repr, responses))}, but none of the columns that say which is "
            f"better: {', '.join(map(repr, names))}. Expected: {FORMS}."
        )
    verdict, column = given or known[0]
    have.used[column] = None
    where = f"row {have.number}: {have.names[column]!r}"
    return _pair(preferred(first, second, verdict.better(have.look(column), where)), responses)


def _first_turns(have: RowColumns, name: str) -> Any:
    """A completion; of a conversation the turns that were judged: MT-Bench judges the first of two by itself."""
    value, turns = have.take(name)[1], have.look("turn")
    if not name.startswith("conversation_") or not isinstance(value, list) or not isinstance(turns, int):
        return value
    asked = [at for at, each in enumerate(value) if isinstance(each, Mapping) and role_of(each) == "user"]
    if not 0 < turns < len(asked):
        return value
    have.used["turn"] = None
    return value[: asked[turns]]


def _pair(found: Candidates, columns: tuple[str, str]) -> Completions:
    chosen, rejected, dropped = found
    if not dropped and (is_void(chosen) or is_void(rejected)):
        dropped = EMPTY
    return Completions(chosen, rejected, columns, dropped)


def _missing(have: RowColumns, name: str) -> str:
    columns = ", ".join(map(repr, have.row)) or "(none)"
    similar = closest(name, [str(each) for each in have.row if each not in READ]) or "..."
    hint = f"If another column holds it, use --columns {name}={similar}, in Python columns={{{name!r}: {similar!r}}}."
    return f"row {have.number} has no {name!r}. Its columns: {columns}. {hint} Expected: {FORMS}."


def _no_pair(have: RowColumns) -> str:
    one = next((name for name in ("completion", "response", "output", "answer") if have.has(name)), None)
    label = next((name for name in ("label", "labels", "score", "rating") if name in have.names), None)
    if one and label:
        return (
            f"row {have.number} has one completion, {one!r}, and {label!r}: unpaired preference data, as for KTO. Here "
            "a row is a pair: two completions of the same prompt, in 'chosen' and 'rejected'."
        )
    return _missing(have, next((name for name in ("chosen", "rejected") if name not in have.names), "chosen"))
