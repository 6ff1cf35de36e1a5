"""Which columns of a row answer, and which say what answer is better."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from easydel.data.column_names import CONVERSATIONS, REJECTED_BESIDE, SIDES, SIDES_TOGETHER
from easydel.data.literals import parsed
from easydel.data.messages import listed, role_of
from easydel.data.ranked import (
    CANDIDATES,
    RANKS,
    UNRANKED,
    VERDICTS,
    WORTH,
    Candidates,
    Verdict,
    by_worth,
    preferred,
    ranked,
)
from easydel.data.row_columns import RowColumns
from easydel.data.values import is_void, written_out
from easydel.errors import DataError, closest

FORMS = (
    "a row holds text or a list of {role, content} messages as 'prompt', 'chosen' and 'rejected'; or as "
    "'chosen' and 'rejected' that share their beginning; or 'messages' (ShareGPT: 'conversations') with an answer "
    "each as 'chosen' and 'rejected'; or token ids as 'prompt_ids', 'chosen_ids' and 'rejected_ids'"
)
EMPTY = "an answer is empty"


class Answers(NamedTuple):
    """The better and the worse answer, unread, and the columns they stand in; `dropped` says why there is no pair."""

    chosen: Any
    rejected: Any
    sides: tuple[str, str]
    dropped: str = ""


def answers_of(have: RowColumns) -> Answers:
    """Returns the two answers of a row.

    Raises:
        DataError: there are none, or nothing says which is better.
    """
    both = (*SIDES, *SIDES_TOGETHER)
    two = next((sides for sides in both if all(map(have.has, sides))), None)
    two = two or next((sides for sides in both if _are_there(have, sides)), None)
    if two is None and (found := _beside_conversation(have)):
        return found
    two = two or next((sides for sides in SIDES if any(map(have.has, sides))), None)
    if two is not None:
        return _two_sides(have, two)
    judged = [verdict for verdict in VERDICTS if any(have.has(name) for name in verdict.responses)]
    if judged:
        most = max(sum(name in have.names for name in verdict.responses) for verdict in judged)
        return _judged(have, [one for one in judged if sum(name in have.names for name in one.responses) == most])
    if found := _best_and_worst(have):
        return found
    two = next((sides for sides in both if all(name in have.names for name in sides)), None)
    if two is not None:
        return _two_sides(have, two)
    raise DataError(_no_answers(have))


def _are_there(have: RowColumns, sides: tuple[str, str]) -> bool:
    return all(name in have.names for name in sides) and any(map(have.has, sides))


def _beside_conversation(have: RowColumns) -> Answers | None:
    """As ms-swift takes pairs: a conversation that ends in the chosen answer, and the rejected one beside it."""
    rejected = next((name for name in REJECTED_BESIDE if have.has(name)), None)
    chosen = next((name for name in CONVERSATIONS if have.has(name)), None)
    if rejected is None or chosen is None or not _is_answered(have.look(chosen), f"row {have.number}: {chosen!r}"):
        return None
    have.used |= dict.fromkeys([chosen, rejected])
    return Answers(have.look(chosen), have.look(rejected), (have.names[chosen], have.names[rejected]))


def _is_answered(value: Any, where: str) -> bool:
    """Whether a conversation ends in an answer."""
    if isinstance(value, str) and (written := written_out(value, where)):
        value = written.value
    messages = listed(value)
    last = messages[-1] if messages else None
    return isinstance(last, Mapping) and role_of(last) == "assistant"


def _best_and_worst(have: RowColumns) -> Answers | None:
    for texts in CANDIDATES:
        value = parsed(have.look(texts))
        if not isinstance(value, list | Mapping) or is_void(value):
            continue
        worth = next((name for name in WORTH if isinstance(parsed(have.look(name)), list)), None)
        numbers = parsed(have.look(worth)) if worth else None
        found = ranked(value, numbers, f"row {have.number}: {texts!r}", by_rank=worth in RANKS)
        if found is not None:
            have.used |= dict.fromkeys([texts] if worth is None else [texts, worth])
            return _pair(found, (texts, texts))
    empty = next((name for name in CANDIDATES if name in have.names and is_void(have.look(name))), None)
    one = any(have.has(name) for name in ("completion", "response", "output", "answer"))
    if empty is None or one or any(name in have.names for sides in SIDES for name in sides):
        return None
    have.used[empty] = None
    return Answers(None, None, (empty, empty), UNRANKED)


def _two_sides(have: RowColumns, sides: tuple[str, str]) -> Answers:
    for name in sides:
        if name not in have.names:
            raise DataError(_missing(have, name))
        have.used[name] = None
    chosen, rejected = (have.look(name) for name in sides)
    return _pair(Candidates(chosen, rejected), (have.names[sides[0]], have.names[sides[1]]))


def _judged(have: RowColumns, verdicts: Sequence[Verdict]) -> Answers:
    responses = verdicts[0].responses
    verdicts = [verdict for verdict in verdicts if verdict.responses == responses]
    first, second = (_first_turns(have, name) for name in responses)
    known = [(verdict, name) for verdict in verdicts for name in verdict.columns if name in have.names]
    told = next(((verdict, name) for verdict, name in known if have.has(name)), None)
    worth = next((pair for verdict in verdicts for pair in verdict.worth if all(map(have.has, pair))), None)
    if told is None and worth is not None:
        have.used |= dict.fromkeys(worth)
        where = f"row {have.number}: {worth[0]!r} or {worth[1]!r}"
        better = by_worth(have.look(worth[0]), have.look(worth[1]), where)
        return _pair(preferred(first, second, better), responses)
    if not known:
        names = dict.fromkeys(name for verdict in verdicts for name in verdict.columns)
        raise DataError(
            f"row {have.number} has {' and '.join(map(repr, responses))}, and no column says which is better: "
            f"{', '.join(map(repr, names))}. {FORMS[0].upper()}{FORMS[1:]}."
        )
    verdict, column = told or known[0]
    have.used[column] = None
    where = f"row {have.number}: {have.names[column]!r}"
    return _pair(preferred(first, second, verdict.better(have.look(column), where)), responses)


def _first_turns(have: RowColumns, name: str) -> Any:
    """An answer; of a whole conversation the turns that were judged: MT-Bench judges the first of two by itself."""
    value, turns = have.take(name)[1], have.look("turn")
    if not name.startswith("conversation_") or not isinstance(value, list) or not isinstance(turns, int):
        return value
    asked = [at for at, each in enumerate(value) if isinstance(each, Mapping) and role_of(each) == "user"]
    if not 0 < turns < len(asked):
        return value
    have.used["turn"] = None
    return value[: asked[turns]]


def _pair(found: Candidates, sides: tuple[str, str]) -> Answers:
    chosen, rejected, dropped = found
    if not dropped and (is_void(chosen) or is_void(rejected)):
        dropped = EMPTY
    return Answers(chosen, rejected, sides, dropped)


def _missing(have: RowColumns, name: str) -> str:
    columns = ", ".join(map(repr, have.row)) or "none"
    similar = closest(name, [str(each) for each in have.row])
    hint = f" Should {similar!r} be called {name!r}?" if similar else ""
    hint += f" A column of another name is told by --columns {name}=..., in Python columns={{{name!r}: ...}}."
    return f"row {have.number} has no {name!r}. Its columns: {columns}.{hint} Expected: {FORMS}."


def _no_answers(have: RowColumns) -> str:
    one = next((name for name in ("completion", "response", "output", "answer") if have.has(name)), None)
    label = next((name for name in ("label", "labels", "score", "rating") if name in have.names), None)
    if one and label:
        return (
            f"row {have.number} holds one answer, {one!r}, and {label!r}, as KTO is trained on; a pair of answers to "
            "the same prompt is needed, as 'chosen' and 'rejected'."
        )
    return _missing(have, next((name for name in ("chosen", "rejected") if name not in have.names), "chosen"))
