"""Which template a row gets, and the marks in it."""

import pytest

from easydel.data.endings import Endings
from easydel.data.render import to_preference
from easydel.data.template import template_of
from oracles import chat_formats
from oracles.chat_formats import FORMATS
from oracles.rendered import (
    MARKED,
    NIGHT,
    TOOLS,
    UNMARKED,
    USER,
    calls,
    preference,
    says,
    written,
)
from oracles.tokenizers import tiny_tokenizer


def test_a_template_that_marks_what_the_model_writes_is_believed():
    """Its marks leave the line break out, which rendering prefix by prefix cannot know."""
    two = [says("blue"), NIGHT, says("black")]
    assert written(preference(MARKED, [USER], two)) == ["blue</s>", "black</s>"]
    assert written(preference(UNMARKED, [USER], two)) == ["blue</s>\n", "black</s>\n"]


def test_of_several_templates_a_row_with_tools_takes_the_one_for_tools_in_its_own_form():
    """R1's distills want another form of calls than Qwen; marks are those of the template in use."""
    several = {"default": MARKED, "tool_use": chat_formats.R1_DISTILL, "rag": chat_formats.QWEN_2_5}
    assert written(preference(several, [USER], [says("blue")])) == ["blue</s>"]
    found = preference(several, [USER], [calls("Oslo")], [calls("Rome")], tools=TOOLS)
    assert found.prompt_chosen.endswith('sky?<|Assistant|><|call|>weather\n{"town": "Oslo", "days": 3}<|end|>')
    named = preference(several, [USER], [says("blue")], chat_template="rag")
    assert named == preference(chat_formats.QWEN_2_5, [USER], [says("blue")])
    only = preference({"tool_use": chat_formats.R1_DISTILL}, [USER], [calls("Oslo")], [calls("Rome")], tools=TOOLS)
    assert only == found
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = several
    assert Endings(tokenizer).turns == ("</s>", "<|im_end|>")


def test_a_tokenizer_that_is_given_another_template_is_asked_anew():
    tokenizer = tiny_tokenizer(chat_template=chat_formats.R1_DISTILL)
    row = {"prompt": [USER], "chosen": [calls("Oslo")], "rejected": [calls("Rome")]}
    assert "<|call|>" in to_preference(row, 0, tokenizer).prompt_chosen
    tokenizer.chat_template = chat_formats.QWEN_2_5
    assert "<tool_call>" in to_preference(row, 0, tokenizer).prompt_chosen


ALWAYS_BEGINS = (
    "{% for m in messages %}{{ (bos_token if loop.first else '') + '<|start_header_id|>' + m.role + "
    "'<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)


def test_the_beginning_of_an_answer_that_nobody_asked_for_is_no_part_of_the_one_before():
    """As the first template of Llama 3, which ends every text in it."""
    found = preference(ALWAYS_BEGINS, [USER], [says("blue"), NIGHT, says("black")])
    assert found.prompt == (
        "<s><|start_header_id|>user<|end_header_id|>\n\nsky?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert written(found) == ["blue<|eot_id|>", "black<|eot_id|>"]
    assert written(found, "rejected") == ["red<|eot_id|>"]
    assert Endings(tiny_tokenizer(chat_template=ALWAYS_BEGINS)).turns == ("<|eot_id|>",)


@pytest.mark.parametrize("name", [*FORMATS, "marked", "no header"])
def test_a_template_that_writes_what_it_is_asked_for_is_left_as_it_is(name):
    plain = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    template = FORMATS.get(name, {"marked": MARKED, "no header": plain}.get(name))
    tokenizer = tiny_tokenizer(chat_template=template)
    assert template_of(tokenizer, 0).needless == ""
