"""Where answers end, for the formats of families and for the templates of real models."""

import pytest

from easydel.data.endings import Endings, ends_of
from easydel.data.prepare import prepare
from easydel.errors import DataError
from oracles.formats import FORMATS
from oracles.templates import each_template, needs_templates, real_templates, tokenizer_for
from oracles.tokenizers import tiny_tokenizer

QUESTION = [{"role": "user", "content": "sky?"}]


def endings(name: str) -> Endings:
    return Endings(tokenizer_for(FORMATS[name].template, eos=FORMATS[name].eos))


def completion(tokenizer: object, chosen: str, prompt: str = "sky?") -> str:
    pair = prepare([{"prompt": prompt, "chosen": chosen, "rejected": " no"}], tokenizer).pairs[0]
    return tokenizer.decode(pair.chosen)


@pytest.mark.parametrize("name", FORMATS)
def test_the_end_that_a_template_writes_is_found_out(name):
    found, expected = endings(name), FORMATS[name]
    assert found.turns == tuple(filter(None, [expected.behind.strip()]))
    assert tuple(found.text(end) for end in found.turn_ids) == expected.ends
    assert {found.text(end) for end in found.ids} == {*expected.ends, expected.eos}


@pytest.mark.parametrize("name", FORMATS)
def test_a_conversation_ends_as_its_template_writes_it(name):
    tokenizer = endings(name).tokenizer
    answers = {
        side: [{"role": "assistant", "content": text}] for side, text in (("chosen", "blue"), ("rejected", "red"))
    }
    [pair] = prepare([{"prompt": QUESTION, **answers}], tokenizer).pairs
    assert tokenizer.decode(pair.chosen).endswith("blue" + FORMATS[name].behind)
    found = Endings(tokenizer)
    ended = ends_of(pair.chosen, found.ids, found.is_blank)
    assert tuple(map(found.text, ended)) == FORMATS[name].ends


@pytest.mark.parametrize(
    "text",
    [" blue", " blue</s>", " blue</s>\n", " blue</s> \n\n", " blue</s></s>", " blue</s>\n</s>", " blue</s> </s> "],
)
def test_plain_text_ends_in_one_end_whatever_white_space_stands_behind_it(text):
    tokenizer = tokenizer_for("", eos="</s>")
    assert completion(tokenizer, text) == " blue</s>"


def test_white_space_before_the_end_is_the_answer_s_own():
    tokenizer = tokenizer_for("", eos="</s>")
    assert completion(tokenizer, " blue\n") == " blue\n</s>"
    assert completion(tokenizer, " blue \n</s>\n") == " blue \n</s>"


def test_an_end_in_the_prompt_stays_there():
    tokenizer = tokenizer_for("", eos="</s>")
    [pair] = prepare([{"prompt": "sky?</s>", "chosen": "\nok", "rejected": "no"}], tokenizer).pairs
    assert tokenizer.decode(pair.prompt) == "sky?</s>"
    assert tokenizer.decode(pair.chosen) == "\nok</s>"


def test_a_tokenizer_that_adds_an_end_adds_no_second_one():
    tokenizer = tiny_tokenizer(eos=True)
    for text in ("blue", "blue</s>", "blue</s>\n", "blue</s>\n</s>\n"):
        [pair] = prepare([{"prompt": "sky ", "chosen": text, "rejected": "no"}], tokenizer).pairs
        assert tokenizer.convert_ids_to_tokens(pair.chosen) == [*"blue", "</s>"]


@pytest.mark.parametrize("name", ["qwen-base", "phi-3", "llama-3", "gemma"])
def test_text_that_the_template_wrote_already_keeps_its_end(name):
    """Rows are often rendered beforehand; the tokens are then those of the conversation, but for white space behind."""
    tokenizer, answer = endings(name).tokenizer, [{"role": "assistant", "content": "blue"}]
    whole = tokenizer.apply_chat_template([*QUESTION, *answer], tokenize=False)
    prompt = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    behind = whole.removeprefix(prompt)
    assert completion(tokenizer, behind, prompt) == behind.rstrip()


def test_text_without_any_end_to_write_is_refused():
    tokenizer = tokenizer_for(FORMATS["mistral"].template)
    tokenizer.eos_token = None
    row = {"prompt": "sky?", "chosen": " blue", "rejected": " no"}
    with pytest.raises(DataError, match="the tokenizer has no eos_token"):
        prepare([row], tokenizer)


# What follows of templates that write no token of its own behind an answer.
WITHOUT = (
    *("GLM-4.6", "GLM-4.7-Flash", "llama-cpp-rwkv-world", "Apertus-8B-Instruct", "Apriel-1.6-15b-Thinker-fixed"),
    *("fireworks-ai-llama-3-firefunction-v2", "tencent-Hy3"),
)


@pytest.mark.parametrize(
    ("text", "ids", "expected"),
    [("blue", [5, 6, 2, 2], [5, 6]), ("blue</s>", [5, 6, 2, 2], [5, 6, 2]), ("blue</s>", [5, 6, 2], [5, 6, 2])],
)
def test_ids_end_in_one_end_exactly_if_their_text_does(text, ids, expected):
    tokenizer = tokenizer_for("", eos="</s>")
    given = [tokenizer.eos_token_id if number == 2 else 1000 + number for number in ids]
    found = Endings(tokenizer).with_one_eos(given, text)
    assert found == given[: len(expected)]


@needs_templates
def test_the_end_that_models_are_known_to_stop_at_is_that_of_their_template():
    known = {
        "trl/llama3_1": "<|eot_id|>",
        "trl/qwen2_5": "<|im_end|>",
        "trl/qwen3": "<|im_end|>",
        "trl/gemma3": "<end_of_turn>",
        "trl/gptoss": "<|return|>",
        "trl/gemma4_v5": "<turn|>",
        "trl/deepseekv3": "<｜end▁of▁sentence｜>",
        "llama.cpp/HuggingFaceTB-SmolLM3-3B": "<|im_end|>",
        "llama.cpp/mistralai-Mistral-Nemo-Instruct-2407": "</s>",
        "llama.cpp/ibm-granite-granite-4.0": "<|end_of_text|>",
        "llama.cpp/microsoft-Phi-3.5-mini-instruct": "<|end|>",
        "trl/glm4moe_training": "<|user|>",
    }
    for name, end in known.items():
        found = Endings(tokenizer_for(real_templates()[name], eos="</s>"))
        assert found.text(found.turn_ids[0]) == end, name
    assert Endings(tokenizer_for(real_templates()["trl/glm4moe"])).turn_ids == ()


@each_template
def test_a_real_template_ends_an_answer_in_a_token_or_is_known_not_to(name):
    found = Endings(tokenizer_for(real_templates()[name], eos="</s>", bos="<s>"))
    silent = name == "trl/glm4moe" or name.removeprefix("llama.cpp/") in WITHOUT or "Laguna" in name
    assert bool(found.turn_ids) != silent
