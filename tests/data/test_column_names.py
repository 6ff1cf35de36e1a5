"""Which column of a dataset is read as which."""

import numpy as np
import pytest

from easydel.data.column_names import RowColumns, read_columns, renamed
from easydel.data.format import Dialogue, Plain, columns_of, read_row
from easydel.data.prepare import prepare
from easydel.errors import ConfigError, DataError
from oracles.tokenizers import tiny_tokenizer

U, B = {"role": "user", "content": "sky?"}, {"role": "assistant", "content": "blue"}
R, S = {"role": "assistant", "content": "red"}, {"role": "system", "content": "Be kind."}
ANSWERS = {"chosen": "blue", "rejected": "red"}


def test_columns_are_read_under_the_names_that_a_run_gives_them():
    row = {"frage": "sky?", "best": "blue", "worst": "red", "rolle": "Be kind.", "context": "x", "w": 0.5}
    columns = read_columns(
        {"question": "frage", "chosen": "best", "rejected": "worst", "system": "rolle", "ignore": "context"}
    )
    assert read_row(row, 0, columns) == Dialogue([S, U], [B], [R])
    plain = read_columns({"prompt": "frage", "chosen": "best", "rejected": "worst", "ignore": ["context", "rolle"]})
    assert read_row(row, 0, plain) == Plain("sky?", "blue", "red")
    assert columns_of(row, plain) == (("frage", "best", "worst"), ("rolle", "context", "w"))
    found = prepare([row], tiny_tokenizer(), columns={**plain, "weight": "w"})
    assert found.pairs[0] == prepare([{"prompt": "sky?", **ANSWERS, "weight": 0.5}], tiny_tokenizer()).pairs[0]


def test_columns_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"columns: unknown name 'promt'.* Did you mean 'prompt'"):
        read_columns({"promt": "question"})
    with pytest.raises(ConfigError, match=r"columns: unknown name 'q'.*: prompt=q reads your column 'q' as 'prompt'"):
        read_columns({"q": "prompt"})
    with pytest.raises(ConfigError, match="columns: prompt = 3 is not the name of a column"):
        read_columns({"prompt": 3})
    with pytest.raises(ConfigError, match="columns = 'prompt' is not a mapping"):
        read_columns("prompt")
    row = {"prompt": "sea?", "question": "sky?", **ANSWERS}
    with pytest.raises(DataError, match=r"row 3 has a column 'prompt', and another, 'question', .* ignore=prompt"):
        read_row(row, 3, read_columns({"prompt": "question"}))
    assert read_row(row, 3, read_columns({"prompt": "question", "ignore": "prompt"})).prompt == "sky?"
    with pytest.raises(
        DataError, match=r"prompt=qestion names a column that the rows do not have.* Did you mean 'question'"
    ):
        prepare([row], tiny_tokenizer(), columns={"prompt": "qestion"})
    asked = {"question": "sky?", **ANSWERS}
    with pytest.raises(DataError, match=r"question=prompt names .*: prompt=question reads 'question' as 'prompt'"):
        prepare([asked], tiny_tokenizer(), columns={"question": "prompt"})


def test_a_column_under_another_name_takes_the_place_of_an_empty_one():
    assert renamed({"prompt": None, "ask": "a", "id": 1}, {"prompt": "ask", "ignore": ["id"]}, 0) == {"prompt": "ask"}


def test_columns_are_plain_and_those_taken_are_remembered():
    have = RowColumns({"ask": np.array(["a"]), "system": "", "id": 3}, {"prompt": "ask"}, 0)
    assert (have.look("prompt"), have.look("ask")) == (["a"], None)
    assert (have.has("prompt"), have.has("system"), have.has("other")) == (True, False, False)
    assert not have.used
    assert have.take("system", "prompt") == ("prompt", ["a"])
    assert have.take("other") == ("", None)
    assert list(have.used) == ["prompt"]


def test_a_value_that_is_not_unicode_is_named_by_its_column_in_the_row():
    with pytest.raises(DataError, match="row 4: 'ask' holds half of a surrogate pair"):
        RowColumns({"ask": "\ud83d"}, {"prompt": "ask"}, 4).look("prompt")
