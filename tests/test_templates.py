"""Chat templates of real models: that they are there, and that what they write becomes the tokens that it is."""

from oracles.templates import answered, each_template, needs_templates, real_templates, tokenizer_for


@needs_templates
def test_more_than_a_hundred_templates_of_models_are_tried():
    names = list(real_templates())
    assert len(names) > 100
    assert {"trl/qwen3", "trl/gptoss", "llama.cpp/meta-llama-Llama-3.1-8B-Instruct"} <= set(names)


@each_template
def test_a_template_writes_an_answer_whose_tokens_spell_it(name):
    tokenizer = tokenizer_for(real_templates()[name], eos="</s>", bos="<s>")
    text = answered(tokenizer, "Which color is the sky?", "Blue.")
    assert text.index("Which color") < text.index("Blue.")
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_a_special_token_of_a_template_is_one_token():
    tokenizer = tokenizer_for("<|im_start|> <｜end▁of▁sentence｜> <turn|> [INST] <end_of_turn> <think>")
    for piece in ("<|im_start|>", "<｜end▁of▁sentence｜>", "<turn|>", "[INST]", "<end_of_turn>", "<think>"):
        assert len(tokenizer(piece, add_special_tokens=False)["input_ids"]) == 1
    assert "<think>" not in tokenizer.all_special_tokens
