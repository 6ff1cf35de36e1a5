"""One conversation, drawn at random, says the same in every form it is written in and through every door it comes."""

import json
from typing import Any

import pyarrow
import pyarrow.parquet
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from easydel.data.format import Dialogue, read_row

words = st.text(st.sampled_from("abc é?"), min_size=1, max_size=8).map(lambda text: f"x{text}x")
arguments = st.dictionaries(st.sampled_from(["city", "unit", "days"]), words, max_size=2)
calls = st.builds(lambda name, given: {"name": name, "arguments": given}, st.sampled_from(["f", "g"]), arguments)
schemas = st.lists(
    st.builds(lambda name, about: {"name": name, "description": about}, st.sampled_from(["f", "g"]), words), max_size=2
)


@st.composite
def turns(draw: Any, question: str) -> list[dict[str, Any]]:
    """An answer: perhaps a call and its result before it."""
    said: list[dict[str, Any]] = []
    if draw(st.booleans()):
        made = [{"type": "function", "function": call} for call in draw(st.lists(calls, min_size=1, max_size=2))]
        said += [{"role": "assistant", "content": "", "tool_calls": made}, {"role": "tool", "content": draw(words)}]
    return [*said, {"role": "assistant", "content": question + draw(words)}]


@st.composite
def dialogues(draw: Any) -> Dialogue:
    prompt = [{"role": "system", "content": draw(words)}] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 2))):
        if number:
            prompt += draw(turns("p"))
        prompt.append({"role": "user", "content": draw(words)})
    tools = [{"type": "function", "function": schema} for schema in draw(schemas)]
    return Dialogue(prompt, draw(turns("c")), draw(turns("r")), tools or None)


# Parquet has no struct without a field: a row with a call and an argument comes first.
CALLING = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"function": {"name": "f", "arguments": {"symbol": "x"}}}],
}
ASKING = [{"role": "user", "content": "hi"}]
WITH_ALL = {"prompt": [*ASKING, CALLING, *ASKING], "chosen": [CALLING], "rejected": [CALLING]}


def filled(message: dict[str, Any]) -> dict[str, Any]:
    """With the keys of other rows, as Arrow gives them."""
    calls = [
        {"id": None, "function": {**call["function"], "arguments": {**call["function"]["arguments"], "symbol": None}}}
        for call in message.get("tool_calls", [])
    ]
    return {"name": None, **message, "tool_calls": calls or None, "reasoning_content": None, "images": []}


def texted(message: dict[str, Any]) -> dict[str, Any]:
    """Arguments as JSON text, content in parts, roles by other names."""
    roles = {"user": "human", "assistant": "GPT", "system": "developer", "tool": "observation"}
    calls = [
        {"function": {"name": call["function"]["name"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message.get("tool_calls", [])
    ]
    parts = [{"type": "text", "text": part} for part in (message["content"][:2], message["content"][2:])]
    return {"role": roles[message["role"]], "content": parts, **({"tool_calls": calls} if calls else {})}


def sharegpt(message: dict[str, Any]) -> dict[str, Any]:
    roles = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}
    if "tool_calls" in message:
        return {"from": "function_call", "value": json.dumps([call["function"] for call in message["tool_calls"]])}
    return {"from": roles[message["role"]], "value": message["content"]}


def forms(said: Dialogue) -> list[dict[str, Any]]:
    """The row in every form."""
    tools = {"tools": said.tools} if said.tools else {}
    bare = {"functions": json.dumps([tool["function"] for tool in said.tools])} if said.tools else {}
    rows = [{"prompt": said.prompt, "chosen": said.chosen, "rejected": said.rejected, **tools}]
    sides = {"chosen": said.prompt + said.chosen, "rejected": said.prompt + said.rejected}
    rows.append({"prompt": said.prompt, **sides, **tools})
    if said.chosen[0] != said.rejected[0]:
        rows.append({**sides, **bare})
    for change in (filled, texted, sharegpt):
        changed = {name: [change(message) for message in value] for name, value in rows[0].items() if name != "tools"}
        rows.append({**changed, **bare})
    rows.append({name: json.dumps(value) for name, value in rows[0].items()})
    rows.append({name: repr(value) for name, value in rows[0].items() if name != "tools"} | bare)
    if said.prompt[0]["role"] == "system":
        rows.append({"messages": said.prompt[1:], **rows[0], "prompt": None, "system": said.prompt[0]["content"]})
    return rows


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dialogues())
def test_a_conversation_says_the_same_in_every_form(said):
    for row in forms(said):
        assert read_row(row, 0) == said, row


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(dialogues(), min_size=2, max_size=3))
def test_conversations_say_the_same_through_arrow_and_parquet(tmp_path, drawn):
    """Arrow gives each struct the keys of all, in one order."""
    tables: dict[int, list[tuple[dict[str, Any], Dialogue]]] = {}
    for said in drawn:
        for form, row in enumerate((forms(said)[0], forms(said)[1])):
            tables.setdefault(form, []).append((row, said))
    for rows in tables.values():
        given_rows = [{"tools": None, **row} for row in [WITH_ALL, *(row for row, _ in rows)]]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(given_rows), tmp_path / "rows.parquet")
        for door in (Dataset.from_list(given_rows), pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist()):
            for row, (_, said) in zip(list(door)[1:], rows, strict=True):
                assert read_row(row, 0) == said
