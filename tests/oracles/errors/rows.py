"""Errors in data: rows, their files, and where they are looked for."""

import gzip
import warnings
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zipfile import ZipFile

import fsspec

from easydel.data.cache import open_cache
from easydel.data.column_names import read_columns
from easydel.data.counts import Tally
from easydel.data.loader import START, Position
from easydel.data.mix import mix
from easydel.data.pair import Limits
from easydel.data.prepare import TokenizeConfig, prepare, prepare_with
from easydel.data.render import to_preference
from easydel.data.source import load_rows, stream_rows
from easydel.display.display import SILENT
from easydel.inspect.cleaned import check_new
from easydel.inspect.options import InspectConfig
from easydel.inspect.pairs import open_pairs
from easydel.scripts.finetune import dpo
from easydel.scripts.inspect import inspect
from easydel.scripts.loading import load_tokenizer
from easydel.trainers.config import DPOConfig
from easydel.trainers.datasets import named_sets
from oracles.data_folders import HubJson
from oracles.errors import Case, Cases, Place
from oracles.runs import tiny_model
from oracles.tokenizers import tiny_tokenizer

GOOD = {"prompt": "sky", "chosen": "blue", "rejected": "red"}
IDS = {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}
ASKED = [{"role": "user", "content": "sky"}]
BLUE, RED = {"role": "assistant", "content": "blue"}, {"role": "assistant", "content": "red"}
KIND = {"role": "system", "content": "Be kind."}
CHAT = {"prompt": ASKED, "chosen": [BLUE], "rejected": [RED]}
LAST = "{% for message in messages[-1:] %}{{ message['content'] }}{% endfor %}"
QUESTIONS = "{% for message in messages if message['role'] == 'user' %}{{ message['content'] }}{% endfor %}"
ENDS = (
    "{% for message in messages %}<start>{{ message['role'] + ':' + message['content'] }}<end>{% endfor %}"
    "<start>system:be short<end>{% if add_generation_prompt %}<start>assistant:{% endif %}"
)
PLAIN = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def row(template: str | None = None, **values: Any) -> Case:
    def read(place: Place) -> object:
        kept = {name: value for name, value in values.items() if value is not ...}
        return prepare([kept], tiny_tokenizer(chat_template=template))

    return read


def rows(given: Any, tokenizer: Any = None, **settings: Any) -> Case:
    return lambda place: prepare(given, tokenizer, **settings)


def columns(given: Any) -> Case:
    return lambda place: read_columns(given)


def content(name: str, text: str | bytes) -> Case:
    return lambda place: load_rows(str(place.file(name, text)))


def split(words: str | None, *names: str) -> Case:
    def read(place: Place) -> object:
        for name in names:
            place.file(f"pairs/{name}", '{"prompt": "a"}\n')
        return load_rows(str(place.folder / "pairs"), words)

    return read


def train(given: Any, **settings: Any) -> Case:
    """A trainer is made for these rows."""
    from easydel.trainers.dpo import DPOTrainer

    return lambda place: DPOTrainer(DPOConfig(**settings), tiny_model(), train_dataset=given)


def talk(**message: Any) -> Case:
    return row(PLAIN, conversations=[message], chosen="blue", rejected="red")


class NoEnd:
    """A tokenizer without a token to end an answer with."""

    eos_token_id = eos_token = None
    chat_template = None

    def __len__(self) -> int:
        return 3


class Unsendable(NoEnd):
    """A tokenizer that cannot be sent to another process."""

    def __reduce__(self) -> Any:
        raise TypeError("it holds an open file")


class Refusing(NoEnd):
    """A tokenizer that cannot read any text."""

    eos_token_id, eos_token = 1, "</s>"

    def __call__(self, texts: Any, **options: Any) -> Any:
        raise OverflowError("int too big to convert")


def trained_on(place: Place) -> object:
    """The command line, with a row that has no answer."""
    files = ["--repo_id", str(place.model), "--dataset_name", str(place.file("pairs.jsonl", '{"prompt": "sky"}'))]
    settings = ["--sharding_axis", "1,1,1,1,1", "--no_compilation_cache", "--save_directory", str(place.folder)]
    return dpo.train(*dpo.parse([*files, *settings]))


CASES: Cases = {
    "A column is missing": [
        row(prompt=None, chosen="blue", rejected="red"),
        row(prompt="a", completion="b", label=True),
        row(prompt="a", response_0="b", response_1="c"),
        row(prompt="a", chosen="b"),
        row(prompt="a", chosn="b", rejected="c"),
        row(chosen="blue", rejected="red"),
        rows([{"prompt_ids": [1], "chosen_ids": [2]}]),
        row(PLAIN, chosen=[*ASKED, BLUE], rejected=[{"role": "user", "content": "sea"}, RED]),
    ],
    "A column that would change the meaning": [
        row(**GOOD, context="It is day."),
        row(**GOOD, images=["sky.png"]),
        row(**GOOD, question="Which color?"),
        row(Frage="Which color?", chosen="The sky is blue", rejected="The sky is red"),
        row(prompt="a", response_a="b", response_b="c", winner="z"),
        row(prompt="a", output_1="b", output_2="c", label=0),
        row(prompt="a", answers=["b", "c"], scores=[1]),
        row(prompt="a", answers=["b", "c"], scores=["x", "y"]),
        row(prompt="a", answers={"text": "b"}, scores=[1]),
        columns({"promt": "question"}),
        columns({"q": "prompt"}),
        columns({"prompt": 3}),
        columns("question"),
        rows([GOOD], columns={"prompt": "question"}),
        rows([{"question": "sky", "chosen": "blue", "rejected": "red"}], columns={"question": "prompt"}),
        rows([{**GOOD, "question": "sky"}], columns={"prompt": "question"}),
        lambda place: DPOConfig(columns="prompt"),
    ],
    "Which row, of which file": [trained_on],
    "A value that is no answer": [
        row(**{**GOOD, "prompt": ""}),
        row(**{**GOOD, "prompt": "sky\ud83d"}),
        row(prompt="[{'role': 'user', 'content': 'sky'} ...]", chosen="a", rejected="b"),
        row(**{**GOOD, "chosen": 3}),
        row(**{**GOOD, "chosen": ["blue", "azure"]}),
        row(PLAIN, **{**GOOD, "chosen": [BLUE]}),
        row(messages="sky", chosen="blue", rejected="red"),
        row(**GOOD, weight=-1),
        rows([{**IDS, "margin": "big"}]),
        rows([{**IDS, "preference": 70}]),
        lambda place: prepare_with(TokenizeConfig(scored=True), [{**IDS, "chosen_score": 8}]),
        rows([{**IDS, "prompt_ids": "1 2"}]),
        rows([{**IDS, "prompt_ids": []}]),
        rows([{"prompt_ids": [1], "rejected_ids": [3]}]),
        rows([{**IDS, "completion_mask": [1]}]),
        rows([{**IDS, "chosen_mask": [1, 1]}]),
        rows([{**IDS, "chosen_mask": [1], "chosen_labels": [2]}]),
        rows([{**IDS, "chosen_labels": [3]}]),
        rows([{**IDS, "chosen_ids": [2, 3, 4], "chosen_attention_mask": [1, 0, 1]}]),
        rows([{"chosen_ids": [2, 3], "chosen_labels": [2, 3], "rejected_ids": [4], "rejected_labels": [4]}]),
        rows([{**IDS, "chosen_ids": [-1]}], vocab_size=48),
        rows([{**IDS, "chosen_ids": [48]}], vocab_size=48),
        lambda place: list(
            TokenizeConfig(placeholders={10: "image_token_id"}).pairs([{**IDS, "chosen_ids": [3, 10]}], Tally())
        ),
        rows(["sky"]),
    ],
    "A conversation": [
        row(PLAIN, **{**CHAT, "prompt": [*ASKED, "sky"]}),
        row(PLAIN, **{**CHAT, "prompt": [{"role": "user", "content": 3}]}),
        talk(**{"from": "bingo", "value": "sky"}),
        talk(**{"from": "human", "value": 3}),
        talk(**{"from": "human", "says": "sky"}),
        talk(**{"from": "human", "role": "gpt", "value": "sky"}),
        talk(**{"from": "human", "value": "sky", "content": "sea"}),
        talk(role="user", content="sky", images=["sky.png"]),
        talk(role="user", content=[{"type": "image"}]),
        talk(role="assistant", tool_calls=[{"name": "f", "arguments": "Oslo"}]),
        row(PLAIN, **{**CHAT, "prompt": [{"role": "user", "content": date(2026, 11, 28)}]}),
        talk(role="assistant", tool_calls=[{"name": "f", "arguments": {"day": date(2026, 11, 28)}}]),
        talk(role="assistant", content="blue", weight=0.5),
        talk(role="assistant", content=[{"type": "thinking", "thinking": "hm"}], reasoning_content="oh"),
        row(PLAIN, **{**CHAT, "chosen": [{"role": "user", "content": "sea"}, BLUE]}),
        row(PLAIN, **{**CHAT, "prompt": [*ASKED, BLUE], "chosen": [*ASKED, RED], "rejected": [*ASKED, RED]}),
        row(PLAIN, **{**CHAT, "chosen": [KIND, *ASKED, BLUE], "rejected": [*ASKED, RED]}),
        row(PLAIN, **{**CHAT, "prompt": [KIND, *ASKED], "chosen": [{**KIND, "content": "Be rude."}, BLUE]}),
        row(PLAIN, **{**CHAT, "prompt": [KIND, *ASKED], "system": "Be rude."}),
        row(PLAIN, **{**CHAT, "chosen": [{"role": "tool", "content": "x"}]}),
        row(PLAIN, chosen=[*ASKED, BLUE, *ASKED, BLUE], rejected=[*ASKED, BLUE, {**ASKED[0], "content": "sea"}, RED]),
        row(PLAIN, system="Be kind.", chosen="The sky is blue", rejected="The sky is red"),
        row(PLAIN, messages=ASKED, conversation=[{"who": "me"}], chosen=BLUE, rejected=RED),
        row(PLAIN, question="sky", history=["hi"], chosen="a", rejected="b"),
        row(PLAIN, question="sky", history="hi", chosen="a", rejected="b"),
        row(PLAIN, instruction=ASKED, input="x", chosen="a", rejected="b"),
        talk(**{"from": "function_call", "value": "{"}),
        talk(**{"from": "function_call", "value": "{}"}),
        row(PLAIN, conversations=[{"from": "human", "value": "a"}], system=3, chosen="b", rejected="c"),
        row(PLAIN, **CHAT, tools="["),
        row(PLAIN, **CHAT, tools="3"),
        row(PLAIN, **CHAT, tools=[3]),
        row(PLAIN, **CHAT, chat_template_kwargs=3),
        row(PLAIN, **CHAT, chat_template_kwargs={"tokenize": True}),
        row(PLAIN, **CHAT, chat_template_kwargs={"chat_template": "rag"}),
        row({"tool_use": PLAIN}, **CHAT),
        row("{{ raise_exception('roles must alternate') }}", **CHAT),
        row(LAST, **CHAT),
        row(ENDS, **CHAT),
        row(QUESTIONS, **{**CHAT, "prompt": [*ASKED, {"role": "assistant", "content": "it is "}]}),
        row(**CHAT),
        lambda place: to_preference(CHAT, 0),
    ],
    "What was given in place of rows": [
        rows("pairs.jsonl"),
        rows(3),
        rows({"train": []}),
        rows(GOOD),
        rows({"prompt": ["a"], "chosen": ["b", "c"], "rejected": ["d"]}),
        rows([GOOD]),
        rows([]),
        lambda place: mix([], None),
        lambda place: mix([[GOOD], []], None),
        lambda place: mix([[GOOD]], [1.0, 2.0]),
        lambda place: mix([[GOOD]], [0.0]),
        lambda place: mix([[GOOD]], [1.0], stop="never"),  # type: ignore[arg-type]
        lambda place: named_sets({}, "eval_dataset"),
        lambda place: named_sets({"my set": []}, "eval_dataset"),
    ],
    "No row is left": [
        rows([{**IDS, "prompt_ids": [1] * 9}], max_length=5),
        lambda place: Limits(max_length=1),
        lambda place: Limits(truncation_mode="keep_middle"),
    ],
    "A file that cannot be read": [
        content("pairs.txt", "sky"),
        content("pairs.jsonl", b"\xff"),
        content("pairs.jsonl.gz", gzip.compress(b"{}")[:-6]),
        content("pairs.jsonl", '{"prompt": "a",'),
        content("pairs.jsonl", '{"prompt": "a"}\n{"prompt": "b",'),
        content("pairs.jsonl", '"sky"'),
        content("pairs.json", "[3]"),
        content("pairs.json", "[{]"),
        content("pairs.csv", "prompt,chosen,rejected\nsky,blue"),
        content("pairs.csv", 'prompt,chosen\n"sky,blue'),
        content("pairs.csv", "prompt;chosen\nsky;blue"),
        content("pairs.jsonl", ""),
        content("pairs.parquet", "PAR"),
        content("pairs.arrow", "ARROW1"),
        content("pairs.xlsx", "PK"),
        content("pairs.jsonl", '{"prompt": "a", "chosen": "b", "chosen": "c"}'),
        content("pairs.json", '[{"prompt": "a", "prompt": "b"}]'),
        content("pairs.json", '[{"prompt": "a"} {'),
        content("pairs.json", '[{"prompt": "a"}]\n[]'),
        content("pairs.json", '{"prompt": ["a", "b"], "chosen": ["c"]}'),
        content("pairs.json", '{"prompt": ["a"]}\n{"prompt": ["b"]}'),
        content("pairs.json", '{\n"prompt": ["a"]}\n{"prompt": ["b"]}'),
        content("pairs.json", '{"columns": ["prompt"], "data": [["a", "b"]]}'),
        content("pairs.csv", "prompt,chosen,chosen\nsky,blue,red"),
    ],
    "What lies in a folder": [
        split("train", "train/a.jsonl", "train/test/b.jsonl"),
        split("train", "a.jsonl", "Test.jsonl"),
        split("train", "a.txt", "b.txt", "c.jsonl"),
        lambda place: load_rows(str(_carded(place, "far", ONE.replace("a.jsonl", _far())))),
        split("train", "train.jsonl", "test.csv"),
        lambda place: load_rows(str(place.file("run[1]/train.jsonl", "{}").parent)),
        lambda place: load_rows(str(_packed(place))),
        lambda place: load_rows(str(_carded(place, "two", TWO))),
        lambda place: load_rows(str(_carded(place, "year", TWO.replace("easy", "2026")))),
        lambda place: load_rows(str(_carded(place, "wrong", TWO)), config="esay"),
        lambda place: load_rows(str(place.file("a.jsonl", "{}")), config="easy"),
        lambda place: load_rows(str(_carded(place, "latin", ONE + "\n  encoding: latin-1"))),
        lambda place: load_rows(str(_carded(place, "field", ONE + "\n  field: rows"))),
        lambda place: load_rows(str(_saved(place))),
    ],
    "No such dataset or split": [
        lambda place: load_rows("./nowhere.jsonl"),
        lambda place: load_rows(str(place.file("notes/a.md").parent)),
        lambda place: load_rows(str(place.folder / "*.jsonl")),
        lambda place: _of_hub_configs(),
        lambda place: load_rows("owner/nowhere", "train"),
        lambda place: _off_line(),
        split("tset", "train.jsonl", "test.jsonl"),
        split(None, "train.jsonl", "test.jsonl"),
        split("train[:x]", "train.jsonl"),
        split("train[:900%]", "train.jsonl"),
        lambda place: stream_rows(str(place.file("a.jsonl")), "train[:90%]"),
    ],
    "Streams": [
        train(iter([IDS])),
        train(iter([IDS]), max_training_steps=2, num_train_epochs=2),
        train(iter([IDS]), max_training_steps=2, shuffle_buffer_size=4, shuffle_train_dataset=False),
        train([IDS], shuffle_buffer_size=4),
        train(iter([IDS]), max_training_steps=2, precompute_ref_log_probs=True),
        lambda place: list(_used(place).batches(START, epochs=None)),
        lambda place: list(_used(place, again=False).batches(Position(0, 5), epochs=None)),
    ],
    "Tokenizers": [
        lambda place: load_tokenizer(str(place.file("empty/a.txt").parent), None),
        lambda place: load_tokenizer(str(place.file("broken/tokenizer.json", "{}").parent), None),
        rows([GOOD], NoEnd()),
        rows([GOOD], Unsendable(), dataset_num_proc=2),
        rows([GOOD], Refusing()),
    ],
    "Folders of the cache": [
        lambda place: open_cache(str(place.file("taken")), "tokens"),
    ],
    "Pairs to inspect": [
        lambda place: InspectConfig(),
        lambda place: InspectConfig(dataset_name="a.jsonl", write="good.csv"),
        lambda place: InspectConfig(dataset_name="a.jsonl", revision="main"),
        lambda place: inspect(InspectConfig(dataset_name="a.jsonl", output=str(place.folder / "nope")), SILENT),
        lambda place: check_new(place.file("a.jsonl", "{}")),
        lambda place: check_new(place.folder / "nope" / "good.jsonl"),
        lambda place: _opened(place, ""),
        lambda place: _opened(place, '{"prompt": "a", "model": "b"}', source_column="source"),
    ],
}


TWO = "configs:\n- config_name: easy\n  data_files: a.jsonl\n- config_name: hard\n  data_files: a.jsonl"
ONE = "configs:\n- config_name: default\n  data_files: a.jsonl"


def _carded(place: Place, name: str, card: str) -> Path:
    """A folder of one file with a card."""
    place.file(f"{name}/a.jsonl", '{"prompt": "a"}\n')
    return place.file(f"{name}/README.md", f"---\n{card}\n---\n").parent


def _opened(place: Place, text: str, **options: Any) -> object:
    """The pairs of a file, to inspect."""
    return open_pairs([str(place.file("a.jsonl", text))], "train", [None], columns={}, **options)


def _packed(place: Place) -> Path:
    """A folder with an archive."""
    with ZipFile(place.file("packed/train.zip"), "w") as archive:
        archive.writestr("a.jsonl", '{"prompt": "a"}\n')
    return place.folder / "packed"


def _far() -> str:
    """A file that is not on a disk."""
    fsspec.filesystem("memory").pipe("/a.jsonl", b"{}")
    return "memory://a.jsonl"


def _of_hub_configs() -> object:
    """A dataset on the hub that has two configs."""
    with (
        patch("easydel.data.hub.load_builder", side_effect=ValueError("Config name is missing.")),
        patch("easydel.data.hub.configs_of", return_value=["easy", "hard"]),
    ):
        return load_rows("owner/pairs")


def _off_line() -> object:
    """A dataset on the hub whose file cannot be downloaded."""
    files = {"train": ["hf://datasets/owner/pairs@main/train.jsonl"]}
    with (
        patch("easydel.data.hub.load_builder", return_value=HubJson(files)),
        patch("huggingface_hub.hf_hub_download", side_effect=OSError("no network")),
    ):
        return load_rows("owner/pairs")


def _saved(place: Place) -> Path:
    """A folder of `save_to_disk`, damaged."""
    place.file("saved/state.json", "{}")
    return place.file("saved/dataset_info.json", "{}").parent


def _used(place: Place, *, again: bool = True) -> Any:
    """The loader of a stream that can be read once, read already where `again` is said."""
    from easydel.trainers.datasets import make_train_set

    config = DPOConfig(max_training_steps=9, total_batch_size=1, shuffle_train_dataset=False, cache_directory=None)
    loader = make_train_set(config, iter([IDS] * 3), None, tiny_model()).loader
    if again:
        with warnings.catch_warnings(action="ignore"):  # it ends before max_training_steps
            list(loader.batches(START, epochs=None))
    return loader
