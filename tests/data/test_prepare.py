import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from easydel.data.counts import Counts
from easydel.data.pair import Pair
from easydel.data.prepare import prepare
from easydel.errors import ConfigError, DataError
from oracles.tokenizers import BOS, EOS, ids, tiny_tokenizer

IDS = {"prompt_ids": [1, 2], "chosen_ids": [3, 4, 5], "rejected_ids": [6]}
TEXT = {"prompt": "sky", "chosen": "blue", "rejected": "red"}


def test_text_rows_become_pairs_numbered_by_row():
    pairs, counts = prepare([TEXT, TEXT], tiny_tokenizer())
    expected = Pair([BOS, *ids("sky")], [*ids("blue"), EOS], [*ids("red"), EOS])
    assert pairs == [expected._replace(index=0), expected._replace(index=1)]
    assert counts._replace(lengths={}) == Counts(rows=2, kept=2, truncated={}, dropped={}, merged=0, identical=0)


def test_token_ids_are_taken_as_they_are_without_a_tokenizer():
    arrays = {name: np.array(value) for name, value in IDS.items()}
    old_names = {name.replace("_ids", "_input_ids"): value for name, value in IDS.items()}
    lists_of_numpy = {name: list(value) for name, value in arrays.items()}
    for row in (IDS, arrays, lists_of_numpy, old_names):
        pairs = prepare([row]).pairs
        assert pairs == [Pair([1, 2], [3, 4, 5], [6], index=0)]
        assert {type(i) for ids in pairs[0][:3] for i in ids} == {int}


def test_rows_of_text_and_of_ids_keep_their_order():
    pairs = prepare([IDS, TEXT, IDS], tiny_tokenizer()).pairs
    assert [pair.index for pair in pairs] == [0, 1, 2]
    assert pairs[0].prompt == pairs[2].prompt == [1, 2]


def test_any_iterable_of_rows_is_read_once_however_long():
    rows = ({"prompt_ids": [1], "chosen_ids": [n % 7], "rejected_ids": [7]} for n in range(2500))
    prepared = prepare(rows)
    assert [pair.chosen[0] for pair in prepared.pairs] == [n % 7 for n in range(2500)]


def test_what_is_cut_and_dropped_is_counted_by_cause():
    rows = [
        {"prompt_ids": [1] * 6, "chosen_ids": [2], "rejected_ids": [3]},
        {"prompt_ids": [1] * 3, "chosen_ids": [2] * 4, "rejected_ids": [3]},
        {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [2]},
        {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]},
    ]
    with pytest.warns(UserWarning, match="in 1 of 4 rows chosen and rejected are the same .* first is row 2"):
        pairs, counts = prepare(rows, max_length=5)
    assert [pair.index for pair in pairs] == [1, 2, 3]
    assert counts._replace(lengths={}) == Counts(
        4, 3, {"max_length": 1}, {"the prompt alone reaches max_length": 1}, merged=0, identical=1
    )
    assert counts.summary() == (
        "3 of 4 rows kept. Dropped: 1 (the prompt alone reaches max_length). Truncated: 1 (max_length). "
        "In 1 chosen and rejected are the same tokens."
    )


def test_merged_boundaries_are_counted_and_a_prompt_that_merges_away_is_dropped():
    rows = [TEXT, {"prompt": "xa", "chosen": "bc", "rejected": "d"}, {"prompt": "a", "chosen": "bc", "rejected": "d"}]
    pairs, counts = prepare(rows, tiny_tokenizer(bos=False))
    assert [pair.index for pair in pairs] == [0, 1]
    assert (counts.merged, counts.most_merged, counts.most_merged_row) == (2, 1, 1)
    assert "In 2 the end of the prompt changes when a completion follows it, by at most 1 token (row 1)." in (
        counts.summary()
    )
    assert counts.dropped == {"the prompt has no token of its own": 1}


def test_a_prompt_of_which_several_tokens_are_lost_is_warned_of_with_the_row():
    turns = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}"
    begun = turns + "{% if add_generation_prompt %}a:xyz{% endif %}"
    tokenizer = tiny_tokenizer(chat_template=begun)
    rows = [{"prompt": "sky", "chosen": "b", "rejected": "c"}, {"question": "sky", "chosen": "b", "rejected": "c"}]
    expected = r"in 1 of 2 rows the end of the prompt changes .* row 1, where the last 3 of 11 tokens of the prompt"
    with pytest.warns(UserWarning, match=expected):
        counts = prepare(rows, tokenizer).counts
    assert (counts.merged, counts.most_merged, counts.most_merged_row) == (1, 3, 1)


def test_the_weights_margins_and_preferences_of_a_dataset_are_told_as_a_range():
    rows = [IDS | {"weight": 2, "margin": -0.5}, IDS, IDS | {"weight": 0.5, "preference": 0.7}]
    counts = prepare(rows).counts
    assert (counts.weights, counts.margins, counts.preferences) == ((0.5, 2.0), (-0.5, 0.0), (0.7, 1.0))
    assert prepare([IDS]).counts[-3:] == ((1.0, 1.0), (0.0, 0.0), (1.0, 1.0))


def test_other_columns_are_ignored():
    assert prepare([IDS | {"score": "big", "source": None}]) == prepare([IDS])


def test_weight_and_margin_are_put_on_the_pair_of_text_and_of_ids():
    rows = [TEXT | {"weight": 2, "margin": -0.5}, IDS | {"weight": np.float32(0.25)}, TEXT | {"margin": 1.5}, IDS]
    pairs = prepare(rows, tiny_tokenizer()).pairs
    assert [(pair.weight, pair.margin) for pair in pairs] == [(2.0, -0.5), (0.25, 0.0), (1.0, 1.5), (1.0, 0.0)]
    assert {type(number) for pair in pairs for number in (pair.weight, pair.margin)} == {float}


@pytest.mark.parametrize("row", [TEXT, IDS])
def test_a_weight_that_is_no_number_names_its_row_and_its_value(row):
    with pytest.raises(DataError, match=r"row 1: 'weight' is nan \(float\); it must be a finite number of at least 0"):
        prepare([row, row | {"weight": float("nan")}], tiny_tokenizer())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("rows.jsonl", "'rows.jsonl' is the name of a dataset, not its rows: load them with"),
        (Path("rows.jsonl"), "'rows.jsonl' is the name of a dataset"),
        (
            {"train": [IDS], "test": [IDS]},
            "a dict with the keys 'train', 'test' is not rows.* give one split",
        ),
    ],
)
def test_what_is_not_rows_is_an_error_that_shows_the_way_out(rows, message):
    with pytest.raises(DataError, match=message):
        prepare(rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["not", "a", "dict"], "row 1 is of type list; a row must be a dict"),
        ({"prompt_ids": [1], "chosen_ids": [2]}, "row 1 has token ids but no 'rejected_ids'"),
        (IDS | {"prompt_ids": []}, "row 1: 'prompt_ids' is empty"),
        (IDS | {"chosen_ids": [1.5]}, "row 1: 'chosen_ids' must be a list of integers"),
        (IDS | {"chosen_ids": [True]}, "row 1: 'chosen_ids' must be a list of integers"),
        (IDS | {"chosen_ids": np.array([True])}, "row 1: 'chosen_ids' must be a list of integers"),
        (IDS | {"chosen_ids": np.array([[1]])}, "row 1: 'chosen_ids' must be a list of integers"),
        (IDS | {"chosen_ids": "12"}, "row 1: 'chosen_ids' must be a list of integers"),
        (IDS | {"chosen_ids": [-1]}, "row 1: chosen holds the token id -1"),
        (IDS | {"rejected_ids": [9]}, "row 1: rejected holds the token id 9, but the model knows 9 tokens, 0 to 8"),
        (TEXT, "the rows are text, but no tokenizer was given"),
    ],
)
def test_a_row_that_cannot_be_used_names_itself_and_the_field(row, message):
    with pytest.raises(DataError, match=message):
        prepare([IDS, row], vocab_size=9)


def test_a_tokenizer_of_another_model_is_found_by_its_ids():
    with pytest.raises(DataError, match="Use the tokenizer that belongs to the model"):
        prepare([TEXT], tiny_tokenizer(), vocab_size=10)


def test_no_rows_and_no_rows_left_are_errors():
    with pytest.raises(DataError, match="there are no rows"):
        prepare([])
    with pytest.raises(
        DataError, match=r"no row is left: 0 of 1 rows kept. Dropped: 1 \(the prompt .* Raise max_length, now 2"
    ):
        prepare([IDS], max_length=2)


def test_limits_are_checked_before_any_row_is_read():
    with pytest.raises(ConfigError, match="max_length is 0"):
        prepare(iter([]), max_length=0)


def test_real_pairs_lose_the_one_row_that_the_known_trajectory_loses(shared):
    """Of the first 80 pairs the reference run dropped one, whose prompt reaches 512 tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "stories260k")
    with gzip.open(shared / "data" / "alpaca_pairs.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(80), strict=False)]
    pairs, counts = prepare(rows, tokenizer, max_length=512)
    assert counts.dropped == {"the prompt alone reaches max_length": 1}
    assert max(len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) for pair in pairs) == 512
