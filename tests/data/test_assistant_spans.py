"""Which spans of a rendered conversation the model writes, where turns repeat, move, or are left out."""

import pytest

from easydel.data.lost import MOVED
from easydel.errors import DataError
from oracles import chat_formats
from oracles.chat_formats import FORMATS
from oracles.rendered import (
    EMPTY,
    NIGHT,
    SYSTEM,
    TOOL,
    TOOLS,
    USER,
    asked,
    calls,
    preference,
    says,
    written,
)

# The answers in two turns: what the model wrote of each.
TWO_TURNS = {
    "qwen 2.5": ["blue<|im_end|>\n", "black<|im_end|>\n"],
    "qwen 3": ["blue<|im_end|>\n", f"{EMPTY}black<|im_end|>\n"],
    "qwen 3.8": ["\n</think>\n\nblue<|im_end|>\n", "\n</think>\n\nblack<|im_end|>\n"],
    "llama 3": ["blue<|eot_id|>", "black<|eot_id|>"],
    "gemma 3": ["blue<end_of_turn>\n", "black<end_of_turn>\n"],
    "phi 3": ["blue<|end|>\n", "black<|end|>\n<|endoftext|>"],
    "phi 4": ["blue<|im_end|>", "black<|im_end|>"],
    "mistral nemo": ["blue</s>", "black</s>"],
    "smollm 3": ["blue<|im_end|>\n", "black<|im_end|>\n"],
    # What the model wrote behind the first was <|return|>: <|end|> is what history has in its place.
    "gpt-oss": [
        "<|channel|>final<|message|>blue",
        "<|channel|>final<|message|>black<|return|>",
    ],
    "r1 distill": ["blue</s>", "black</s>"],
}


@pytest.mark.parametrize("name", FORMATS)
def test_of_a_question_inside_a_completion_nothing_is_trained(name):
    found = preference(FORMATS[name], [USER], [says("blue"), NIGHT, says("black")])
    assert written(found) == TWO_TURNS[name]
    assert found.rejected_untrained == ()


@pytest.mark.parametrize("name", FORMATS)
def test_answers_and_questions_that_say_the_same_again_are_told_apart(name):
    first, last = (part.replace("black", "blue") for part in TWO_TURNS[name])
    found = preference(FORMATS[name], [USER], [says("blue"), NIGHT, says("blue")])
    assert written(found) == [first, last]
    found = preference(FORMATS[name], [USER], [says("blue"), NIGHT, says("blue"), NIGHT, says("blue")])
    assert written(found) == [first, first, last]


def test_answers_that_say_the_same_again_are_told_apart_with_their_thoughts_in_the_content():
    thought = says("<think>\nblue\n</think>\n\nblue")
    found = preference(chat_formats.QWEN_3, [USER], [thought, NIGHT, thought])
    assert written(found) == ["blue<|im_end|>\n", "<think>\nblue\n</think>\n\nblue<|im_end|>\n"]
    found = preference(chat_formats.GPT_OSS, [USER], [thought, NIGHT, thought])
    analysis = "<|channel|>analysis<|message|>blue<|end|><|start|>assistant"
    final = "<|channel|>final<|message|>blue"
    assert written(found) == [final, f"{analysis}{final}<|return|>"]


def test_calls_and_results_that_are_the_same_again_are_told_apart_where_their_thoughts_are_gone():
    """A question behind them takes the thoughts out of the whole: no beginning of it is written alike."""
    thought = calls("Oslo", reasoning_content="hm")
    completion = [thought, TOOL, thought, TOOL, thought, TOOL, TOOL, says("blue"), NIGHT, says("blue")]
    found = preference(chat_formats.QWEN_3, [USER], completion, tools=TOOLS)
    call = '\n<tool_call>\n{"name": "weather", "arguments": {"town": "Oslo", "days": 3}}\n</tool_call><|im_end|>\n'
    assert written(found) == [call, call, call, "blue<|im_end|>\n", f"{EMPTY}blue<|im_end|>\n"]


@pytest.mark.parametrize(
    ("name", "call", "answer"),
    [
        (
            "qwen 2.5",
            '\n<tool_call>\n{"name": "weather", "arguments": {"town": "Oslo", "days": 3}}\n</tool_call><|im_end|>\n',
            "cold<|im_end|>\n",
        ),
        (
            "qwen 3",
            '\n<tool_call>\n{"name": "weather", "arguments": {"town": "Oslo", "days": 3}}\n</tool_call><|im_end|>\n',
            f"{EMPTY}cold<|im_end|>\n",
        ),
        ("llama 3", '{"name": "weather", "parameters": {"town": "Oslo", "days": 3}}<|eot_id|>', "cold<|eot_id|>"),
        (
            "mistral nemo",
            '[TOOL_CALLS]{"name": "weather", "arguments": {"town": "Oslo", "days": 3}}</s>',
            "cold</s>",
        ),
        (
            "gpt-oss",
            ' to=functions.weather<|channel|>commentary json<|message|>{"town": "Oslo", "days": 3}<|call|>',
            "<|channel|>final<|message|>cold<|return|>",
        ),
    ],
)
def test_of_the_result_of_a_tool_nothing_is_trained(name, call, answer):
    found = preference(FORMATS[name], [USER], [calls("Oslo"), TOOL, says("cold")])
    assert written(found) == [call, answer]
    assert found.lost == ()


def test_a_system_text_that_only_a_last_question_has_stays_in_the_prompt():
    """Behind Nemo's answer there is no system text: the question would be part of the completion."""
    found = preference(chat_formats.MISTRAL_NEMO, [SYSTEM, USER], [says("blue")])
    assert found.prompt == "<s>[INST]Be kind.\n\nsky?[/INST]"
    assert found.prompt_chosen == found.prompt + "blue</s>"
    assert found.lost == (MOVED,)


def test_a_question_asked_twice_is_answered_where_it_stands_last():
    found = preference(
        chat_formats.MISTRAL_NEMO, [SYSTEM, USER, says("why?"), USER], [says("blue"), USER, says("green")]
    )
    assert found.prompt == "<s>[INST]sky?[/INST]why?</s>[INST]Be kind.\n\nsky?[/INST]"
    assert found.prompt_chosen == found.prompt + "blue</s>[INST]sky?[/INST]green</s>"
    assert written(found) == ["blue</s>", "green</s>"]


def test_a_whole_turn_that_stands_nowhere_behind_the_prompt_is_refused():
    last = "{% for m in messages %}{% if loop.last %}{{ m.content }}{% endif %}{% endfor %}"
    only_last = last + "{% if add_generation_prompt %}a:{% endif %}"
    with pytest.raises(DataError, match=r"row 3: 'chosen': .* renders message 0 of the prompt differently .* 'sky\?'"):
        preference(only_last, [USER], [says("blue")])
    with pytest.raises(DataError, match=r"row 3: 'chosen': .* renders message 0 differently"):
        preference(
            "{{ messages[0].content + ':' }}{% if messages[1:] %}{{ messages[-1].content }}{% endif %}",
            [USER],
            [says("blue"), NIGHT, says("black")],
        )


def test_the_empty_thought_of_qwen_is_written_by_the_model_unless_the_prompt_has_it():
    thinking = preference(chat_formats.QWEN_3, [USER], [says("blue")])
    assert (thinking.prompt, written(thinking)) == (asked("sky?"), [f"{EMPTY}blue<|im_end|>\n"])
    without = preference(chat_formats.QWEN_3, [USER], [says("blue")], enable_thinking=False)
    assert (without.prompt, written(without)) == (asked("sky?") + EMPTY, ["blue<|im_end|>\n"])
    assert preference(chat_formats.SMOLLM_3, [USER], [says("blue")], enable_thinking=False).prompt_chosen.endswith(
        "<|im_start|>assistant\n<think>\n\n</think>\nblue<|im_end|>\n"
    )


def test_a_thought_that_the_prompt_ends_is_shown_in_front_of_the_answer_too():
    """As Gemma 4: the beginning of an answer has an empty thought, and the history has none."""
    template = (
        "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant><|channel>thought\n<channel|>{% endif %}"
    )
    found = preference(template, [USER], [says("blue")])
    assert found.prompt == "<user>sky?<assistant><|channel>thought\n<channel|>"
    assert (found.prompt_chosen, found.lost) == (found.prompt + "blue", (MOVED,))


def test_a_begun_answer_is_found_where_its_completion_follows():
    """Not in the letters of the sign in front of it, nor in the question."""
    drafts = (
        "{% for m in messages %}{{ '<' + m.role + '>' }}"
        "{% if m.role == 'assistant' and '.' not in m.content %}{{ '<draft>' }}{% endif %}{{ m.content }}{% endfor %}"
    )
    asked = {"role": "user", "content": "a blue?"}
    found = preference(drafts, [asked, says("a")], [says(" blue.")], [says(" red.")])
    assert (found.prompt, written(found)) == ("<user>a blue?<assistant>a", [" blue."])
    with pytest.raises(DataError, match=r"row 3: 'chosen': .* message 0 differently .* 'a' is not found"):
        preference(
            drafts.replace("content }}", "content | replace('a blue', 'the blue') }}"),
            [asked, says("a")],
            [says(" blue.")],
        )


def test_two_answers_in_a_row_are_both_trained_and_nothing_between_them():
    """Qwen 3 writes the first in another way once another follows, and Gemma 4 both as one turn."""
    two = [says("blue"), says("black")]
    assert written(preference(chat_formats.QWEN_3, [USER], two)) == ["blue<|im_end|>\n", f"{EMPTY}black<|im_end|>\n"]
    joins = (
        "{% for m in messages %}{% if not loop.first and loop.previtem.role != m.role %}{{ '<end>' }}{% endif %}"
        "{% if loop.first or loop.previtem.role != m.role %}{{ '<' + m.role + '>' }}{% endif %}{{ m.content }}"
        "{% endfor %}{{ '<end>' }}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
    )
    assert written(preference(joins, [USER], two)) == ["blueblack<end>"]
