"""Sample answers: what the model says to a few held-out prompts, so that a person can see what training changed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from easydel.data.pair import Pair
from easydel.models.causal_lm import CausalLM


def answer_prompts(
    model: CausalLM, tokenizer: Any, pairs: Sequence[Pair], *, step: int, max_new_tokens: int
) -> list[dict[str, Any]]:
    """Returns the model's greedy answer to the prompt of each pair: `{"step", "prompt", "answer"}`, as text."""
    # Where the sides of a pair keep different parts of a prompt, that of the chosen one is answered.
    prompts = [pair.prompt or pair.chosen[: pair.chosen_context] for pair in pairs]
    longest = max(map(len, prompts))
    tokens = np.zeros((len(pairs), longest), np.int32)
    mask = np.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    eos = None if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
    out = model.generate(tokens, mask, max_new_tokens=max_new_tokens, eos_token_id=eos)

    def text(ids: Sequence[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True)

    return [
        {"step": step, "prompt": text(prompt), "answer": text(out[row, longest:].tolist())}
        for row, prompt in enumerate(prompts)
    ]


def side_by_side(samples: Sequence[Mapping[str, Any]]) -> str:
    """Returns, for each prompt, its first and its last answer under one another.

    >>> sample = {"prompt": "Hi?", "answer": " Go away."}
    >>> print(side_by_side([{"step": 0, **sample}, {"step": 9, **sample, "answer": " Hello!"}]))
    Hi?
      step 0: Go away.
      step 9: Hello!
    """
    by_prompt: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_prompt.setdefault(sample["prompt"], []).append(sample)
    lines = []
    for prompt, answers in by_prompt.items():
        lines.append(" ".join(prompt.split()))
        lines += [
            f"  step {sample['step']}: {' '.join(sample['answer'].split())}" for sample in (answers[0], answers[-1])
        ]
    return "\n".join(lines)
