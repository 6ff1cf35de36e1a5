"""A prompt and two answers as conversations, where an answer may repeat the prompt or be a whole conversation."""

from collections.abc import Sequence
from typing import NamedTuple

from easydel.data.messages import THOUGHTS, Message
from easydel.data.values import without_nulls
from easydel.errors import DataError

_NO_PROMPT = (
    "the conversations in {sides} share no first message that could be the prompt. Add a 'prompt' column with a list "
    "of messages."
)


class Parts(NamedTuple):
    """The messages of a prompt, and those of both completions."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


class _Side(NamedTuple):
    system: list[Message]  # those that it begins with
    rest: list[Message]
    repeated: int | None  # how many messages of `rest` are the prompt; None: it only follows the prompt


def parts_of(
    prompt: list[Message],
    chosen: list[Message],
    rejected: list[Message],
    names: Sequence[str],
    where: str,
    lacking: str = "",
) -> Parts:
    """Returns where a prompt ends and two completions begin, each message once.

    A side is a whole conversation where it begins as the prompt does, system messages aside, or asks what the prompt
    asks; otherwise it follows the prompt. Whole sides part from the prompt where it ends, or after the last turn of a
    user that both share; without a prompt, where the two first differ. The system message is that of whichever has one.
    A completion without a message is an empty answer: a whole conversation that ends where it should be.

    Args:
        prompt: empty where the row has none.
        names: what the row calls prompt, chosen and rejected.
        lacking: what an error for want of a prompt begins with.

    Raises:
        DataError: beginning with `where`.
    """
    system, asked = _system_first(prompt)
    asked = _without_answer(asked, chosen, rejected)
    sides = [_side(asked, side, name, names[0], where) for side, name in ((chosen, names[1]), (rejected, names[2]))]
    system = _one_system(system, sides, names, where)
    wholes = [system + (side.rest if side.repeated is not None else asked + side.rest) for side in sides]
    border = _border(wholes, sides, len(system), len(asked))
    first = 0 if sides[0].repeated is not None or sides[1].repeated is None else 1
    parts = Parts(wholes[first][:border], wholes[0][border:], wholes[1][border:])
    if all(parts[1:]):  # otherwise an answer is empty
        _check(parts, asked, names, f"{where}: {lacking}")
    return parts


def _system_first(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    count = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    return messages[:count], messages[count:]


def _without_answer(asked: list[Message], *sides: list[Message]) -> list[Message]:
    """The prompt without an answer to it that a side gives once more, as UltraFeedback's `messages` have."""
    last = next((at for at, message in reversed(list(enumerate(asked))) if message["role"] == "user"), None)
    if last is None or last == len(asked) - 1:
        return asked
    answer = asked[last + 1 :]
    for side in sides:
        rest = _system_first(side)[1]
        if _same(rest, answer) or _same(rest, asked):
            return asked[: last + 1]
    return asked


def _side(asked: list[Message], side: list[Message], name: str, prompt_name: str, where: str) -> _Side:
    system, rest = _system_first(side)
    if not rest:
        system, rest = rest, system
    if not asked:
        return _Side(system, rest, 0)
    if len(rest) >= len(asked) and _same(rest[: len(asked)], asked):
        return _Side(system, rest, len(asked))
    if not rest or rest[0]["role"] != "user" or not any(message["role"] == "assistant" for message in rest):
        return _Side(system, rest, None)
    for start in range(1, len(rest) - len(asked)):
        if _same(rest[start : start + len(asked)], asked):
            return _Side(system, rest, start + len(asked))
    question = next((message for message in reversed(asked) if message["role"] == "user"), asked[-1])
    if len(asked) == 1 and any(_contains(message, question) for message in rest[:-1]):
        return _Side(system, rest, 0)
    if _same(rest[:1], asked[:1]):
        raise DataError(
            f"{where}: {name!r} begins as {prompt_name!r} does and parts from it before its end. Give a prompt that "
            f"both answers follow, or leave it out: --columns ignore={prompt_name}."
        )
    if asked[-1]["role"] == "user":
        raise DataError(
            f"{where}: {name!r} begins with a message of the user that is not in {prompt_name!r}: {_short(rest[0])}, "
            f"and there {_short(question)}. Give answers alone, or conversations that begin with the prompt; or leave "
            f"one out: --columns ignore={prompt_name}."
        )
    return _Side(system, rest, None)


def _one_system(system: list[Message], sides: Sequence[_Side], names: Sequence[str], where: str) -> list[Message]:
    """The system messages of the row: those of the prompt, or of whichever side has them."""
    given = [(name, side.system) for name, side in zip(names[1:], sides, strict=True)]
    said = [(name, messages) for name, messages in [(names[0], system), *given] if messages]
    for name, messages in said[1:]:
        if not _same(messages, said[0][1]):
            raise DataError(
                f"{where}: the system messages of {said[0][0]!r} and {name!r} differ: {_short(said[0][1][0])} and "
                f"{_short(messages[0])}. A pair has one prompt: make them the same."
            )
    silent = [
        name for name, side in zip(names[1:], sides, strict=True) if side.repeated is not None and not side.system
    ]
    if said and not system and silent:
        raise DataError(
            f"{where}: {said[0][0]!r} begins with a system message and {silent[0]!r} does not. A pair has one prompt: "
            "make both begin alike, or put it into the prompt."
        )
    return said[0][1] if said else []


def _border(wholes: Sequence[list[Message]], sides: Sequence[_Side], system: int, asked: int) -> int:
    """How many messages are the prompt."""
    shorter = min(map(len, wholes))
    common = next((at for at in range(shorter) if not _alike(wholes[0][at], wholes[1][at])), shorter)
    if common == shorter and common and min(wholes, key=len)[-1]["role"] == "assistant":
        common -= 1  # one is the beginning of the other, or both are the same: something is left of both
    repeated = [side.repeated for side in sides]
    if repeated == [None, None]:
        known = system + asked
        # Answers that go on with the same turn of a user: the turn is no part of an answer.
        while known < common and wholes[0][known]["role"] != "assistant":
            known += 1
        return known
    if None in repeated:
        return system + max(count for count in repeated if count is not None)
    if not asked or 0 in repeated:
        return common
    turns = [at + 1 for at in range(common) if wholes[0][at]["role"] == "user"]
    return max([system + max(count or 0 for count in repeated), *turns])


def _check(parts: Parts, asked: list[Message], names: Sequence[str], where: str) -> None:
    for name, completion in zip(names[1:], parts[1:], strict=True):
        if not parts.prompt:
            raise DataError(f"{where}{_NO_PROMPT.format(sides=' and '.join(map(repr, names[1:])))}")
        if not asked and completion[0]["role"] == "user":
            raise DataError(f"{where}{_parting(parts, names)}")
        if not any(message["role"] == "assistant" for message in completion):
            roles = ", ".join(repr(message["role"]) for message in completion) or "the prompt"
            raise DataError(
                f"{where}the answer in {name!r} is no message of the assistant, but of {roles}. Give the model's "
                "answer the role 'assistant'."
            )


def _parting(parts: Parts, names: Sequence[str]) -> str:
    """What is wrong with whole conversations that part in a message of the user."""
    if not any(message["role"] == "user" for message in parts.prompt):
        return _NO_PROMPT.format(sides=" and ".join(map(repr, names[1:])))
    said = " and ".join(f"{name!r}: {_short(side[0])}" for name, side in zip(names[1:], parts[1:], strict=True))
    return (
        f"the conversations part in message {len(parts.prompt)}, of the user, which is no answer; {said}. Put the "
        "messages that are the prompt into a column 'prompt', or end both conversations with the first answers that "
        "differ."
    )


def _same(some: Sequence[Message], others: Sequence[Message]) -> bool:
    return len(some) == len(others) and all(map(_alike, some, others))


def _alike(one: Message, other: Message) -> bool:
    return one == other or (one["role"] == other["role"] and _bare(one) == _bare(other))


_MEANING = ("role", "name", "tool_calls", "function_calls", "functions", *THOUGHTS)


def _bare(message: Message) -> dict[str, object]:
    """What a message means: without the white space around and between its words, ids, dates and the like."""
    bare = {key: message[key] for key in _MEANING if key in message}
    bare["content"] = " ".join(message["content"].split())
    if "tool_calls" in bare:
        bare["tool_calls"] = [call["function"] for call in message["tool_calls"]]
    return without_nulls(bare)


def _contains(message: Message, question: Message) -> bool:
    one, other = (" ".join(each["content"].split()) for each in (message, question))
    return message["role"] == "user" and bool(one) and bool(other) and (one in other or other in one)


def _short(message: Message) -> str:
    text = message["content"]
    return repr(text if len(text) <= 30 else f"{text[:30]}...")
