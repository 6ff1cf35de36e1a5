"""Chat formats of model families as they are documented, as short templates, with the tokens that end an answer."""

from typing import NamedTuple


class Format(NamedTuple):
    """A template, the end-of-sequence token of its tokenizer, and what stands behind an answer."""

    template: str
    eos: str
    behind: str
    ends: tuple[str, ...]


def _format(turn: str, *, answer: str = "", eos: str, behind: str, ends: tuple[str, ...], start: str = "") -> Format:
    """A template whose turns are `turn`, those of the assistant `answer` where they differ."""
    body = turn if not answer else f"{{% if m.role == 'assistant' %}}{answer}{{% else %}}{turn}{{% endif %}}"
    prompt = f"{{% if add_generation_prompt %}}{start}{{% endif %}}" if start else ""
    return Format("{% for m in messages %}" + body + "{% endfor %}" + prompt, eos, behind, ends)


_CHATML = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
_LLAMA = "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"

FORMATS = {
    "qwen-instruct": _format(
        _CHATML, eos="<|im_end|>", behind="<|im_end|>\n", ends=("<|im_end|>",), start="<|im_start|>assistant\n"
    ),
    "qwen-base": _format(
        _CHATML, eos="<|endoftext|>", behind="<|im_end|>\n", ends=("<|im_end|>",), start="<|im_start|>assistant\n"
    ),
    "llama-3": _format(
        _LLAMA,
        eos="<|end_of_text|>",
        behind="<|eot_id|>",
        ends=("<|eot_id|>",),
        start="<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "gemma": _format(
        "<start_of_turn>user\n{{ m.content | trim }}<end_of_turn>\n",
        answer="<start_of_turn>model\n{{ m.content | trim }}<end_of_turn>\n",
        eos="<eos>",
        behind="<end_of_turn>\n",
        ends=("<end_of_turn>",),
        start="<start_of_turn>model\n",
    ),
    "phi-3": Format(
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
        "<|endoftext|>",
        "<|end|>\n<|endoftext|>",
        ("<|end|>", "<|endoftext|>"),
    ),
    "mistral": _format(
        "[INST] {{ m.content }}[/INST]", answer=" {{ m.content }}</s>", eos="</s>", behind="</s>", ends=("</s>",)
    ),
    "gpt-oss": Format(
        "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
        "<|message|>{{ m.content }}{% if loop.last and m.role == 'assistant' %}<|return|>{% else %}<|end|>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        "<|return|>",
        "<|return|>",
        ("<|return|>",),
    ),
    "glm-4.5": _format(
        "<|user|>\n{{ m.content }}",
        answer="<|assistant|>\n{{ m.content }}",
        eos="<|endoftext|>",
        behind="",
        ends=(),
        start="<|assistant|>\n",
    ),
}
