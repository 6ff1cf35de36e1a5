"""Conversations through a chat template, as `data.render` writes them, and what of them bears loss."""

from typing import Any

from easydel.data.format import Dialogue
from easydel.data.render import Preference, rendered
from oracles.tokenizers import tiny_tokenizer

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "sky?"}
NIGHT = {"role": "user", "content": "and at night?"}
TOOL = {"role": "tool", "content": "12 degrees", "tool_call_id": "abcdefghi", "name": "weather"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
EMPTY = "<think>\n\n</think>\n\n"  # Qwen's thought where nothing was thought
MARKED = (
    "{% for m in messages %}{{ m.role + ':' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '</s>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m.content + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
UNMARKED = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")


def says(content: str, **more: Any) -> dict[str, Any]:
    """An assistant message."""
    return {"role": "assistant", "content": content, **more}


def calls(town: str, content: str = "", **more: Any) -> dict[str, Any]:
    """An assistant message that calls a tool."""
    function = {"name": "weather", "arguments": {"town": town, "days": 3}}
    return says(content, tool_calls=[{"type": "function", "id": "abcdefghi", "function": function}], **more)


def preference(
    template: Any, prompt: Any, chosen: Any, rejected: Any = None, *, tools: Any = None, **options: Any
) -> Preference:
    """The texts of a row, the rejected completion of which is `red` where none is given."""
    row = Dialogue(prompt, chosen, [says("red")] if rejected is None else rejected, tools, options)
    return rendered(row, 3, tiny_tokenizer(chat_template=template))


def written(found: Preference, completion: str = "chosen") -> list[str]:
    """The parts of a completion that bear loss."""
    whole, untrained = (getattr(found, name) for name in (f"prompt_{completion}", f"{completion}_untrained"))
    parts, at = [], _shared_length(found.prompt, whole)
    for first, last in untrained:
        parts.append(whole[at:first])
        at = last
    return [part for part in [*parts, whole[at:]] if part]


def asked(text: str) -> str:
    """A question with the generation prompt, as Qwen writes it."""
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def _shared_length(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
