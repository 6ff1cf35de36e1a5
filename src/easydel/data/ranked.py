"""Answers beside a verdict, two with a label or several with ranks or scores, as a chosen and a rejected one."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from easydel.data.messages import kind
from easydel.data.values import is_empty
from easydel.errors import DataError

TIE = "no answer is preferred to another"
UNRANKED = "fewer than two answers are ranked"

CANDIDATES = ("completions", "answers", "responses", "generations", "candidates")
"""Columns of several answers."""

RANKS = ("ranks", "rank", "ranking", "rankings")
WORTH = (*RANKS, "ratings", "rating", "scores", "score", "rewards")
"""Columns with a list of what each answer is worth, where the answers themselves do not say it."""

_TEXTS = ("answer", "response", "completion", "text", "content", "output", "generated_text", "messages", "message")
_RANKS = ("rank", "ranking")  # of which the lowest is best
_SCORES = ("overall_score", "score", "rating", "pm_score", "reward", "reward_score")


class Candidates(NamedTuple):
    """The better and the worse of several answers, or why there are no such two."""

    chosen: Any
    rejected: Any
    dropped: str = ""


class Verdict(NamedTuple):
    """Two columns of answers and those that may say which is better; `better` gives 0, 1 or None for neither."""

    responses: tuple[str, str]
    columns: tuple[str, ...]
    better: Callable[[Any, str], int | None]


def _by_index(value: Any, where: str) -> int | None:
    """The number of the better of two, from 0."""
    return _one_of({0: 0, 1: 1, -1: None}, value, where, "0 for the first answer or 1 for the second")


def _first_is_1(value: Any, where: str) -> int | None:
    return _one_of({1: 0, 0: 1}, value, where, "1 where the first answer is better or 0 where the second is")


def _by_sign(value: Any, where: str) -> int | None:
    """Below 0 the first is better, above 0 the second."""
    number = _number(value, where)
    return None if not number else int(number > 0)


def _by_name(value: Any, where: str) -> int | None:
    name = value.strip().lower().removeprefix("model_").removeprefix("response_") if isinstance(value, str) else value
    if isinstance(name, str) and (name.startswith(("tie", "both", "neither")) or not name):
        return None
    return _one_of({"a": 0, "b": 1, None: None}, name, where, "'a', 'b' or 'tie'")


_NAMED = ("winner", "preference", "preferred", "label")
VERDICTS = (
    Verdict(
        ("response_0", "response_1"),
        ("better_response_id", "safer_response_id", "label", "labels", "preference", "preferred"),
        _by_index,
    ),
    Verdict(("response1", "response2"), ("overall_preference", "preference_strength"), _by_sign),
    Verdict(("response_1", "response_2"), ("preference_strength", "overall_preference"), _by_sign),
    Verdict(("response_a", "response_b"), _NAMED, _by_name),
    Verdict(("answer_a", "answer_b"), _NAMED, _by_name),
    Verdict(("conversation_a", "conversation_b"), _NAMED, _by_name),
    Verdict(("human_ref_A", "human_ref_B"), ("labels", "label"), _first_is_1),
)


def preferred(first: Any, second: Any, better: int | None) -> Candidates:
    """Returns two answers as the better and the worse one."""
    if better is None:
        return Candidates(first, second, TIE)
    return Candidates(second, first) if better else Candidates(first, second)


def ranked(answers: Any, worth: Any, where: str, *, by_rank: bool = False) -> Candidates | None:
    """Returns the best and the worst of several answers; None where nothing says what they are worth.

    `worth` may hold a number for each, of which the lowest is best with `by_rank`. Of answers that are worth the same
    the first is taken; where all are, there is no pair.

    >>> ranked([{"answer": "a", "rank": 3}, {"answer": "b", "rank": 1}], None, "row 0")
    Candidates(chosen='b', rejected='a', dropped='')

    Raises:
        DataError: beginning with `where`.
    """
    answers = _as_list(answers, where)
    if isinstance(worth, list) and len(worth) != len(answers):
        raise DataError(f"{where} holds {len(answers)} answers, and {len(worth)} numbers say what they are worth.")
    scored = []
    for at, answer in enumerate(answers):
        text, score = _scored(answer, worth[at] if isinstance(worth, list) else None, f"{where} {at}")
        if score is not None:
            scored.append((-score if by_rank else score, text))
    if not scored:
        return Candidates(None, None, UNRANKED) if _says_worth(answers) or worth is not None else None
    best = max(scored, key=lambda each: each[0])
    worst = min(scored, key=lambda each: each[0])
    if len(scored) < 2:
        return Candidates(None, None, UNRANKED)
    return Candidates(best[1], worst[1], TIE if best[0] == worst[0] else "")


def _as_list(answers: Any, where: str) -> list[Any]:
    """A list of dicts; older versions of datasets give a dict of lists for it."""
    if isinstance(answers, list):
        return answers
    lengths = {len(value) for value in answers.values() if isinstance(value, list)}
    if len(lengths) != 1 or not all(isinstance(value, list) for value in answers.values()):
        raise DataError(f"{where} is {kind(answers)}; it must be a list of answers.")
    return [dict(zip(answers, values, strict=True)) for values in zip(*answers.values(), strict=True)]


def _scored(answer: Any, worth: Any, where: str) -> tuple[Any, float | None]:
    """What an answer says and what it is worth, more being better."""
    if not isinstance(answer, Mapping):
        return answer, None if is_empty(worth) else _number(worth, where)
    text = next((answer[name] for name in _TEXTS if name in answer), None)
    if "role" in answer or "from" in answer:
        text = {key: value for key, value in answer.items() if key not in (*_RANKS, *_SCORES)}
    for names, sign in ((_RANKS, -1), (_SCORES, 1)):
        for name in names:
            if not is_empty(answer.get(name)):
                return text, sign * _number(answer[name], f"{where}: {name!r}")
    return text, None if is_empty(worth) else _number(worth, where)


def _says_worth(answers: list[Any]) -> bool:
    return any(isinstance(answer, Mapping) and answer.keys() & {*_RANKS, *_SCORES} for answer in answers)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        number = None
    if number is None or number != number or abs(number) == float("inf"):
        raise DataError(f"{where} is {value!r:.40}; it must be a number that says what an answer is worth.")
    return number


def _one_of(choices: Mapping[Any, int | None], value: Any, where: str, wanted: str) -> int | None:
    if is_empty(value):
        return None
    if isinstance(value, str) and value.strip().lstrip("-").isdigit():
        value = int(value)
    if isinstance(value, list | Mapping) or value not in choices:
        raise DataError(f"{where} is {value!r:.40}; it must be {wanted}.")
    return choices[value]
