import numpy as np
import pytest

from easydel.data.token_id_rows import id_columns, read_ids
from easydel.data.tokenize import Joined
from easydel.errors import DataError

IDS = {"prompt_ids": [1, 5], "chosen_ids": [6, 7, 2], "rejected_ids": [8, 2]}
HF = {"prompt_input_ids": [1, 5], "chosen_input_ids": [6, 7, 2], "rejected_input_ids": [8, 2]}
WHOLE = HF | {"chosen_input_ids": [1, 5, 6, 7, 2], "rejected_input_ids": [1, 5, 8, 2]}
LABELS = {"chosen_labels": [-100, -100, 6, 7, 2], "rejected_labels": [-100, -100, 8, 2]}
READ = Joined([1, 5], [6, 7, 2], [8, 2])


@pytest.mark.parametrize(
    "row",
    [
        IDS,
        HF,
        {name: np.array(ids) for name, ids in IDS.items()},
        HF
        | {f"{side}_attention_mask": [1] * len(HF[f"{side}_input_ids"]) for side in ("prompt", "chosen", "rejected")},
        HF | {"chosen_labels": [6, 7, 2], "rejected_labels": [8, 2]},
        WHOLE,  # both sides hold the prompt
        WHOLE | LABELS,  # as TRL stored them once
        {name: value for name, value in (WHOLE | LABELS).items() if name != "prompt_input_ids"},
        HF | {"prompt_input_ids": [0, 0, 1, 5], "prompt_attention_mask": [0, 0, 1, 1]},
        HF | {"chosen_input_ids": [6, 7, 2, 0], "chosen_attention_mask": [1, 1, 1, 0]},
        IDS | {"chosen_mask": [1, 1, 1], "rejected_mask": [True, True], "prompt": "sky"},
        IDS | {"prompt_input_ids": None, "chosen_labels": None},
        WHOLE | {"chosen_mask": [0, 0, 1, 1, 1], "rejected_mask": [0, 0, 1, 1]},
        {
            "chosen_ids": [1, 5, 6, 7, 2],
            "rejected_ids": [1, 5, 8, 2],
            "chosen_mask": [0, 0, 1, 1, 1],
            "rejected_mask": [0, 0, 1, 1],
        },
    ],
)
def test_rows_of_ids_say_the_same_in_every_form(row):
    assert read_ids(row, 0) == READ


@pytest.mark.parametrize("name", ["chosen_mask", "chosen_completion_mask", "chosen_loss_mask"])
def test_tokens_that_a_mask_leaves_out_bear_no_loss(name):
    assert read_ids(IDS | {name: [1, 0, 1]}, 0) == READ._replace(chosen_trained=[True, False, True])


def test_a_prompt_of_one_token_is_held_once_where_a_mask_says_that_it_is_the_prompt():
    row = {"prompt_ids": [1], "chosen_ids": [1, 6], "rejected_ids": [1, 8]}
    assert read_ids(row, 0) == Joined([1], [1, 6], [1, 8])
    assert read_ids(row | {"chosen_mask": [0, 1], "rejected_mask": [0, 1]}, 0) == Joined([1], [6], [8])


def test_a_completion_that_is_the_prompt_alone_is_empty():
    assert read_ids(WHOLE | {"rejected_input_ids": [1, 5]}, 0).dropped == "a completion is empty"


def test_labels_say_what_bears_loss_behind_the_prompt():
    row = WHOLE | LABELS | {"chosen_labels": [-100, -100, -100, 7, 2]}
    assert read_ids(row, 0) == READ._replace(chosen_trained=[False, True, True])
    trained = WHOLE | {"chosen_labels": WHOLE["chosen_input_ids"], "rejected_labels": WHOLE["rejected_input_ids"]}
    assert read_ids(trained, 0) == Joined([1, 5], [1, 5, 6, 7, 2], [1, 5, 8, 2])  # the labels say it is no prompt


def test_a_row_of_which_nothing_bears_loss_is_dropped():
    assert read_ids(IDS | {"rejected_mask": [0, 0]}, 0).dropped == "no token of a completion bears loss"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            IDS | {"completion_mask": [1]},
            "'completion_mask' does not say which completion it belongs to: .*'chosen_completion",
        ),
        (IDS | {"chosen_mask": [1]}, "'chosen_mask' has length 1, but 'chosen_ids' has length 3"),
        (IDS | {"chosen_mask": [1, 1, 0.5]}, "'chosen_mask' must be a list of integers, one for each token"),
        (IDS | {"chosen_mask": [1] * 3, "chosen_labels": [6, 7, 2]}, "has 'chosen_mask', 'chosen_labels': keep one"),
        (
            IDS | {"chosen_labels": [6, 7, 3]},
            "'chosen_labels' has the label 3 at position 2, where 'chosen_ids' has the token 2;",
        ),
        (IDS | {"chosen_attention_mask": [1, 0, 1]}, "'chosen_attention_mask' has a 0 between ones"),
        (IDS | {"prompt_ids": []}, "'prompt_ids' is empty"),
        (IDS | {"prompt_ids": None}, "no 'prompt_ids'. All of prompt_ids, chosen_ids"),
        ({"prompt_ids": [1], "chosen_ids": [2]}, "no 'rejected_ids'"),
        (IDS | {"prompt_ids": [True]}, "'prompt_ids' must be a list of integers"),
    ],
)
def test_ids_that_cannot_be_read_name_the_row_and_the_column(row, message):
    with pytest.raises(DataError, match=f"row 4.*{message}"):
        read_ids(row, 4)


def test_columns_of_ids_that_hold_none_are_absent():
    assert id_columns({"prompt_ids": None, "chosen_ids": None, "rejected_ids": None, "prompt": "x"}) is None
    assert id_columns({"prompt_input_ids": [1]}) == ("prompt_input_ids", "chosen_input_ids", "rejected_input_ids")
