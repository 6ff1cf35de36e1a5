"""Where the prompt of a conversation ends, as a completion may repeat it or be a whole conversation."""

from collections.abc import Sequence
from typing import NamedTuple

from easydel.data.messages import THOUGHTS, Message
from easydel.data.plain_values import without_nulls
from easydel.errors import DataError


class Parts(NamedTuple):
    """The messages of a prompt, and those of both completions."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


class _Completion(NamedTuple):
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
    """Returns a prompt and two completions, each message once.

    A completion is a whole conversation where it begins as the prompt does, system messages aside, or asks what the
    prompt asks; otherwise it follows the prompt. Whole conversations begin to be completions where the prompt ends, or
    after the last user message that both share; without a prompt, where the two first differ. The system message is
    that of whichever has one. A completion without a message is empty: its conversation ends with the prompt.

    Args:
        prompt: empty where the row has none.
        names: the columns of prompt, chosen and rejected.
        lacking: says why there is no prompt, as the beginning of an error.

    Raises:
        DataError: beginning with `where`, conversations of which it is not clear where the prompt ends.
    """
    system, asked = _system_first(prompt)
    asked = _without_answer(asked, chosen, rejected)
    both = [
        _completion(asked, each, name, names[0], where) for each, name in ((chosen, names[1]), (rejected, names[2]))
    ]
    system = _one_system(system, both, names, where)
    wholes = [system + (each.rest if each.repeated is not None else asked + each.rest) for each in both]
    border = _border(wholes, both, len(system), len(asked))
    first = 0 if both[0].repeated is not None or both[1].repeated is None else 1
    parts = Parts(wholes[first][:border], wholes[0][border:], wholes[1][border:])
    if all(parts[1:]):  # otherwise a completion is empty
        _check(parts, asked, names, where, lacking)
    return parts


def _system_first(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    count = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    return messages[:count], messages[count:]


def _without_answer(asked: list[Message], *completions: list[Message]) -> list[Message]:
    """The prompt without an answer to it that a completion repeats, as UltraFeedback's `messages` have."""
    last = next((at for at, message in reversed(list(enumerate(asked))) if message["role"] == "user"), None)
    if last is None or last == len(asked) - 1:
        return asked
    answer = asked[last + 1 :]
    for completion in completions:
        rest = _system_first(completion)[1]
        if _same(rest, answer) or _same(rest, asked):
            return asked[: last + 1]
    return asked


def _completion(asked: list[Message], messages: list[Message], name: str, prompt_name: str, where: str) -> _Completion:
    system, rest = _system_first(messages)
    if not rest:
        system, rest = rest, system
    if not asked:
        return _Completion(system, rest, 0)
    if len(rest) >= len(asked) and _same(rest[: len(asked)], asked):
        return _Completion(system, rest, len(asked))
    if not rest or rest[0]["role"] != "user" or not any(message["role"] == "assistant" for message in rest):
        return _Completion(system, rest, None)
    for start in range(1, len(rest) - len(asked)):
        if _same(rest[start : start + len(asked)], asked):
            return _Completion(system, rest, start + len(asked))
    question = next((message for message in reversed(asked) if message["role"] == "user"), asked[-1])
    if len(asked) == 1 and any(_contains(message, question) for message in rest[:-1]):
        return _Completion(system, rest, 0)
    if _same(rest[:1], asked[:1]):
        raise DataError(
            f"{where}: {name!r} begins like {prompt_name!r}, but differs from it before its end. Give a prompt that "
            f"both completions follow, or drop it: --columns ignore={prompt_name}."
        )
    if asked[-1]["role"] == "user":
        raise DataError(
            f"{where}: {name!r} begins with a user message that is not in {prompt_name!r}: {_short(rest[0])}, where "
            f"the prompt has {_short(question)}. Give completions alone, or conversations that begin with the prompt; "
            f"or drop the prompt: --columns ignore={prompt_name}."
        )
    return _Completion(system, rest, None)


def _one_system(system: list[Message], both: Sequence[_Completion], names: Sequence[str], where: str) -> list[Message]:
    """The system messages of the row: those of the prompt, or of whichever completion has them."""
    given = [(name, each.system) for name, each in zip(names[1:], both, strict=True)]
    found = [(name, messages) for name, messages in [(names[0], system), *given] if messages]
    for name, messages in found[1:]:
        if not _same(messages, found[0][1]):
            raise DataError(
                f"{where}: the system messages of {found[0][0]!r} and {name!r} differ: {_short(found[0][1][0])} and "
                f"{_short(messages[0])}. A pair has one prompt: make them the same."
            )
    without = [
        name for name, each in zip(names[1:], both, strict=True) if each.repeated is not None and not each.system
    ]
    if found and not system and without:
        raise DataError(
            f"{where}: {found[0][0]!r} begins with a system message, {without[0]!r} does not. A pair has one prompt: "
            "give both the same system message, or put it in the prompt."
        )
    return found[0][1] if found else []


def _border(wholes: Sequence[list[Message]], both: Sequence[_Completion], system: int, asked: int) -> int:
    """How many messages are the prompt."""
    shorter = min(map(len, wholes))
    common = next((at for at in range(shorter) if not _alike(wholes[0][at], wholes[1][at])), shorter)
    if common == shorter and common and min(wholes, key=len)[-1]["role"] == "assistant":
        common -= 1  # one is the beginning of the other, or both are the same: something is left of both
    repeated = [each.repeated for each in both]
    if repeated == [None, None]:
        known = system + asked
        # Completions that go on with the same user message: it belongs to the prompt.
        while known < common and wholes[0][known]["role"] != "assistant":
            known += 1
        return known
    if None in repeated:
        return system + max(count for count in repeated if count is not None)
    if not asked or 0 in repeated:
        return common
    turns = [at + 1 for at in range(common) if wholes[0][at]["role"] == "user"]
    return max([system + max(count or 0 for count in repeated), *turns])


def _check(parts: Parts, asked: list[Message], names: Sequence[str], where: str, lacking: str) -> None:
    for name, completion in zip(names[1:], parts[1:], strict=True):
        if not parts.prompt or (not asked and completion[0]["role"] == "user"):
            raise DataError(f"{where}: {lacking}{_no_prompt(parts, names)}")
        if not any(message["role"] == "assistant" for message in completion):
            roles = ", ".join(repr(message["role"]) for message in completion)
            raise DataError(
                f"{where}: the completion in {name!r} has no assistant message; its roles: {roles}. Give what the "
                "model writes the role 'assistant'."
            )


def _no_prompt(parts: Parts, names: Sequence[str]) -> str:
    """What is wrong with whole conversations that first differ in a user message, or at once."""
    if not any(message["role"] == "user" for message in parts.prompt):
        return (
            f"the conversations in {names[1]!r} and {names[2]!r} have no first message in common to use as the prompt. "
            "Add a 'prompt' column with a list of messages."
        )
    shown = " and ".join(f"{name!r}: {_short(each[0])}" for name, each in zip(names[1:], parts[1:], strict=True))
    return (
        f"the conversations first differ at message {len(parts.prompt)}, a user message, where no completion can "
        f"begin: {shown}. Put the messages of the prompt in a column 'prompt', or end both conversations with the "
        "first assistant messages that differ."
    )


def _same(some: Sequence[Message], others: Sequence[Message]) -> bool:
    return len(some) == len(others) and all(map(_alike, some, others))


def _alike(one: Message, other: Message) -> bool:
    return one == other or (one["role"] == other["role"] and _bare(one) == _bare(other))


_MEANING = ("role", "name", "tool_calls", "function_calls", "functions", *THOUGHTS)


def _bare(message: Message) -> dict[str, object]:
    """The meaning of a message: without the white space around and between its words, ids, dates and the like."""
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
