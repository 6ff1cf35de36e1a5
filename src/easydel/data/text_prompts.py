"""Completions in text that begin with the prompt: where it ends in them, and what is left of them."""

import re
from collections.abc import Sequence
from typing import Any

_MIN_WORDS = 5  # of a prompt that nobody answers with the same words


def shared_beginning(chosen: Sequence[Any], rejected: Sequence[Any]) -> int:
    """Returns how many leading messages or characters are the implicit prompt of two whole sequences.

    One of each is always left as the completion, also when one sequence is the beginning of the other.

    >>> shared_beginning("Name a color. Blue", "Name a color. Red")
    13
    """
    shorter = min(len(chosen), len(rejected))
    length = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter - 1)
    return length - 1 if length and chosen[length - 1] == " " else length


def is_beginning(chosen: str, rejected: str) -> bool:
    """Returns whether one of two different strings begins with the other, so that nothing is left of one of them."""
    shorter, longer = sorted((chosen, rejected), key=len)
    return chosen != rejected and longer.startswith(shorter.rstrip())


def is_prompt_alone(prompt: str, chosen: str, rejected: str) -> bool:
    """Returns whether both completions begin with the prompt, and one of them ends with it."""
    both = all(text.strip().startswith(prompt.strip()) for text in (chosen, rejected))
    return both and is_asking(prompt) and prompt.strip() in (chosen.strip(), rejected.strip())


def once(prompt: str, chosen: str, rejected: str) -> tuple[str, str, str]:
    """Returns a prompt and two completions without the prompt that both begin with, also in other white space.

    >>> once("sky?", "sky? blue", "sky? red"), once("a sky?\\n", "a sky? blue", "a  sky? red")
    (('sky?', ' blue', ' red'), ('a sky?', ' blue', ' red'))
    """
    if all(text.startswith(prompt) and len(text) > len(prompt) for text in (chosen, rejected)):
        return prompt, chosen[len(prompt) :], rejected[len(prompt) :]
    # Only where both begin with its first word: a pattern takes long to compile.
    if is_asking(prompt) and all(text.lstrip().startswith(prompt.split()[0]) for text in (chosen, rejected)):
        pattern = re.compile(r"\s*" + r"\s+".join(map(re.escape, prompt.split())) + r"(?!\S)")
        found = [pattern.match(text) for text in (chosen, rejected)]
        if found[0] is not None and found[1] is not None:
            return prompt.rstrip(), chosen[found[0].end() :], rejected[found[1].end() :]
    return prompt, chosen, rejected


def is_asking(text: str) -> bool:
    """Returns whether a completion that begins with this prompt repeats it.

    A greeting is answered by a greeting; nobody answers a question with the question.
    """
    return text.rstrip().endswith(("?", ":")) or len(text.split()) >= _MIN_WORDS
