# ruff: noqa: E501 (a line of a template is a line here)
"""Chat templates written anew from the documented formats of well-known models, as far as tests here go.

What they share with the models' own: how turns begin and end, where the system text and tools stand, the beginning of an
answer, what becomes of thoughts, calls and results. Wording around tools is left out. The models' own templates, where they
are installed, go through the same tests (`oracles.templates`).
"""

CALLS = """{%- for call in m.tool_calls %}{{ '\\n<tool_call>\\n' + ({'name': call.function.name, 'arguments': call.function.arguments} | tojson) + '\\n</tool_call>' }}{% endfor %}"""

# Turns in <|im_start|> and <|im_end|>; tools in the system turn; results as turns of a user.
QWEN_2_5 = (
    """{%- if tools %}{{ '<|im_start|>system\\n' + (messages[0].content if messages[0].role == 'system' else 'You are Qwen.') + '\\n<tools>' }}"""
    """{%- for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}{{ '\\n</tools><|im_end|>\\n' }}"""
    """{%- elif messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are Qwen.<|im_end|>\\n' }}{% endif %}"""
    """{%- for m in messages %}"""
    """{%- if m.role == 'system' %}{% if not tools %}{{ '<|im_start|>system\\n' + m.content + '<|im_end|>\\n' }}{% endif %}"""
    """{%- elif m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}"""
    """{%- elif m.role == 'assistant' %}{{ '<|im_start|>assistant\\n' + m.content }}"""
    + CALLS
    + """{{ '<|im_end|>\\n' }}"""
    """{%- else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}"""
    """{%- endfor %}"""
    """{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
)

# Thoughts only behind the last question; the last answer always has one, empty if need be; contents only as text.
QWEN_3 = (
    """{%- set ns = namespace(last=0) %}"""
    """{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"""
    """{%- if tools %}{{ '<|im_start|>system\\n<tools>' }}{% for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}{{ '\\n</tools><|im_end|>\\n' }}{% endif %}"""
    """{%- for m in messages %}"""
    """{%- set content = m.content if m.content is string else '' %}"""
    """{%- if m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + content + '\\n</tool_response><|im_end|>\\n' }}"""
    """{%- elif m.role == 'assistant' %}"""
    """{%- set thought = m.reasoning_content if m.reasoning_content is string else '' %}"""
    """{%- if not thought and '</think>' in content %}"""
    """{%- set thought = content.split('</think>')[0].split('<think>')[-1] %}{% set content = content.split('</think>')[-1] %}{% endif %}"""
    """{{- '<|im_start|>assistant\\n' }}"""
    """{%- if loop.index0 > ns.last and (loop.last or thought) %}{{ '<think>\\n' + thought.strip() + '\\n</think>\\n\\n' }}{% endif %}"""
    """{{- content.lstrip('\\n') }}""" + CALLS + """{{ '<|im_end|>\\n' }}"""
    """{%- else %}{{ '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}{% endif %}"""
    """{%- endfor %}"""
    """{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"""
    """{%- if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"""
)

# The newer form takes no thought out of a content, writes one in front of each answer, and begins it in the prompt.
QWEN_3_8 = (
    """{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"""
    """{%- if m.role == 'assistant' %}{{ '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}{% endif %}"""
    """{{- m.content + '<|im_end|>\\n' }}{% endfor %}"""
    """{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"""
)

# A system turn with the date always; contents trimmed; a call in place of the content; results as `ipython`.
LLAMA_3 = (
    """{{- bos_token }}{%- set system = messages[0].content | trim if messages[0].role == 'system' else '' %}"""
    """{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: 26 Jul 2024\\n\\n' + system + '<|eot_id|>' }}"""
    """{%- for m in messages %}"""
    """{%- if m.tool_calls %}{% set call = m.tool_calls[0].function %}"""
    """{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' + ({'name': call.name, 'parameters': call.arguments} | tojson) + '<|eot_id|>' }}"""
    """{%- elif m.role == 'tool' %}{{ '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + (m.content | tojson) + '<|eot_id|>' }}"""
    """{%- elif m.role != 'system' %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endif %}"""
    """{%- endfor %}"""
    """{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""
)

# The system text stands in the first question; the assistant is `model`.
GEMMA_3 = (
    """{{- bos_token }}{% set system = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' %}"""
    """{%- set rest = messages[1:] if system else messages %}"""
    """{%- for m in rest %}"""
    """{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"""
    """{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + (system if loop.first else '') + m.content | trim + '<end_of_turn>\\n' }}"""
    """{%- endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
)

PHI_4 = (
    """{%- for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{% endfor %}"""
    """{%- if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"""
)

# The end of the whole text, which is no end of a turn.
PHI_3 = (
    """{%- for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}"""
    """{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ '<|endoftext|>' }}{% endif %}"""
)

# The system text is written into a question that comes last, and into none that does not.
MISTRAL_NEMO = (
    """{{- bos_token }}{% set system = messages[0].content if messages[0].role == 'system' else '' %}"""
    """{%- for m in messages %}"""
    """{%- if m.role == 'user' %}{{ '[INST]' + (system + '\\n\\n' if loop.last and system else '') + m.content + '[/INST]' }}"""
    """{%- elif m.tool_calls %}{{ '[TOOL_CALLS]' + (m.tool_calls[0].function | tojson) + eos_token }}"""
    """{%- elif m.role == 'tool' %}{{ '[TOOL_RESULTS]' + (m.content | tojson) + '[/TOOL_RESULTS]' }}"""
    """{%- elif m.role == 'assistant' %}{{ m.content + eos_token }}{% endif %}"""
    """{%- endfor %}"""
)

# Without thinking an empty thought is written in front of each answer, and belongs to the prompt.
SMOLLM_3 = (
    """{%- set empty = '' if enable_thinking is not defined or enable_thinking else '<think>\\n\\n</think>\\n' %}"""
    """{{- '<|im_start|>system\\n## Custom Instructions\\n\\n' + (messages[0].content if messages[0].role == 'system' else 'You are SmolLM.') + '\\n\\n<|im_end|>\\n' }}"""
    """{%- for m in messages %}"""
    """{%- if m.role == 'assistant' %}{{ '<|im_start|>assistant\\n' + empty + m.content.lstrip('\\n') + '<|im_end|>\\n' }}"""
    """{%- elif m.role != 'system' %}{{ '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}{% endif %}"""
    """{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' + empty }}{% endif %}"""
)

# Channels; thoughts of the last answer only; its end is another than that of earlier ones.
GPT_OSS = (
    """{%- for m in messages %}"""
    """{%- if m.role == 'system' %}{{ '<|start|>developer<|message|># Instructions\\n\\n' + m.content + '<|end|>' }}"""
    """{%- elif m.role == 'tool' %}{{ '<|start|>functions.f to=assistant<|channel|>commentary<|message|>' + (m.content | tojson) + '<|end|>' }}"""
    """{%- elif m.role == 'user' %}{{ '<|start|>user<|message|>' + m.content + '<|end|>' }}"""
    """{%- elif m.tool_calls %}{% set call = m.tool_calls[0].function %}"""
    """{%- if m.thinking %}{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}"""
    """{{- '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json<|message|>' + (call.arguments | tojson) + '<|call|>' }}"""
    """{%- elif loop.last %}"""
    """{%- if m.thinking %}{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}"""
    """{{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}"""
    """{%- else %}{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}{% endif %}"""
    """{%- endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"""
)

# Calls only where the content is None, and their arguments joined as text; no thought is written, and one begun in the prompt.
R1_DISTILL = (
    """{{- bos_token }}{% for m in messages %}"""
    """{%- if m.role == 'assistant' and m.content is none %}{{ '<|Assistant|>' }}"""
    """{%- for call in m.tool_calls %}{{ '<|call|>' + call.function.name + '\\n' + call.function.arguments + '<|end|>' }}{% endfor %}"""
    """{%- elif m.role == 'assistant' %}{{ '<|Assistant|>' + m.content.split('</think>')[-1] + eos_token }}"""
    """{%- elif m.role == 'system' %}{{ m.content }}{% else %}{{ '<|User|>' + m.content }}{% endif %}"""
    """{%- endfor %}{% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}"""
)

FORMATS = {
    "qwen 2.5": QWEN_2_5,
    "qwen 3": QWEN_3,
    "qwen 3.8": QWEN_3_8,
    "llama 3": LLAMA_3,
    "gemma 3": GEMMA_3,
    "phi 3": PHI_3,
    "phi 4": PHI_4,
    "mistral nemo": MISTRAL_NEMO,
    "smollm 3": SMOLLM_3,
    "gpt-oss": GPT_OSS,
    "r1 distill": R1_DISTILL,
}
