"""One conversation, drawn at random, says the same in every form it is written in and through every door it comes."""

import csv
import gzip
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from datasets import Dataset, DatasetDict, disable_progress_bars, enable_progress_bars, load_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from easydel import quickstart
from easydel.data.format import Dialogue, read_row
from easydel.data.prepare import prepare
from easydel.data.source import load_rows, stream_rows
from easydel.errors import DataError

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
    rows.append({name: repr(value) for name, value in rows[0].items()})
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


DATED = ["2024-01-01", "2024-01-01T10:00:00"]


@pytest.mark.usefixtures("without_progress")
@pytest.mark.parametrize("day", DATED)
@pytest.mark.parametrize("place", ["arguments", "tools", "content", "prompt"])
def test_text_that_a_reader_made_a_date_of_is_refused_and_a_file_says_what_it_says(tmp_path, day, place):
    """`datasets` reads text in JSON that looks like a date as one; a template would write `<datetime>`."""
    said = {"role": "assistant", "content": day if place == "content" else "x"}
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"day": day}}}]}
    row = {"prompt": [{"role": "user", "content": "x"}], "chosen": [called if place == "arguments" else said]}
    row |= {"rejected": [{"role": "assistant", "content": "no"}]}
    if place == "tools":
        row["tools"] = [{"name": "f", "parameters": {"properties": {"day": {"type": "string", "default": day}}}}]
    if place == "prompt":
        row = {"prompt": day, "chosen": "yes", "rejected": "no"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    assert tokens(load_rows(str(path))) == tokens([row]) == tokens(Dataset.from_list([row]))
    [pair] = tokens([row])
    assert day in TOKENIZER.decode([*pair.prompt, *pair.chosen])
    made = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"row 0: .*datetime.*\. datasets\.load_dataset turns strings in JSON"):
        prepare(made, TOKENIZER)


EXAMPLES = int(os.environ.get("EASYDEL_EXAMPLES", "40")) // 4  # `make survive` asks for more
# What programs that read tables take for something else than text.
LIKE_VALUES = (
    *("42", "007", "-0", "1e5", "1_000", "0x1F", "nan", "NaN", "inf", "NA", "N/A", "null", "None", "true", "False", ""),
    *("2024-01-01", "12:30", "2024-01-01T00:00:00Z", "[]", "{}", "[1]", '{"a": 1}', '"x"', "[{}]", "'", '"', "\\n"),
    *(
        "a\nb",
        "a\r\nb",
        "\r",
        " x ",
        "\t",
        "x,y",
        'say "x", then',
        "é",
        "日本",
        "\U0001f600",
        "\u2028",
        "\x85",
        "\ufeffx",
        "\x00",
    ),
)
texts = st.sampled_from(LIKE_VALUES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
numbers = st.none() | st.sampled_from([1e-12, 0.1, 1 / 3, 1.0, 2.0, 1e9])
given_arguments = st.fixed_dictionaries(
    {},
    optional={
        "city": texts,
        "days": st.integers(-(2**53), 2**53),
        "share": st.floats(allow_nan=False, allow_infinity=False, width=64),
        "sure": st.booleans(),
        "parts": st.lists(texts, min_size=1, max_size=2),
        "where": st.fixed_dictionaries({}, optional={"lat": st.sampled_from([0.5, -1.25]), "name": texts}),
    },
)
TEMPLATE = (
    "{% for t in tools or [] %}{{ t|tojson(sort_keys=True) }}\n{% endfor %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }}: "
    "{{ c.function.arguments|tojson(sort_keys=True) }}]{% endfor %}"
    "</{{ m.role }}>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
TOKENIZER = AutoTokenizer.from_pretrained(str(quickstart.model_folder()))
TOKENIZER.chat_template = TEMPLATE


@st.composite
def text_rows(draw: Any) -> list[dict[str, Any]]:
    """Rows of text with the same columns; a first one in which each holds something gives them their types."""
    prompt = draw(st.sampled_from(["prompt", "question", "instruction", ""]))
    columns = {"chosen": texts, "rejected": texts, **({prompt: texts} if prompt else {})}
    columns |= {"system": texts} if prompt and draw(st.booleans()) else {}
    columns |= dict.fromkeys(draw(st.sets(st.sampled_from(["weight", "margin"]))), numbers)
    first = dict.fromkeys(columns, "An x.") | {"chosen": "An x. Yes", "rejected": "An x. No"}
    first |= dict.fromkeys(columns.keys() & {"weight", "margin"}, 0.25)
    return [first, *draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=4))]


@st.composite
def conversation_rows(draw: Any) -> list[dict[str, Any]]:
    """Rows of messages, with a first one in which all has a value."""

    def said(role: str) -> dict[str, Any]:
        return {"role": role, "content": draw(texts.filter(str.strip)), "tool_calls": None}

    def called() -> list[dict[str, Any]]:
        if not draw(st.booleans()):
            return []
        call = {"name": draw(st.sampled_from(["f", "g"])), "arguments": draw(given_arguments)}
        made = {"role": "assistant", "content": draw(st.sampled_from(["", "So."])), "tool_calls": [{"function": call}]}
        return [made, said("tool")]

    def row() -> dict[str, Any]:
        system = [said("system")] if draw(st.booleans()) else []
        tools = [{"name": draw(words), "description": draw(texts)} for _ in range(draw(st.integers(0, 2)))]
        sides = {name: [*called(), said("assistant")] for name in ("chosen", "rejected")}
        return {"prompt": [*system, said("user")], **sides, "tools": tools or None, "weight": draw(numbers)}

    whole = {"city": "x", "days": 1, "share": 0.5, "sure": True, "parts": ["x"], "where": {"lat": 0.5, "name": "x"}}
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": whole}}]}
    asked = {"role": "user", "content": "x", "tool_calls": None}
    first = {"prompt": [asked], "chosen": [call], "rejected": [call | {"content": "No"}]}
    return [{**first, "tools": [{"name": "f", "description": "x"}], "weight": 0.5}, *(row() for _ in range(2))]


def of_python(rows: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The rows as programs give them."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    yield "a generator", (row for row in rows)
    yield "a Dataset", Dataset.from_list(rows)
    yield "an IterableDataset", Dataset.from_list(rows).to_iterable_dataset()
    yield "a dict of lists", columns
    yield "a data frame", pandas.DataFrame(rows)
    yield "an Arrow table", pyarrow.Table.from_pylist(rows)


def of_files(rows: list[dict[str, Any]], folder: Path) -> Iterator[tuple[str, Path]]:
    """The rows in files of every kind, by what wrote them."""
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "lines.jsonl").write_text("".join(lines))
    (folder / "raw.jsonl").write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows).encode())
    (folder / "array.json").write_text(json.dumps(rows, indent=1))
    with gzip.open(folder / "lines.json.gz", "wt") as file:
        file.writelines(lines)
    frame, table = pandas.DataFrame(rows), Dataset.from_list(rows)
    frame.to_parquet(folder / "pandas.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "pyarrow.parquet")
    table.to_parquet(str(folder / "datasets.parquet"))
    yield from ((path.name, path) for path in sorted(folder.iterdir()))
    table.save_to_disk(str(folder / "saved"))
    DatasetDict({"test": table.select([0]), "train": table}).save_to_disk(str(folder / "splits"))
    for name, content in (("train/a.jsonl", lines), ("test/a.jsonl", lines[:1])):
        (folder / "named" / name).parent.mkdir(parents=True)
        (folder / "named" / name).write_text("".join(content))
    yield from ((name, folder / name) for name in ("saved", "splits", "named"))


def of_csv(rows: list[dict[str, Any]], folder: Path) -> Iterator[tuple[str, Path]]:
    with (folder / "csv.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    yield "csv.csv", folder / "csv.csv"
    if any("\r" in text.replace("\r\n", "") for row in rows for text in row.values() if isinstance(text, str)):
        return  # pandas, and so datasets, writes a field with a lone return without quotes, where it ends the row
    pandas.DataFrame(rows).to_csv(folder / "pandas.csv")  # with the column of numbers that it writes first
    pandas.DataFrame(rows).to_csv(folder / "pandas.tsv", index=False, sep="\t")
    Dataset.from_list(rows).to_csv(str(folder / "datasets.csv"))
    yield from ((name, folder / name) for name in ("pandas.csv", "pandas.tsv", "datasets.csv"))


def tokens(rows: Any) -> Any:
    """The pairs of rows, or that they are refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return prepare(rows, TOKENIZER, max_length=10_000).pairs
        except DataError as error:
            return f"refused: {error}"


def same(found: Any, expected: Any) -> bool:
    return found == expected or (isinstance(found, str) and isinstance(expected, str))


def check_doors(rows: list[dict[str, Any]], *, flat: bool) -> None:
    expected = tokens(rows)
    found = {door: tokens(given_rows) for door, given_rows in of_python(rows)}
    with TemporaryDirectory() as folder:
        for door, path in [*of_files(rows, Path(folder)), *(of_csv(rows, Path(folder)) if flat else ())]:
            found[door], found[f"{door}, a stream"] = tokens(load_rows(str(path))), tokens(stream_rows(str(path)))
    assert {door: each for door, each in found.items() if not same(each, expected)} == {}, expected


@pytest.fixture
def without_progress() -> Iterator[None]:
    disable_progress_bars()
    yield
    enable_progress_bars()


through_doors = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@pytest.mark.usefixtures("without_progress")
@through_doors
@given(rows=text_rows())
def test_rows_of_text_become_the_same_tokens_through_every_door(rows):
    check_doors(rows, flat=True)


@pytest.mark.usefixtures("without_progress")
@through_doors
@given(rows=conversation_rows())
def test_conversations_become_the_same_tokens_through_every_door(rows):
    check_doors(rows, flat=False)
