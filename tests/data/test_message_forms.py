"""The form that a template takes parts of a message in."""

import pytest

from easydel.data.template import template_of
from oracles import chat_formats
from oracles.chat_formats import FORMATS
from oracles.rendered import (
    USER,
    asked,
    calls,
    preference,
    says,
    written,
)
from oracles.tokenizers import tiny_tokenizer


@pytest.mark.parametrize("thought", [{"reasoning_content": "hm"}, {"thinking": "hm"}, {"reasoning": "hm"}])
def test_a_thought_under_each_of_its_names_is_the_one_in_the_content(thought):
    for template in (chat_formats.QWEN_3, chat_formats.QWEN_3_8):
        inside = preference(template, [USER], [says("<think>\nhm\n</think>\n\nblue")])
        assert preference(template, [USER], [says("blue", **thought)]) == inside
        assert inside.prompt_chosen == asked("sky?") + "<think>\nhm\n</think>\n\nblue<|im_end|>\n"
    found = preference(chat_formats.GPT_OSS, [USER], [says("blue", **thought)])
    assert written(found) == [
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>blue<|return|>"
    ]


def test_a_thought_in_the_content_is_written_in_the_signs_that_a_template_has_for_thoughts():
    inside = preference(chat_formats.GPT_OSS, [USER], [says("<think>\nhm\n</think>\n\nblue")])
    assert inside == preference(chat_formats.GPT_OSS, [USER], [says("blue", thinking="hm")])
    assert "analysis<|message|>hm<|end|>" in inside.prompt_chosen


def test_a_thought_in_the_content_stays_there_where_a_system_text_explains_thoughts():
    """As SmolLM 3's does: what stands in it says nothing of what becomes of an answer."""
    explains = chat_formats.SMOLLM_3.replace("You are SmolLM.", "Think as <think> so </think>.")
    found = preference(explains, [USER], [says("<think>\nhm\n</think>\n\nblue")])
    assert written(found) == ["<think>\nhm\n</think>\n\nblue<|im_end|>\n"]
    assert found.lost == ()


def test_calls_are_given_in_the_form_that_a_template_writes_whole():
    """R1's distills write calls only beside a content that is None, and join their arguments as text."""
    forms = {name: template_of(tiny_tokenizer(chat_template=text), 0).forms.call_form for name, text in FORMATS.items()}
    assert forms["r1 distill"] == (True, "none")
    assert {name: form for name, form in forms.items() if form != (False, "empty")} == {"r1 distill": (True, "none")}
    found = preference(chat_formats.R1_DISTILL, [USER], [calls("Oslo")], [calls("Rome")])
    assert found.prompt_chosen == '<s><|User|>sky?<|Assistant|><|call|>weather\n{"town": "Oslo", "days": 3}<|end|>'
    assert found.prompt_rejected == found.prompt_chosen.replace("Oslo", "Rome")
    assert found.lost == ()


def test_a_template_that_writes_an_answer_more_for_an_empty_content_beside_calls_gets_none():
    """As R1's distill for Qwen, in the files of llama.cpp: the call would end twice."""
    template = (
        "{% for m in messages %}{% if m.tool_calls %}A:{{ m.tool_calls[0].function | tojson }};{% endif %}"
        "{% if m.content is not none %}{{ m.role[0] }}:{{ m.content }};{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}A:{% endif %}"
    )
    found = preference(template, [USER], [calls("Oslo")], [calls("Oslo", "Look.")])
    assert found.prompt_chosen == 'u:sky?;A:{"name": "weather", "arguments": {"town": "Oslo", "days": 3}};'
    assert found.prompt_rejected == found.prompt_chosen + "a:Look.;"


@pytest.mark.parametrize(
    ("writes", "as_text"),
    [
        ("call.arguments | tojson", False),
        ("call.arguments", True),
        ("'' + call.arguments", True),
        ("call.arguments.qzkey", False),
    ],
)
def test_arguments_are_text_where_the_template_joins_them(writes, as_text):
    template = (
        "{% for m in messages %}{{ m.content }}{% for call in m.tool_calls %}{% set call = call.function %}"
        "{{ call.name }}"
        + ("{{ 'qzkey' }}" if "qzkey" in writes else "")
        + "{{ "
        + writes
        + " }}{% endfor %}{% endfor %}"
    )
    assert template_of(tiny_tokenizer(chat_template=template), 0).forms.call_form == (as_text, "empty")


def test_a_template_for_pictures_gets_texts_in_parts():
    """Idefics and LLaVA go over the parts of a content; of a text they find none, and write nothing."""
    template = (
        "{% for m in messages %}{{ m.role + ':' }}"
        "{% for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %};"
        "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    found = preference(template, [USER], [says("blue")])
    assert (found.prompt, found.prompt_chosen, found.lost) == ("user:sky?;assistant:", "user:sky?;assistant:blue;", ())


def test_a_template_for_tools_alone_is_asked_for_its_forms_with_none_of_them():
    goes_over = "{% for tool in tools %}{{ tool.function.name }}{% endfor %}" + chat_formats.R1_DISTILL
    assert template_of(tiny_tokenizer(chat_template=goes_over), 0).forms.call_form == (True, "none")
