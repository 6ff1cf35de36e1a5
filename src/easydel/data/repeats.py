"""Answers in text that begin with the prompt: whether they do, and what is left of them."""

import re

_LEAST_WORDS = 5


def once(prompt: str, chosen: str, rejected: str) -> tuple[str, str, str]:
    """Returns a prompt and two completions without the prompt that both begin with, also in other white space.

    >>> once("sky?", "sky? blue", "sky? red"), once("a sky?\\n", "a sky? blue", "a  sky? red")
    (('sky?', ' blue', ' red'), ('a sky?', ' blue', ' red'))
    """
    if all(text.startswith(prompt) and len(text) > len(prompt) for text in (chosen, rejected)):
        return prompt, chosen[len(prompt) :], rejected[len(prompt) :]
    if is_asking(prompt):
        pattern = re.compile(r"\s*" + r"\s+".join(map(re.escape, prompt.split())) + r"(?!\S)")
        found = [pattern.match(text) for text in (chosen, rejected)]
        if found[0] is not None and found[1] is not None:
            return prompt.rstrip(), chosen[found[0].end() :], rejected[found[1].end() :]
    return prompt, chosen, rejected


def is_asking(text: str) -> bool:
    """Returns whether an answer that begins with this text repeats it: a greeting is given back, a question is not."""
    return text.rstrip().endswith(("?", ":")) or len(text.split()) >= _LEAST_WORDS
