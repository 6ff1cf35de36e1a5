"""The shapes of public preference sets, each read as what it means, or refused where a column could mean more."""

import pytest

from easydel.data.format import Dialogue, Dropped, Plain, read_row
from easydel.data.prepare import prepare
from easydel.errors import DataError
from oracles.tokenizers import tiny_tokenizer

U, B = {"role": "user", "content": "sky?"}, {"role": "assistant", "content": "blue"}
R, S = {"role": "assistant", "content": "red"}, {"role": "system", "content": "Be kind."}
ANSWERS = {"chosen": "blue", "rejected": "red"}
RANKED = [{"answer": "green", "rank": 2.0}, {"answer": "red", "rank": 3.0}, {"answer": "blue", "rank": 1.0}]
WEBGPT, WON_A = {"answer_0": "red", "answer_1": "blue"}, {"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}
SCORED = [
    {"response": "red", "overall_score": 2.0, "custom_system_prompt": "x", "annotations": {"honesty": 1}},
    {"response": "blue", "overall_score": "8.5", "custom_system_prompt": "y", "annotations": {"honesty": 5}},
]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"system": "Be kind.", "question": "sky?", **ANSWERS}, [S, U]),  # Intel/orca_dpo_pairs
        ({"system": "", "question": "sky?", **ANSWERS}, [U]),
        ({"system": "Be kind.", "input": "sky?", **ANSWERS, "generations": ["x", "y"], "rating": [1, 2]}, [S, U]),
        ({"instruction": "sky?", "input": "", "history": [], **ANSWERS}, [U]),  # alpaca
        ({"instruction": "sky?", "chosen_response": "blue", "rejected_response": "red"}, [U]),
        ({"query": "sky?", "response_chosen": "blue", "response_rejected": "red"}, [U]),
        ({"question": "sky?", "response_j": "blue", "response_k": "red", "qid": 3}, [U]),  # stack-exchange-paired
        ({"source": "x", "instruction": "sky?", "models": ["a"], "completions": SCORED}, [U]),  # openbmb/UltraFeedback
        ({"input": "sky?", "generations": ["red", "blue"], "ratings": ["2", None, 4.5][::2]}, [U]),  # distilabel
        ({"context": [U], "response1": "blue", "response2": "red", "overall_preference": -2}, [U]),  # HelpSteer3
        ({"context": [U], "response1": "red", "response2": "blue", "overall_preference": 3}, [U]),
        ({"context": [S, U], "completions": [{"rank": 1, "completion": [R]}, {"rank": 0, "completion": [B]}]}, [S, U]),
        ({"history": "sky?", "human_ref_A": "blue", "human_ref_B": "red", "labels": 1, "score_A": 3}, [U]),  # SHP
        ({"history": "sky?", "human_ref_A": "red", "human_ref_B": "blue", "labels": 0}, [U]),
        ({"conversation_a": [U, R], "conversation_b": [U, B], "winner": "model_b", "model_a": "x"}, [U]),  # arena
        (  # OpenAI
            {"input": {"messages": [S, U], "tools": None}, "preferred_output": [B], "non_preferred_output": [R]},
            [S, U],
        ),
        ({"conversations": [{"from": "human", "value": "sky?"}], "system": "Be kind.", **ANSWERS}, [S, U]),
        ({"prompt": "sky?", "system_prompt": "Be kind.", **ANSWERS}, [S, U]),
        ({"prompt": "sky?", "question": "sky?", "chosen": [U, B], "rejected": [U, R]}, [U]),
        ({"question": {"dataset": "eli5", "full_text": "sky?"}, **WEBGPT, "score_0": -1.0, "score_1": 1.0}, [U]),
        (
            {"instruction": "sky?", "input": " ", "output_1": "blue", "output_2": "red", "preference": 1},
            [U],
        ),  # alpaca_farm
        ({"input": "sky?", "output_1": "red", "output_2": "blue", "label": 2.0}, [U]),  # LLMBar
        ({"question": "sky?", "response_A": "blue", "response_B": "red", "label": "A>B"}, [U]),  # JudgeBench
        ({"conv_A": [U, R], "conv_B": [U, B], "conv_A_rating": 1.0, "conv_B_rating": "2"}, [U]),  # Unified-Feedback
        ({"prompt": '["sky?"]', "response_a": '["blue"]', "response_b": '["red"]', **WON_A}, [U]),  # arena 55k
        ({"messages": [S, U, B], "rejected_response": "red"}, [S, U]),  # ms-swift
        ({"messages": [S, U, B], "rejected_messages": [S, U, R]}, [S, U]),
        ({"query": "sky?", "response": "blue", "rejected_response": "red", "history": None}, [U]),
        ({"real": [U, B], "generated": [U, R]}, [U]),  # SPIN
        ({"instruction": "sky?", "accepted": "blue", "rejected": "red"}, [U]),
        ({"trajectory": [{"from": "user", "value": "sky?"}], **ANSWERS, "task": "Coding"}, [U]),  # UltraInteract
        ({"conversation": [{"input": "sky?", "output": "red"}], "chosen": [U, B], "rejected": [U, R]}, [U]),
        ({"prompt": [U], "chosen": [B], "rejected": [R], "ranks": [1, 0], "candidates_completions": ["x", "y"]}, [U]),
        ({"prompt": [U], "chosen": ["blue"], "rejected": ["red"]}, [U]),  # RewardBench 2
        ({"question": "sky?", "answers": str(RANKED[1:])}, [U]),  # csv
        ({"system": [S], "question": "sky?", **ANSWERS}, [S, U]),
    ],
)
def test_what_a_user_says_in_any_shape_is_a_conversation(row, prompt):
    assert read_row(row, 0) == Dialogue(prompt, [B], [R])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "sky?", **ANSWERS, "prompt_id": "x", "chosen-rating": 5.0, "score_chosen": 1.0},
        {"prompt": "sky?", "answers": RANKED, "turns": 1, "num_responses": 3, "good_natured": True},  # Nectar
        {"prompt": "sky?", "answers": {"answer": ["blue", "red"], "rank": [1, 2]}},  # as older `datasets` give it
        {"prompt": "sky?", "response_0": "red", "response_1": "blue", "better_response_id": 1, "safer_response_id": 0},
        {"prompt": "sky?", "response_1": "red", "response_2": "blue", "preference_strength": 1},
        {"prompt": "sky?", "response_a": "blue", "response_b": "red", "winner": "A"},
        {"prompt": "sky?", "responses": ["red", "blue"], "ranks": [2, 1]},
        {"prompt": "sky?", "responses": "['red' 'blue']", "ranks": "[2 1]"},  # numpy's, in a csv file
        {"prompt": "sky?", **ANSWERS, "tools": "[]", "history": "[]", "chat_template_kwargs": "{}"},
        {"prompt": "sky?", **ANSWERS, "tools": "null", "system": {"role": None, "content": None}},
    ],
)
def test_a_prompt_in_text_stays_text(row):
    assert read_row(row, 0) == Plain("sky?", "blue", "red")


def test_what_another_column_asks_may_stand_within_the_prompt():
    row = {"prompt": "Q: hm? A: hm. Q: sky? A:", "question": "sky?", "chosen": " blue", "rejected": " red"}  # few shots
    assert read_row(row, 0) == Plain(row["prompt"], " blue", " red")
    row = {"prompt": "Translate:\nsky", "instruction": "Translate:", "input": "sky", **ANSWERS}
    assert read_row(row, 0) == Plain("Translate:\nsky", "blue", "red")


def test_of_a_conversation_of_two_turns_the_first_is_judged_where_the_row_says_so():
    """MT-Bench's judgments of turn 1 hold both turns."""
    row = {"conversation_a": [U, B, U, R], "conversation_b": [U, R, U, B], "winner": "model_a"}
    assert read_row(row | {"turn": 1}, 0) == Dialogue([U], [B], [R])
    assert read_row(row | {"turn": 2}, 0)[1:3] == ([B, U, R], [R, U, B])


def test_arena_rows_of_several_turns_are_conversations():
    texts = {"prompt": '["sky?", "why?"]', "response_a": '["blue", "air"]', "response_b": ["blue", "magic"], **WON_A}
    why, air = {"role": "user", "content": "why?"}, {"role": "assistant", "content": "air"}
    assert read_row(texts, 0) == Dialogue([U, B, why], [air], [{"role": "assistant", "content": "magic"}])
    assert read_row(texts | {"response_b": '["blue", null]'}, 0) == Dropped("a completion is empty")


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        (
            {"context": [U], "response1": "blue", "response2": "red", "overall_preference": 0},
            "no completion is preferred",
        ),
        (
            {"prompt": "a", "response_a": "x", "response_b": "y", "winner": "tie (bothbad)"},
            "no completion is preferred",
        ),
        (
            {"prompt": "a", "response_0": "x", "response_1": "y", "better_response_id": None},
            "no completion is preferred",
        ),
        (
            {"prompt": "a", "answers": [{"answer": "x", "rank": 1}, {"answer": "y", "rank": 1}]},
            "no completion is preferred",
        ),
        (
            {"prompt": "a", "completions": [SCORED[0], {"response": "y", "overall_score": None}]},
            "fewer than two completions",
        ),
        ({"prompt": "a", "chosen": "", "rejected": "y"}, "a completion is empty"),
        ({"prompt": "a", "chosen": "x", "rejected": None}, "a completion is empty"),
        ({"prompt": "a", "chosen": "x", "rejected": float("nan")}, "a completion is empty"),
        ({"prompt": [U], "chosen": [], "rejected": [R]}, "a completion is empty"),
        ({"prompt": [U], "chosen": [{"role": "assistant", "content": ""}], "rejected": [R]}, "a completion is empty"),
        (
            {"prompt": [U], "chosen": [{"role": "assistant", "content": None}], "rejected": "red"},
            "a completion is empty",
        ),
        ({"chosen": [U, {"role": "assistant", "content": ""}], "rejected": [U, R]}, "a completion is empty"),
        ({"question": "sky?", "chosen": {"from": "gpt", "value": ""}, "rejected": "red"}, "a completion is empty"),
        ({"question": "sky?", "chosen": "\n", "rejected": "red"}, "a completion is empty"),
        ({"prompt": "sky?", "chosen": " \n", "rejected": "red"}, "a completion is empty"),
        ({"chosen": "Q: sky? A: ", "rejected": "Q: sky? A: red"}, "a completion is empty"),
        ({"chosen": "Q: sky? A: blue", "rejected": "Q: sky? A:"}, "a completion is empty"),
        ({"prompt": "sky?", "chosen": "sky? ", "rejected": "sky? red"}, "a completion is empty"),
        ({"prompt": "sky?", "chosen": "sky?", "rejected": "sky? red"}, "a completion is empty"),
        ({"prompt": [U], "chosen": [None], "rejected": [R]}, "a completion is empty"),
        ({"prompt": [U], "chosen": {"role": None, "content": None}, "rejected": R}, "a completion is empty"),
        ({"prompt": [U], "chosen": {**B, "content": "", "model": "x"}, "rejected": R}, "a completion is empty"),
        ({"prompt": [U], "chosen": [U], "rejected": [U, R]}, "a completion is empty"),
        ({"chosen": [U, B], "rejected": [U]}, "a completion is empty"),
        ({"prompt": "sky?", "answers": []}, "fewer than two completions"),
        (
            {"context": [U], "response1": "a", "response2": "b", "overall_preference": None},
            "no completion is preferred",
        ),
        ({"question": "sky?", "answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": 0.5}, "no completion is"),
        ({"question": "sky?", "output_1": "a", "output_2": "b", "preference": 1.5}, "no completion is preferred"),
    ],
)
def test_a_row_without_a_pair_is_dropped_and_counted_by_its_cause(row, cause):
    said = read_row(row, 0)
    assert isinstance(said, Dropped)
    assert said.cause.startswith(cause)
    found = prepare([row, {"prompt": "sky", "chosen": "blue", "rejected": "red"}], tiny_tokenizer())
    assert found.counts.dropped == {said.cause: 1}
    assert [pair.index for pair in found.pairs] == [1]


def test_an_empty_answer_in_ids_is_dropped_with_the_same_cause():
    ids = {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}
    rows = [ids, ids | {"chosen_ids": []}, ids | {"rejected_ids": None}]
    assert prepare(rows).counts.dropped == {"a completion is empty": 2}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "sky?", "context": "It is day.", **ANSWERS}, "'context' could change .* --columns ignore=context"),
        ({"context": "sky?", **ANSWERS}, "'context' could change .* --columns prompt=context"),
        ({"prompt": "sky?", "label": 1, **ANSWERS}, "the column 'label' could change the meaning of the row"),
        ({"prompt": "sky?", "rank": 1, **ANSWERS}, "the column 'rank' could change the meaning of the row"),
        (
            {"question": "sky?", "input": "sea", **ANSWERS},
            "'input' and 'question' differ, and each could be the prompt",
        ),
        (
            {"prompt": "sky?", "question": "sea?", **ANSWERS},
            "'question' and 'prompt' differ, .* ignore=question, or ignore=prompt",
        ),
        ({"prompt": "sky?", "images": [b"x"], **ANSWERS}, "'images' holds a list of bytes; only text"),
        ({"prompt": "sky?", "schema": "CREATE TABLE", **ANSWERS}, "'schema' could change .* --columns ignore=schema"),
        ({"prompt": "1+1=?", "initial_reason_steps": "Step 1: ", **ANSWERS}, "'initial_reason_steps' could change"),
        (
            {"system": "x", "chosen": "The sky is blue", "rejected": "The sky is red"},
            "there is no prompt column, and a beginning",
        ),
        ({"system": "Be rude.", "prompt": [S, U], **ANSWERS}, "'system' is 'Be rude.', but the .* 'Be kind.'"),
        ({"Aufgabe": "1+1=?", "chosen": "It is 2", "rejected": "It is 3"}, "'Aufgabe' could be it"),
        ({"问题": "什么颜色?", "chosen": "The sky is blue", "rejected": "The sky is red"}, "'问题' could be it"),
        ({"original_prompt": "Color", "chosen": "It is 2", "rejected": "It is 3"}, "'original_prompt' could be it"),
        ({"problem": "Color", "chosen": [B], "rejected": [R]}, "'problem' could be it: --columns prompt=problem"),
        (
            {"prompt": "sky?", "chosen": "blue", "rejected": ["a", "b"]},
            "'rejected' is a list of 2 strings; it must be one",
        ),
        ({"prompt": "a", "output_1": "x", "output_2": "y", "label": 0}, "'label' is 0; it must be 1 if the first"),
        ({"prompt": "a", "response": "x"}, "row 3 has no 'chosen'"),
        ({"Frage": "Which color?", "chosen": "The sky is blue", "rejected": "The sky is red"}, "'Frage' could be it"),
        (
            {"prompt": "sky?", "completion": "blue", "label": True},
            "has one completion, 'completion', and 'label': unpaired preference data, as for KTO",
        ),
        (
            {"prompt": "a", "response_0": "x", "response_1": "y"},
            "none of the columns that say which is better: 'better_resp",
        ),
        (
            {"prompt": "a", "response_a": "x", "response_b": "y", "winner": "c"},
            "'winner' is 'c'; it must be 'a', 'b' or",
        ),
        (
            {"prompt": "a", "response1": "x", "response2": "y", "overall_preference": "much"},
            "'overall_preference' is 'much'",
        ),
        (
            {"prompt": "a", "responses": ["x", "y"], "ranks": [1]},
            "holds 2 completions, but the number of ranks or scores is 1",
        ),
        ({"question": "sky?", "history": ["hi"], **ANSWERS}, "'history' 0 is a string. It must be a list of"),
        (
            {"prompt": "a", "chosen": 42, "rejected": "b"},
            r"'chosen' is 42 \(int\); .* A CSV or JSON reader may have",
        ),
        ({"prompt": "a", "chosen": b"x", "rejected": "b"}, r"'chosen' is b'x' \(bytes\); it must be a string"),
        ({"prompt": "a\ud83d", **ANSWERS}, "row 3: 'prompt' holds half of a surrogate pair"),
        ({"prompt": [U], "chosen": [{**B, "name": "\udc00"}], "rejected": [R]}, "'chosen' holds half of a surrogate"),
        (
            {"prompt": [U], "chosen": [{**B, "\udc00": "x"}], "rejected": [R]},
            "'chosen': a key holds half of a surrogate",
        ),
        ({"prompt": [U], "chosen": "x", "rejected": "y", "tools": '[{"name": "\\ud83d"}]'}, "'tools' holds half of a"),
        ({"prompt": "[{'role': 'user' 'content'", **ANSWERS}, "'prompt' looks like a list of messages"),
    ],
)
def test_what_would_change_the_meaning_of_a_row_and_is_not_read_is_refused(row, message):
    with pytest.raises(DataError, match=message):
        read_row(row, 3)
