"""Whatever is wrong with rows, settings and files, what comes of it is an error for people, and never a traceback."""

import json
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from easydel.data.files import read_file as read_rows_of
from easydel.data.prepare import prepare
from easydel.errors import ConfigError, DataError, WeightsError
from easydel.models.folders import ModelFolder
from easydel.scripts.finetune import dpo
from easydel.trainers.config import DPOConfig
from easydel.weights.model_files import read_folder
from easydel.weights.safetensors import INDEX_NAME, WEIGHTS_NAME
from oracles.cases import CASES
from oracles.folders import write_tensors
from oracles.mutations import JUNK, mutated, mutated_bytes
from oracles.tokenizers import tiny_tokenizer

EXAMPLES = int(os.environ.get("EASYDEL_EXAMPLES", "60"))  # of each kind; `make survive` asks for more
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
TEMPLATE = (
    "{% for t in tools or [] %}{{ t['function']['name'] }}\n{% endfor %}"
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
)
TOKENIZER = tiny_tokenizer(chat_template=TEMPLATE)
ASKED, ANSWERED = {"role": "user", "content": "sky"}, {"role": "assistant", "content": "blue"}
ROWS: list[dict[str, Any]] = [
    {"prompt": "sky", "chosen": "blue", "rejected": "red", "weight": 1.0, "margin": 0.5},
    {"chosen": "sky blue", "rejected": "sky red"},
    {"prompt": [ASKED], "chosen": [ANSWERED], "rejected": [ANSWERED | {"content": "red"}], "chat_template_kwargs": {}},
    {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, ANSWERED | {"content": "red"}], "tools": [{"name": "f"}]},
    {"messages": [ASKED], "chosen": "blue", "rejected": "red", "tools": "[]"},
    {"conversations": [{"from": "human", "value": "sky"}], "system": "be", "chosen": "blue", "rejected": "red"},
    {"prompt_ids": [1, 5], "chosen_ids": [6, 7, 2], "rejected_ids": [8, 2]},
]


@contextmanager
def only(*errors: type[Exception]) -> Iterator[None]:
    """Lets such an error pass, if it has a message; any other is a failure, but warnings are not."""
    message = "nothing went wrong"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except errors as error:
            message = str(error)
    assert len(message) > 15


@fuzzed
@given(st.sampled_from(ROWS).flatmap(mutated))
def test_a_row(row):
    with only(DataError):
        prepare([row], TOKENIZER, max_length=64, vocab_size=35)


@fuzzed
@given(
    content=st.sampled_from([json.dumps(row).encode() + b"\n" for row in ROWS]).flatmap(mutated_bytes), data=st.data()
)
def test_a_file_of_rows(tmp_path, content, data):
    file = tmp_path / data.draw(
        st.sampled_from(["rows.jsonl", "rows.json", "rows.csv", "rows.parquet", "rows.jsonl.gz"])
    )
    file.write_bytes(content)
    with only(DataError):
        list(read_rows_of(file))


@fuzzed
@given(source=st.sampled_from(list(CASES.values())).flatmap(mutated))
@example(source=CASES["llama-gqa"] | {"model_type": []})
def test_a_model_configuration(tmp_path, source):
    try:
        (tmp_path / "config.json").write_text(json.dumps(source))
    except UnicodeEncodeError:
        return
    with only(ConfigError, WeightsError):
        _ = ModelFolder(tmp_path, "").config


@fuzzed
@given(st.sampled_from([json.dumps(case).encode() for case in CASES.values()]).flatmap(mutated_bytes))
def test_a_model_configuration_of_other_bytes(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with only(ConfigError, WeightsError):
        _ = ModelFolder(tmp_path, "").config


SETTINGS = DPOConfig(model_name="x").to_dict()


@fuzzed
@given(mutated(SETTINGS))
def test_settings(values):
    with only(ConfigError):
        DPOConfig.from_dict(values) if isinstance(values, dict) else DPOConfig(beta=values)


@fuzzed
@given(mutated_bytes(yaml.safe_dump(SETTINGS).encode()))
def test_a_configuration_file(tmp_path, content):
    (tmp_path / "run.yaml").write_bytes(content)
    with only(ConfigError):
        DPOConfig.from_yaml(tmp_path / "run.yaml")


FLAGS = [
    f"--{name}" for name in (*SETTINGS, "repo_id", "dataset_name", "sharding_axis", "streaming", "dtype", "config")
]
WORDS = st.sampled_from([*FLAGS, "true", "1", "-1", "0.5", "sigmoid", "none"]) | JUNK.map(str)


@fuzzed
@given(st.lists(WORDS, min_size=1, max_size=6))
def test_a_command_line(words):
    with only(ConfigError):
        dpo.parse([word.replace("--help", "") for word in words])


TENSORS = {"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float16)}


@fuzzed
@given(st.data())
def test_the_header_of_weights(tmp_path, data):
    write_tensors(tmp_path, TENSORS)
    content = (tmp_path / WEIGHTS_NAME).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(data.draw(mutated(json.loads(content[8 : 8 + length])))).encode()
    (tmp_path / WEIGHTS_NAME).write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
    with only(WeightsError):
        for tensor in read_folder(tmp_path).values():
            tensor.array()


@fuzzed
@given(st.data())
def test_the_bytes_of_weights(tmp_path, data):
    write_tensors(tmp_path, TENSORS)
    file = tmp_path / WEIGHTS_NAME
    file.write_bytes(data.draw(mutated_bytes(file.read_bytes())))
    with only(WeightsError):
        for tensor in read_folder(tmp_path).values():
            tensor.array()


@fuzzed
@given(st.data())
def test_the_index_of_weights(tmp_path, data):
    write_tensors(tmp_path, TENSORS, max_shard_size=24)
    index = json.loads((tmp_path / INDEX_NAME).read_text())
    (tmp_path / INDEX_NAME).write_text(json.dumps(data.draw(mutated(index))))
    with only(WeightsError):
        read_folder(tmp_path)


def test_what_is_not_mutated_is_valid(tmp_path):
    for row in ROWS:
        assert len(prepare([row], TOKENIZER, max_length=64, vocab_size=35).pairs) == 1
    assert DPOConfig.from_dict(SETTINGS).model_name == "x"
    write_tensors(tmp_path, TENSORS)
    assert set(read_folder(tmp_path)) == set(TENSORS)
    (tmp_path / "config.json").write_text(json.dumps(CASES["qwen2"]))
    assert ModelFolder(tmp_path, "").config.vocab_size == 48
    with pytest.raises(ConfigError, match="unknown option"), only(DataError):
        DPOConfig.from_dict({"model_nam": "x"})
