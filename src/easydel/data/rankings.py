"""Completions with a verdict, two with a label or several with ranks or scores, as a chosen and a rejected one."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from easydel.data.message_content import kind
from easydel.data.plain_values import as_dicts, is_empty
from easydel.errors import DataError

TIE = "no completion is preferred"
UNRANKED = "fewer than two completions are ranked"

CANDIDATES = ("completions", "answers", "responses", "generations", "candidates")
"""Columns of several completions."""

RANKS = ("ranks", "rank", "ranking", "rankings")
WORTH = (*RANKS, "ratings", "rating", "scores", "score", "rewards")
"""Columns with a list of ranks or scores, where the completions themselves have none."""

_TEXTS = ("answer", "response", "completion", "text", "content", "output", "generated_text", "messages", "message")
_RANKS = ("rank", "ranking")  # of which the lowest is best
_SCORES = ("overall_score", "score", "rating", "pm_score", "reward", "reward_score")


class Candidates(NamedTuple):
    """The better and the worse of several completions, or why there are no such two."""

    chosen: Any
    rejected: Any
    dropped: str = ""


class Verdict(NamedTuple):
    """Two columns of completions and those that may say which is better; `better` gives 0, 1 or None for neither.

    Without such a column `worth` may hold a score of each, of which more is better.
    """

    responses: tuple[str, str]
    columns: tuple[str, ...]
    better: Callable[[Any, str], int | None]
    worth: tuple[tuple[str, str], ...] = ()


def _by_index(value: Any, where: str) -> int | None:
    """The number of the better of two, from 0."""
    return _one_of({0: 0, 1: 1, -1: None}, value, where, "0 if the first completion is better, or 1 if the second is")


def _first_is_1(value: Any, where: str) -> int | None:
    return _one_of({1: 0, 0: 1}, value, where, "1 if the first completion is better, or 0 if the second is")


def _by_sign(value: Any, where: str) -> int | None:
    """Below 0 the first is better, above 0 the second."""
    number = 0 if is_empty(value) else _number(value, where)
    return None if not number else int(number > 0)


def _by_number(value: Any, where: str) -> int | None:
    """The number of the better of two, from 1; between them neither is."""
    name = _bare(value)
    if name is None or name in _NEITHER or name.startswith(("tie", "both")):
        return None
    number = _number({"a": 1, "b": 2}.get(name, name), where)
    if not 1 <= number <= 2:
        raise DataError(
            f"{where} is {value!r:.40}; it must be 1 if the first completion is better, 2 if the second is, or 'tie'."
        )
    return None if number == 1.5 else int(number > 1.5)


def _by_name(value: Any, where: str) -> int | None:
    name = _bare(value) if isinstance(value, str) else value
    if isinstance(name, str) and (name.startswith(("tie", "both")) or name in _NEITHER or not name):
        return None
    return _one_of({**dict.fromkeys(_FIRST, 0), **dict.fromkeys(_SECOND, 1), None: None}, name, where,
                   "'a', 'b' or 'tie'")  # fmt: skip


def _bare(value: Any) -> str | None:
    """The name of a completion without what all begin with, as in `model_a` or `Response 1`."""
    if is_empty(value):
        return None
    name = re.sub(r"[\s_]+", " ", str(value).strip().lower())
    return re.sub(r"^(model|response|answer|output|assistant|completion|conversation) ?", "", name)


_NEITHER = ("neither", "none", "draw", "equal", "same", "a=b")
_FIRST, _SECOND = ("a", "a>b", "a>>b", "b<a"), ("b", "b>a", "b>>a", "a<b")
_NAMED = ("winner", "preference", "preferred", "label", "choice", "better")
_NOUNS = ("response", "answer", "output", "completion", "conversation")
_ANSWERS_0 = ("better_response_id", "safer_response_id", *("label", "labels", "preference", "preferred", "choice"))
VERDICTS = (
    *(
        Verdict((f"{noun}_0", f"{noun}_1"), _ANSWERS_0, _by_index, (("score_0", "score_1"), ("rating_0", "rating_1")))
        for noun in _NOUNS
    ),
    Verdict(("response1", "response2"), ("overall_preference", "preference_strength"), _by_sign),
    Verdict(("response_1", "response_2"), ("preference_strength", "overall_preference"), _by_sign),
    *(
        Verdict((f"{noun}{line}1", f"{noun}{line}2"), _NAMED, _by_number, (("score_1", "score_2"),))
        for noun in _NOUNS
        for line in ("_", "")
    ),
    *(
        Verdict((f"{noun}_{one}", f"{noun}_{two}"), _NAMED, _by_name, (("winner_model_a", "winner_model_b"),))
        for noun in _NOUNS
        for one, two in ("ab", "AB")
    ),
    Verdict(("conv_A", "conv_B"), _NAMED, _by_name, (("conv_A_rating", "conv_B_rating"),)),
    Verdict(("human_ref_A", "human_ref_B"), ("labels", "label"), _first_is_1),
)


def by_worth(first: Any, second: Any, where: str) -> int | None:
    """Returns which of two scores is higher, 0 or 1; None for neither.

    Raises:
        DataError: beginning with `where`, a score that is not a finite number.
    """
    if is_empty(first) or is_empty(second):
        return None
    one, other = _number(first, where), _number(second, where)
    return None if one == other else int(other > one)


def preferred(first: Any, second: Any, better: int | None) -> Candidates:
    """Returns two completions as the better and the worse one; `better` is the number of the better one, from 0."""
    if better is None:
        return Candidates(first, second, TIE)
    return Candidates(second, first) if better else Candidates(first, second)


def best_and_worst(completions: Any, worth: Any, where: str, *, by_rank: bool = False) -> Candidates | None:
    """Returns the best and the worst of several completions; None where they have no ranks or scores.

    `worth` may hold a number for each, of which the lowest is best with `by_rank`. Of equal ones the first is taken;
    where all are equal, there is no pair.

    >>> best_and_worst([{"answer": "a", "rank": 3}, {"answer": "b", "rank": 1}], None, "row 0")
    Candidates(chosen='b', rejected='a', dropped='')

    Raises:
        DataError: beginning with `where`, ranks or scores that are not numbers, or not one for each completion.
    """
    completions = _as_list(completions, where)
    if isinstance(worth, list) and len(worth) != len(completions):
        raise DataError(
            f"{where} holds {len(completions)} completions, but the number of ranks or scores is {len(worth)}: give "
            "one for each."
        )
    scored = []
    for at, completion in enumerate(completions):
        text, score = _scored(completion, worth[at] if isinstance(worth, list) else None, f"{where} {at}")
        if score is not None:
            scored.append((-score if by_rank else score, text))
    if not scored:
        return Candidates(None, None, UNRANKED) if _are_scored(completions) or worth is not None else None
    best = max(scored, key=lambda each: each[0])
    worst = min(scored, key=lambda each: each[0])
    if len(scored) < 2:
        return Candidates(None, None, UNRANKED)
    return Candidates(best[1], worst[1], TIE if best[0] == worst[0] else "")


def _as_list(completions: Any, where: str) -> list[Any]:
    """A list of dicts; older versions of datasets give a dict of lists for it."""
    found = as_dicts(completions)
    if not isinstance(found, list):
        raise DataError(f"{where} is {kind(completions)}; it must be a list of completions.")
    return found


def _scored(given: Any, worth: Any, where: str) -> tuple[Any, float | None]:
    """The text of a completion and its score, higher being better."""
    if not isinstance(given, Mapping):
        return given, None if is_empty(worth) else _number(worth, where)
    text = next((given[name] for name in _TEXTS if name in given), None)
    if "role" in given or "from" in given:
        text = {key: value for key, value in given.items() if key not in (*_RANKS, *_SCORES)}
    for names, sign in ((_RANKS, -1), (_SCORES, 1)):
        for name in names:
            if not is_empty(given.get(name)):
                return text, sign * _number(given[name], f"{where}: {name!r}")
    return text, None if is_empty(worth) else _number(worth, where)


def _are_scored(completions: list[Any]) -> bool:
    return any(isinstance(each, Mapping) and each.keys() & {*_RANKS, *_SCORES} for each in completions)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        number = None
    if number is None or number != number or abs(number) == float("inf"):
        raise DataError(f"{where} is {value!r:.40}; it must be a finite number: the rank or score of a completion.")
    return number


def _one_of(choices: Mapping[Any, int | None], value: Any, where: str, wanted: str) -> int | None:
    if is_empty(value):
        return None
    if isinstance(value, str) and value.strip().lstrip("-").isdigit():
        value = int(value)
    if isinstance(value, list | Mapping) or value not in choices:
        raise DataError(f"{where} is {value!r:.40}; it must be {wanted}.")
    return choices[value]
