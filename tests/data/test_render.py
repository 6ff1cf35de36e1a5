"""Conversations as text, with what of them the model writes: worked out by hand on the documented formats."""

import pytest

from easydel.data.endings import Endings
from easydel.data.format import Dialogue
from easydel.data.lost import MOVED, Text
from easydel.data.render import Preference, rendered, renderer, to_preference
from easydel.data.template import template_of
from easydel.errors import DataError
from oracles import chat_formats
from oracles.chat_formats import FORMATS
from oracles.tokenizers import tiny_tokenizer

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "sky?"}
NIGHT = {"role": "user", "content": "and at night?"}
TOOL = {"role": "tool", "content": "12 degrees", "tool_call_id": "abcdefghi", "name": "weather"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
EMPTY = "<think>\n\n</think>\n\n"  # Qwen's thought where nothing was thought


def says(content: str, **more):
    return {"role": "assistant", "content": content, **more}


def calls(town: str, content: str = "", **more):
    function = {"name": "weather", "arguments": {"town": town, "days": 3}}
    return says(content, tool_calls=[{"type": "function", "id": "abcdefghi", "function": function}], **more)


def preference(template, prompt, chosen, rejected=None, *, tools=None, **options) -> Preference:
    said = Dialogue(prompt, chosen, [says("red")] if rejected is None else rejected, tools, options)
    return rendered(said, 3, renderer(tiny_tokenizer(chat_template=template), 3))


def written(found: Preference, side: str = "chosen") -> list[str]:
    """The parts of a completion that bear loss."""
    whole, untrained = (getattr(found, name) for name in (f"prompt_{side}", f"{side}_untrained"))
    parts, at = [], shared_length(found.prompt, whole)
    for first, last in untrained:
        parts.append(whole[at:first])
        at = last
    return [part for part in [*parts, whole[at:]] if part]


def shared_length(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def plain(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


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


MARKED = (
    "{% for m in messages %}{{ m.role + ':' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '</s>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m.content + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)


def test_a_template_that_marks_what_the_model_writes_is_believed():
    """Its marks leave the line break out, which rendering prefix by prefix cannot know."""
    two = [says("blue"), NIGHT, says("black")]
    assert written(preference(MARKED, [USER], two)) == ["blue</s>", "black</s>"]
    unmarked = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    assert written(preference(unmarked, [USER], two)) == ["blue</s>\n", "black</s>\n"]


def test_an_answer_that_is_not_to_be_trained_bears_no_loss_with_marks_and_without():
    unmarked = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    for template in (MARKED, unmarked):
        found = preference(template, [USER], [says("green", loss=False), NIGHT, says("black")])
        assert "".join(written(found)).strip() == "black</s>"


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
    with pytest.raises(DataError, match=r"row 3: 'chosen': .* message 0 of the prompt in another way .* 'sky\?'"):
        preference(only_last, [USER], [says("blue")])
    with pytest.raises(DataError, match=r"row 3: 'chosen': .* writes message 0 in another way"):
        preference(
            "{{ messages[0].content + ':' }}{% if messages[1:] %}{{ messages[-1].content }}{% endif %}",
            [USER],
            [says("blue"), NIGHT, says("black")],
        )


def test_the_empty_thought_of_qwen_is_written_by_the_model_unless_the_prompt_has_it():
    thinking = preference(chat_formats.QWEN_3, [USER], [says("blue")])
    assert (thinking.prompt, written(thinking)) == (plain("sky?"), [f"{EMPTY}blue<|im_end|>\n"])
    without = preference(chat_formats.QWEN_3, [USER], [says("blue")], enable_thinking=False)
    assert (without.prompt, written(without)) == (plain("sky?") + EMPTY, ["blue<|im_end|>\n"])
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


@pytest.mark.parametrize("thought", [{"reasoning_content": "hm"}, {"thinking": "hm"}, {"reasoning": "hm"}])
def test_a_thought_under_each_of_its_names_is_the_one_in_the_content(thought):
    for template in (chat_formats.QWEN_3, chat_formats.QWEN_3_8):
        inside = preference(template, [USER], [says("<think>\nhm\n</think>\n\nblue")])
        assert preference(template, [USER], [says("blue", **thought)]) == inside
        assert inside.prompt_chosen == plain("sky?") + "<think>\nhm\n</think>\n\nblue<|im_end|>\n"
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


def test_what_the_template_leaves_out_is_said_with_whose_it_was():
    drops = (
        "{% for m in messages if m.role in kept %}"
        "{{ m.role + ':' + m.content.split('</think>')[-1] + ';' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    kept = {"kept": ["user", "assistant", "system", "tool"]}
    thought = says("blue", reasoning_content="hm")
    cases = [
        (preference(drops, [SYSTEM, USER], [says("blue")], kept=["user", "assistant"]), "a system message"),
        (preference(drops, [USER], [thought], **kept), "the reasoning of an answer"),
        (preference(drops, [USER], [says("<think>hm</think>blue")], **kept), "the reasoning of an answer"),
        (
            preference(drops, [USER, thought, NIGHT], [says("black")], **kept),
            "the reasoning of an assistant message in the prompt",
        ),
        (preference(drops, [USER], [says("blue")], tools=TOOLS, **kept), "the tools"),
        (preference(drops, [USER], [calls("Oslo", "Let me look.")], **kept), "a tool call of an answer"),
        (
            preference(drops, [USER, calls("Oslo", "Let me look."), TOOL], [says("cold")], kept=["user", "assistant"]),
            "the result of a tool",
        ),
        (preference(chat_formats.LLAMA_3, [USER], [calls("Oslo", "Let me look.")]), "the content of an answer"),
    ]
    for found, cause in cases:
        assert cause in found.lost
    assert preference(drops, [SYSTEM, USER], [says("blue")], **kept).lost == ()


def test_words_are_found_as_templates_write_them():
    text = Text('a: "no \\"way\\"", caf\\u00e9; two\nlines &lt;here&gt;')
    for words in ('no "way"', "café", " two   lines ", "two\nlines /no_think", "", "lines"):
        assert text.holds(words)
    for words in ("no ways", "blue", "12"):
        assert not text.holds(words)


def test_a_prompt_that_ends_in_a_begun_answer_is_continued():
    found = preference(chat_formats.QWEN_2_5, [SYSTEM, USER, says("It is ")], [says("blue.")])
    assert found.prompt == "<|im_start|>system\nBe kind.<|im_end|>\n" + plain("sky?") + "It is "
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
    assert found.prompt == plain("sky?") + "<think>\n"
    assert written(found) == ["hm\n</think>\n\nblue<|im_end|>\n"]
    assert written(found, "rejected") == ["ah\n</think>\n\nred<|im_end|>\n"]
    assert found.lost == ()


def test_a_begun_answer_is_found_where_its_completion_follows():
    """Not in the letters of the sign in front of it, nor in the question."""
    drafts = (
        "{% for m in messages %}{{ '<' + m.role + '>' }}"
        "{% if m.role == 'assistant' and '.' not in m.content %}{{ '<draft>' }}{% endif %}{{ m.content }}{% endfor %}"
    )
    asked = {"role": "user", "content": "a blue?"}
    found = preference(drafts, [asked, says("a")], [says(" blue.")], [says(" red.")])
    assert (found.prompt, written(found)) == ("<user>a blue?<assistant>a", [" blue."])
    with pytest.raises(DataError, match=r"row 3: 'chosen': .* message 0 in another way .* 'a' is not found"):
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


def test_a_call_that_the_template_leaves_out_is_counted_wherever_its_turn_ends():
    """Phi 3 ends the whole text in a sign that no turn within has."""
    found = preference(chat_formats.PHI_3, [USER], [calls("Oslo"), NIGHT, says("cold")])
    assert written(found) == ["<|end|>\n", "cold<|end|>\n<|endoftext|>"]
    assert found.lost == ("a tool call of an answer",)


def test_a_call_at_the_end_of_a_prompt_is_no_begun_answer():
    found = preference(chat_formats.QWEN_2_5, [USER, calls("Oslo")], [says("cold")])
    assert found.prompt.endswith("</tool_call><|im_end|>\n<|im_start|>assistant\n")


def test_a_begun_answer_that_the_template_leaves_out_is_refused():
    template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    with pytest.raises(DataError, match="row 3: the prompt ends in a message of the assistant"):
        preference(template, [USER, says("It is")], [says(" blue")])


def test_a_completion_that_begins_with_a_question_is_trained_from_the_answer_on():
    found = preference(chat_formats.PHI_4, [USER, says("blue")], [NIGHT, says("black")], [NIGHT, says("violet")])
    assert found.prompt == "<|im_start|>user<|im_sep|>sky?<|im_end|><|im_start|>assistant<|im_sep|>blue<|im_end|>"
    assert written(found) == ["black<|im_end|>"]


def test_calls_are_given_in_the_form_that_a_template_writes_whole():
    """R1's distills write calls only beside a content that is None, and join their arguments as text."""
    forms = {name: template_of(tiny_tokenizer(chat_template=text), 0).call_form for name, text in FORMATS.items()}
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
    assert template_of(tiny_tokenizer(chat_template=template), 0).call_form == (as_text, "empty")


def test_a_template_for_pictures_gets_texts_in_parts():
    """Idefics and LLaVA go over the parts of a content; of a text they find none, and write nothing."""
    template = (
        "{% for m in messages %}{{ m.role + ':' }}"
        "{% for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %};"
        "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    found = preference(template, [USER], [says("blue")])
    assert (found.prompt, found.prompt_chosen, found.lost) == ("user:sky?;assistant:", "user:sky?;assistant:blue;", ())


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


def test_a_template_for_tools_alone_is_asked_for_its_forms_with_none_of_them():
    goes_over = "{% for tool in tools %}{{ tool.function.name }}{% endfor %}" + chat_formats.R1_DISTILL
    assert template_of(tiny_tokenizer(chat_template=goes_over), 0).call_form == (True, "none")


@pytest.mark.parametrize("option", ["max_length", "truncation", "return_dict", "padding"])
def test_an_option_that_no_template_sees_is_refused(option):
    with pytest.raises(DataError, match=f"row 3: 'chat_template_kwargs' may not set {option}"):
        preference(chat_formats.PHI_4, [USER], [says("blue")], **{option: 3})


def test_a_tokenizer_that_is_given_another_template_is_asked_anew():
    tokenizer = tiny_tokenizer(chat_template=chat_formats.R1_DISTILL)
    row = {"prompt": [USER], "chosen": [calls("Oslo")], "rejected": [calls("Rome")]}
    assert "<|call|>" in to_preference(row, 0, renderer(tokenizer, 0)).prompt_chosen
    tokenizer.chat_template = chat_formats.QWEN_2_5
    assert "<tool_call>" in to_preference(row, 0, renderer(tokenizer, 0)).prompt_chosen
