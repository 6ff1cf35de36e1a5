"""The shapes of public preference sets, each read as what it means, or refused where a column could mean more."""

import pytest

from easydel.data.column_names import read_columns
from easydel.data.format import Dialogue, Dropped, Plain, columns_of, read_row
from easydel.data.prepare import prepare
from easydel.errors import ConfigError, DataError
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
    """MT-Bench's judgements of turn 1 hold both turns."""
    row = {"conversation_a": [U, B, U, R], "conversation_b": [U, R, U, B], "winner": "model_a"}
    assert read_row(row | {"turn": 1}, 0) == Dialogue([U], [B], [R])
    assert read_row(row | {"turn": 2}, 0)[1:3] == ([B, U, R], [R, U, B])


def test_arena_rows_of_several_turns_are_conversations():
    texts = {"prompt": '["sky?", "why?"]', "response_a": '["blue", "air"]', "response_b": ["blue", "magic"], **WON_A}
    why, air = {"role": "user", "content": "why?"}, {"role": "assistant", "content": "air"}
    assert read_row(texts, 0) == Dialogue([U, B, why], [air], [{"role": "assistant", "content": "magic"}])
    assert read_row(texts | {"response_b": '["blue", null]'}, 0) == Dropped("an answer is empty")


def test_an_instruction_is_followed_by_its_input_and_preceded_by_its_history():
    row = {"instruction": "Translate:", "input": "sky", "history": [["hi", "hello"]], **ANSWERS}
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    for history in ([["hi", "hello"]], '[["hi", "hello"]]', turns):
        said = read_row(row | {"history": history}, 0)
        assert said.prompt == [*turns, {"role": "user", "content": "Translate:\nsky"}]


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"context": [U], "response1": "blue", "response2": "red", "overall_preference": 0}, "no answer is preferred"),
        ({"prompt": "a", "response_a": "x", "response_b": "y", "winner": "tie (bothbad)"}, "no answer is preferred"),
        ({"prompt": "a", "response_0": "x", "response_1": "y", "better_response_id": None}, "no answer is preferred"),
        (
            {"prompt": "a", "answers": [{"answer": "x", "rank": 1}, {"answer": "y", "rank": 1}]},
            "no answer is preferred",
        ),
        (
            {"prompt": "a", "completions": [SCORED[0], {"response": "y", "overall_score": None}]},
            "fewer than two answers",
        ),
        ({"prompt": "a", "chosen": "", "rejected": "y"}, "an answer is empty"),
        ({"prompt": "a", "chosen": "x", "rejected": None}, "an answer is empty"),
        ({"prompt": "a", "chosen": "x", "rejected": float("nan")}, "an answer is empty"),
        ({"prompt": [U], "chosen": [], "rejected": [R]}, "an answer is empty"),
        ({"prompt": [U], "chosen": [{"role": "assistant", "content": ""}], "rejected": [R]}, "an answer is empty"),
        ({"prompt": [U], "chosen": [{"role": "assistant", "content": None}], "rejected": "red"}, "an answer is empty"),
        ({"chosen": [U, {"role": "assistant", "content": ""}], "rejected": [U, R]}, "an answer is empty"),
        ({"question": "sky?", "chosen": {"from": "gpt", "value": ""}, "rejected": "red"}, "an answer is empty"),
        ({"question": "sky?", "chosen": "\n", "rejected": "red"}, "an answer is empty"),
        ({"prompt": "sky?", "chosen": " \n", "rejected": "red"}, "an answer is empty"),
        ({"chosen": "Q: sky? A: ", "rejected": "Q: sky? A: red"}, "an answer is empty"),
        ({"chosen": "Q: sky? A: blue", "rejected": "Q: sky? A:"}, "an answer is empty"),
        ({"prompt": "sky?", "chosen": "sky? ", "rejected": "sky? red"}, "an answer is empty"),
        ({"prompt": "sky?", "chosen": "sky?", "rejected": "sky? red"}, "an answer is empty"),
        ({"prompt": [U], "chosen": [None], "rejected": [R]}, "an answer is empty"),
        ({"prompt": [U], "chosen": {"role": None, "content": None}, "rejected": R}, "an answer is empty"),
        ({"prompt": [U], "chosen": {**B, "content": "", "model": "x"}, "rejected": R}, "an answer is empty"),
        ({"prompt": [U], "chosen": [U], "rejected": [U, R]}, "an answer is empty"),
        ({"chosen": [U, B], "rejected": [U]}, "an answer is empty"),
        ({"prompt": "sky?", "answers": []}, "fewer than two answers"),
        ({"context": [U], "response1": "a", "response2": "b", "overall_preference": None}, "no answer is preferred"),
        ({"question": "sky?", "answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": 0.5}, "no answer is"),
        ({"question": "sky?", "output_1": "a", "output_2": "b", "preference": 1.5}, "no answer is preferred"),
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
    assert prepare(rows).counts.dropped == {"an answer is empty": 2}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "sky?", "context": "It is day.", **ANSWERS}, "'context' could change .* --columns ignore=context"),
        ({"context": "sky?", **ANSWERS}, "'context' could change .* --columns prompt=context"),
        ({"prompt": "sky?", "label": 1, **ANSWERS}, "the column 'label' could change what the row says"),
        ({"prompt": "sky?", "rank": 1, **ANSWERS}, "the column 'rank' could change what the row says"),
        ({"question": "sky?", "input": "sea", **ANSWERS}, "'input' is not what 'question' says"),
        ({"prompt": "sky?", "question": "sea?", **ANSWERS}, "'question' is not what 'prompt' says"),
        ({"prompt": "sky?", "images": [b"x"], **ANSWERS}, "'images' holds a list of bytes; only text"),
        ({"prompt": "sky?", "schema": "CREATE TABLE", **ANSWERS}, "'schema' could change .* --columns ignore=schema"),
        ({"prompt": "1+1=?", "initial_reason_steps": "Step 1: ", **ANSWERS}, "'initial_reason_steps' could change"),
        ({"system": "x", "chosen": "The sky is blue", "rejected": "The sky is red"}, "no column holds a prompt, and"),
        ({"system": "Be rude.", "prompt": [S, U], **ANSWERS}, "'system' is 'Be rude.', and the .* 'Be kind.'"),
        ({"Aufgabe": "1+1=?", "chosen": "It is 2", "rejected": "It is 3"}, "'Aufgabe' could be it"),
        ({"问题": "什么颜色?", "chosen": "The sky is blue", "rejected": "The sky is red"}, "'问题' could be it"),
        ({"original_prompt": "Colour", "chosen": "It is 2", "rejected": "It is 3"}, "'original_prompt' could be it"),
        ({"problem": "Colour", "chosen": [B], "rejected": [R]}, "'problem' could be it: --columns prompt=problem"),
        (
            {"prompt": "sky?", "chosen": "blue", "rejected": ["a", "b"]},
            "'rejected' is a list of 2 texts; it must be one",
        ),
        ({"prompt": "a", "output_1": "x", "output_2": "y", "label": 0}, "'label' is 0; it must be 1 for the first"),
        ({"prompt": "a", "response": "x"}, "row 3 has no 'chosen'"),
        ({"Frage": "Which colour?", "chosen": "The sky is blue", "rejected": "The sky is red"}, "'Frage' could be it"),
        (
            {"prompt": "sky?", "completion": "blue", "label": True},
            "holds one answer, 'completion', and 'label', as KTO",
        ),
        ({"prompt": "a", "response_0": "x", "response_1": "y"}, "no column says which is better: 'better_response_id'"),
        (
            {"prompt": "a", "response_a": "x", "response_b": "y", "winner": "c"},
            "'winner' is 'c'; it must be 'a', 'b' or",
        ),
        (
            {"prompt": "a", "response1": "x", "response2": "y", "overall_preference": "much"},
            "'overall_preference' is 'much'",
        ),
        ({"prompt": "a", "responses": ["x", "y"], "ranks": [1]}, "holds 2 answers, and 1 numbers"),
        ({"question": "sky?", "history": ["hi"], **ANSWERS}, "'history' 0 is text. It must be a list of"),
        (
            {"prompt": "a", "chosen": 42, "rejected": "b"},
            r"'chosen' is 42 \(int\); .* A reader of csv or JSON may have",
        ),
        ({"prompt": "a", "chosen": b"x", "rejected": "b"}, r"'chosen' is b'x' \(bytes\); it must be text"),
        ({"prompt": "a\ud83d", **ANSWERS}, "row 3: 'prompt' holds half of a surrogate pair"),
        ({"prompt": [U], "chosen": [{**B, "name": "\udc00"}], "rejected": [R]}, "'chosen' holds half of a surrogate"),
        (
            {"prompt": [U], "chosen": [{**B, "\udc00": "x"}], "rejected": [R]},
            "'chosen': a key holds half of a surrogate",
        ),
        ({"prompt": [U], "chosen": "x", "rejected": "y", "tools": '[{"name": "\\ud83d"}]'}, "'tools' holds half of a"),
        ({"prompt": "[{'role': 'user' 'content'", **ANSWERS}, "'prompt' begins like a list of messages"),
    ],
)
def test_what_would_change_the_meaning_of_a_row_and_is_not_read_is_refused(row, message):
    with pytest.raises(DataError, match=message):
        read_row(row, 3)


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
    with pytest.raises(ConfigError, match=r"columns: 'promt' is not read from any row.* Did you mean 'prompt'"):
        read_columns({"promt": "question"})
    with pytest.raises(ConfigError, match="columns: prompt = 3 must be the name of a column"):
        read_columns({"prompt": 3})
    with pytest.raises(ConfigError, match="columns = 'prompt' must be pairs"):
        read_columns("prompt")
    row = {"prompt": "sea?", "question": "sky?", **ANSWERS}
    with pytest.raises(DataError, match=r"row 3 has a column 'prompt' beside 'question'.* ignore=prompt"):
        read_row(row, 3, read_columns({"prompt": "question"}))
    assert read_row(row, 3, read_columns({"prompt": "question", "ignore": "prompt"})).prompt == "sky?"
    with pytest.raises(
        DataError, match=r"prompt=qestion names a column that the rows do not have.* Did you mean 'question'"
    ):
        prepare([row], tiny_tokenizer(), columns={"prompt": "qestion"})


def test_the_columns_of_a_row_are_those_used_and_those_left_alone():
    assert columns_of({"id": 1, "system": "x", "question": "sky?", **ANSWERS, "margin": 2, "weight": None}) == (
        ("system", "question", "chosen", "rejected", "margin"),
        ("id", "weight"),
    )
    ids = {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3], "chosen_mask": [1], "prompt": "x", "weight": 2}
    assert columns_of(ids) == (("prompt_ids", "chosen_ids", "rejected_ids", "chosen_mask", "weight"), ("prompt",))


def test_rows_of_which_some_have_a_system_text_are_said_to_be_of_two_kinds():
    rows = [{"prompt": "sky", "system": text, **ANSWERS} for text in ("", "Be kind.")]
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.warns(
        UserWarning, match=r"rows with a system text, such as row 1, are conversations, .* row 0, are text"
    ):
        prepare(rows, tiny_tokenizer(chat_template=template))
