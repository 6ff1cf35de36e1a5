"""Sample answers: what the model says to a few prompts, so that a person can see what training changes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from textwrap import shorten
from typing import Any

import numpy as np
from jaxtyping import PyTree

from easydel.data.pair import Pair
from easydel.models.causal_lm import CausalLM
from easydel.trainers.completion_ends import end_token_ids
from easydel.trainers.report.run import by_prompt, when
from easydel.trainers.run_plan import RunPlan

_SHOWN = 100  # characters of a prompt or an answer on the terminal


def answer_samples(plan: RunPlan, trained: PyTree, step: int) -> list[dict[str, Any]]:
    """Returns what the trained weights answer to the sample prompts, of the eval pairs where there are any."""
    eval_pairs = [pair for each in plan.eval_sets.values() for pair in each.loader.pairs]
    return answer_prompts(
        replace(plan.model, params=plan.combine(trained)),
        plan.tokenizer,
        prompts_of(eval_pairs or plan.data.loader.pairs, plan.config.generation_prompts),
        step=step,
        max_new_tokens=plan.config.generation_max_new_tokens,
    )


def prompts_of(pairs: Sequence[Pair], count: int) -> list[list[int]]:
    """Returns `count` different prompts, or all where there are fewer, from all over the data.

    Neighbors in a file are often alike.
    """
    apart = max(len(pairs) // max(count, 1), 1)
    found: dict[tuple[int, ...], list[int]] = {}
    for at in (at for start in range(apart) for at in range(start, len(pairs), apart)):
        if len(found) == count:
            break
        pair = pairs[at]
        # Where the completions of a pair keep different parts of a prompt, that of the chosen one is taken.
        prompt = pair.prompt or pair.chosen[: pair.chosen_context]
        found.setdefault(tuple(prompt), prompt)
    return list(found.values())


def answer_prompts(
    model: CausalLM, tokenizer: Any, prompts: Sequence[Sequence[int]], *, step: int, max_new_tokens: int
) -> list[dict[str, Any]]:
    """Returns the model's greedy answer to each prompt, up to its end: `{"step", "prompt", "answer"}`, as text."""
    longest = max(map(len, prompts))
    tokens = np.zeros((len(prompts), longest), np.int32)
    mask = np.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    ends = end_token_ids(tokenizer, model)
    out = model.generate(tokens, mask, max_new_tokens=max_new_tokens, eos_token_id=ends)

    def text(ids: Sequence[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True)

    return [
        {"step": step, "prompt": text(prompt), "answer": text(out[row, longest:].tolist())}
        for row, prompt in enumerate(prompts)
    ]


def side_by_side(samples: Sequence[Mapping[str, Any]]) -> str:
    """Returns, for each prompt, its first and its last answer under one another, cut to a line each.

    >>> sample = {"prompt": "Hi?", "answer": " Go away."}
    >>> print(side_by_side([{"step": 0, **sample}, {"step": 9, **sample, "answer": " Hello!"}]))
    Hi?
      step 0: Go away.
      step 9: Hello!
    """
    lines = []
    for prompt, answers in by_prompt(samples).items():
        lines.append(_end(prompt))
        shown = answers[:1] if len(answers) == 1 else [answers[0], answers[-1]]
        lines += [f"  {when(sample)}: {shorten(sample['answer'], _SHOWN, placeholder=' ...')}" for sample in shown]
    return "\n".join(lines)


def _end(prompt: str) -> str:
    """Returns the end of a prompt, where its question is, on one line."""
    line = " ".join(prompt.split())
    return line if len(line) <= _SHOWN else f"... {line[-_SHOWN:]}"
