"""Conversations as text, with what of them the model writes: worked out by hand on the documented formats."""

import pytest

from easydel.errors import DataError
from oracles import chat_formats
from oracles.chat_formats import FORMATS
from oracles.rendered import (
    MARKED,
    NIGHT,
    SYSTEM,
    UNMARKED,
    USER,
    asked,
    calls,
    preference,
    says,
    written,
)
from oracles.tokenizers import tiny_tokenizer


@pytest.mark.parametrize("name", FORMATS)
def test_behind_the_prompt_as_inference_sees_it_stands_one_answer(name):
    """What a template writes alike behind a prompt is the conversation as the template writes it."""
    tokenizer = tiny_tokenizer(chat_template=FORMATS[name])
    found = preference(FORMATS[name], [USER], [says("blue")])
    assert found.prompt == tokenizer.apply_chat_template([USER], tokenize=False, add_generation_prompt=True)
    if name not in ("qwen 3.8", "r1 distill"):
        assert found.prompt_chosen == tokenizer.apply_chat_template([USER, says("blue")], tokenize=False)
        assert found.prompt_chosen.startswith(found.prompt)
    assert "".join(written(found)).count("blue") == 1
    assert found.chosen_untrained == found.rejected_untrained == found.lost == ()


def test_an_answer_that_is_not_to_be_trained_bears_no_loss_with_marks_and_without():
    for template in (MARKED, UNMARKED):
        found = preference(template, [USER], [says("green", loss=False), NIGHT, says("black")])
        assert "".join(written(found)).strip() == "black</s>"


def test_a_prompt_that_ends_in_a_begun_answer_is_continued():
    found = preference(chat_formats.QWEN_2_5, [SYSTEM, USER, says("It is ")], [says("blue.")])
    assert found.prompt == "<|im_start|>system\nBe kind.<|im_end|>\n" + asked("sky?") + "It is "
    assert found.prompt_chosen == found.prompt + "blue.<|im_end|>\n"
    assert written(found, "rejected") == ["red<|im_end|>\n"]
    for name, template in FORMATS.items():
        tokenizer = tiny_tokenizer(chat_template=template)
        expected = tokenizer.apply_chat_template([USER, says("It is")], tokenize=False, continue_final_message=True)
        continued = preference(template, [USER, says("It is")], [says(" blue."), NIGHT, says("black")])
        assert continued.prompt == expected, name
        assert "".join(written(continued)).count(" blue.") == 1, name
        assert "It is" not in "".join(written(continued)), name


@pytest.mark.parametrize("name", ["qwen 3", "qwen 3.8"])
def test_a_begun_thought_is_continued_where_the_whole_conversation_has_it(name):
    """By itself `<think>` is a content that has no thought, in front of which Qwen 3 puts an empty one."""
    begun = [USER, says("<think>\n")]
    found = preference(FORMATS[name], begun, [says("hm\n</think>\n\nblue")], [says("ah\n</think>\n\nred")])
    assert found.prompt == asked("sky?") + "<think>\n"
    assert written(found) == ["hm\n</think>\n\nblue<|im_end|>\n"]
    assert written(found, "rejected") == ["ah\n</think>\n\nred<|im_end|>\n"]
    assert found.lost == ()


def test_a_call_at_the_end_of_a_prompt_is_no_begun_answer():
    found = preference(chat_formats.QWEN_2_5, [USER, calls("Oslo")], [says("cold")])
    assert found.prompt.endswith("</tool_call><|im_end|>\n<|im_start|>assistant\n")


def test_a_begun_answer_that_the_template_leaves_out_is_refused():
    template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    with pytest.raises(DataError, match="row 3: the prompt ends in an assistant message"):
        preference(template, [USER, says("It is")], [says(" blue")])


def test_a_completion_that_begins_with_a_question_is_trained_from_the_answer_on():
    found = preference(chat_formats.PHI_4, [USER, says("blue")], [NIGHT, says("black")], [NIGHT, says("violet")])
    assert found.prompt == "<|im_start|>user<|im_sep|>sky?<|im_end|><|im_start|>assistant<|im_sep|>blue<|im_end|>"
    assert written(found) == ["black<|im_end|>"]


def test_a_template_that_ends_every_conversation_in_an_instruction_is_refused_for_that():
    """As Cohere's for tools: the question is where it was, but the answer does not follow the prompt."""
    ends = (
        "{% for m in messages %}{{ '<start><' + m.role + '>' + m.content + '<end>' }}{% endfor %}"
        "<start><system>Write an action.<end>{% if add_generation_prompt %}<start><assistant>{% endif %}"
    )
    with pytest.raises(DataError, match="row 3: 'chosen': the chat template writes other text behind message 0 of"):
        preference(ends, [USER], [says("blue")])


@pytest.mark.parametrize("option", ["max_length", "truncation", "return_dict", "padding"])
def test_an_option_that_no_template_sees_is_refused(option):
    with pytest.raises(DataError, match=f"row 3: 'chat_template_kwargs' may not set {option}"):
        preference(chat_formats.PHI_4, [USER], [says("blue")], **{option: 3})
