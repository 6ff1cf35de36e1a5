"""Conversations through the chat templates of real models: each answer once, and nothing the model did not write."""

import itertools
import re
from collections.abc import Iterator

import pytest

from easydel.data.format import Dialogue
from easydel.data.lost import MOVED
from easydel.data.messages import Message
from easydel.data.render import Preference, rendered
from easydel.errors import DataError

templates = pytest.importorskip("oracles.templates", reason="needs the templates of real models")
each_template = templates.each_template

SYSTEM = {"role": "system", "content": "Speak like a pirate."}
USER = {"role": "user", "content": "Which color has the sky?"}
NIGHT = {"role": "user", "content": "Thanks, and at night?"}
TOOL = {"role": "tool", "tool_call_id": "abcdefghi", "name": "lookup", "content": "twelve degrees"}
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "a town"},
        "days": {"type": "integer", "description": "how many"},
    },
    "required": ["city"],
}
TOOLS = [{"type": "function", "function": {"name": "lookup", "description": "Weather", "parameters": PARAMETERS}}]


def says(content, **more):
    return {"role": "assistant", "content": content, **more}


def calls(city, content="", **more):
    function = {"name": "lookup", "arguments": {"city": city, "days": 31}}
    return says(content, tool_calls=[{"type": "function", "id": "abcdefghi", "function": function}], **more)


BLUE, RED = says("Azure, matey."), says("Crimson, fool.")
CASES = {
    "a question": Dialogue([USER], [BLUE], [RED]),
    "a system text": Dialogue([SYSTEM, USER], [BLUE], [RED]),
    "an earlier turn": Dialogue([SYSTEM, USER, says("It depends."), NIGHT], [BLUE], [RED]),
    "a question asked twice": Dialogue([SYSTEM, USER, says("It depends."), USER], [BLUE], [RED]),
    "two turns": Dialogue([USER], [BLUE, NIGHT, says("Black, aye.")], [RED, NIGHT, says("Violet, nay.")]),
    "the same again": Dialogue([USER], [BLUE, NIGHT, BLUE, NIGHT, BLUE], [RED, NIGHT, says("Violet, nay.")]),
    "a call": Dialogue([USER], [calls("Oslo")], [calls("Rome")], TOOLS),
    "a call beside words": Dialogue([USER], [calls("Oslo", "Let me look.")], [calls("Rome", "I shall see.")], TOOLS),
    "an agent": Dialogue([SYSTEM, USER], [calls("Oslo"), TOOL, BLUE], [calls("Rome"), TOOL, RED], TOOLS),
    "a result": Dialogue([USER, calls("Oslo"), TOOL], [BLUE], [RED], TOOLS),
    "a thought in the content": Dialogue(
        [USER],
        [says("<think>\nhm quantum\n</think>\n\nAzure, matey.")],
        [says("<think>\nhm odd\n</think>\n\nCrimson.")],
    ),
    "a thought beside it": Dialogue(
        [USER], [says("Azure, matey.", reasoning_content="hm quantum")], [says("Crimson.", reasoning_content="hm odd")]
    ),
    "thoughts of an agent": Dialogue(
        [USER],
        [calls("Oslo", reasoning_content="hm quantum"), TOOL, says("Azure, matey.", reasoning_content="hm done")],
        [RED],
        TOOLS,
    ),
    "without thinking": Dialogue([USER], [BLUE], [RED], None, {"enable_thinking": False}),
    "a begun answer": Dialogue([USER, says("Well, the ")], [says("azure, matey.")], [says("crimson, fool.")]),
}


def trained(found: Preference, side: str) -> str:
    """What bears loss of a completion."""
    whole, untrained = getattr(found, f"prompt_{side}"), getattr(found, f"{side}_untrained")
    at = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(found.prompt, whole, strict=False)))
    parts = []
    for first, last in untrained:
        parts.append(whole[at:first])
        at = last
    return "".join([*parts, whole[at:]])


@pytest.mark.parametrize("case", CASES)
@each_template
def test_each_answer_is_trained_once_and_nothing_else_of_the_conversation(name, case):
    """Or the row is refused, or what is missing is said."""
    said = CASES[case]
    tokenizer = templates.tokenizer_for(templates.real_templates()[name], eos="</s>", bos="<s>")
    try:
        found = rendered(said, 7, tokenizer)
    except DataError as error:
        refused = str(error)
    else:
        refused = ""
        _check(said, found)
    assert not refused or refused.startswith("row 7: ")


def talk(shape: str, words: Iterator[str]) -> list[Message]:
    """The messages of a completion: an answer, a thoughtful one, a user, a call or its outcome for each letter."""
    make = {
        "a": lambda: says(next(words)),
        "t": lambda: says(f"<think>\n{next(words)}\n</think>\n\n{next(words)}"),
        "u": lambda: {"role": "user", "content": next(words)},
        "c": lambda: calls(next(words)),
        "o": lambda: {**TOOL, "content": next(words)},
    }
    return [make[letter]() for letter in shape]


@pytest.mark.parametrize("shape", ["auaua", "tuaut", "cocoaua"])
@each_template
def test_turns_that_say_the_same_bear_loss_as_those_that_do_not(name, shape):
    tokenizer = templates.tokenizer_for(templates.real_templates()[name], eos="</s>", bos="<s>")
    tools = TOOLS if "c" in shape else None

    def parts(words: Iterator[str]) -> str:
        said = Dialogue([SYSTEM, USER], talk(shape, words), [RED], tools)
        return trained(rendered(said, 7, tokenizer), "chosen")

    try:
        different = parts(f"qz{letter}" for letter in "abcdefghijkl")
    except DataError:
        return  # the template is at fault, and what it does is refused
    assert "".join(parts(itertools.repeat("same")).split()) == "".join(re.sub("qz[a-l]", "same", different).split())


def _check(said: Dialogue, found: Preference) -> None:
    lost = set(found.lost) - {MOVED}
    sides = {side: trained(found, side) for side in ("chosen", "rejected")}
    for side, text in sides.items():
        for message in getattr(said, side):
            words = message["content"].rpartition("</think>")[2].strip()
            if message["role"] != "assistant":
                assert words not in text
            elif words and "the content of a completion" not in lost:
                assert text.count(words) == sum(words in each["content"] for each in getattr(said, side))
            thought = message.get("reasoning_content") or ("hm" if "</think>" in message["content"] else "")
            if thought and "the reasoning of a completion" not in lost:
                assert thought in text
            if text.count("<think>") > 1:  # one for each answer
                assert text.count("<think>") <= len(getattr(said, side))
    for message in said.prompt:
        if message["role"] != "assistant" and not lost & {"a system message", "the result of a tool"}:
            assert found.prompt.count(message["content"]) == said.prompt.count(message)
        assert message["content"] not in sides["chosen"] or not message["content"]
    assert sides["chosen"] != sides["rejected"] or "a tool call of a completion" in lost
