"""Preference pairs of random words, as long as those of UltraFeedback, and a tokenizer that makes a token of each word.

The lengths are log-normal: prompts with a median of 90 tokens, completions of 220 and 200, with long tails. Chosen and
rejected belong together (long prompts ask for long answers), as they do there.
"""

from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, EOS = "<pad>", "</s>"
MEDIANS = (90, 220, 200)  # prompt, chosen, rejected
_SPREAD = (1.1, 0.75, 0.75)  # standard deviations of the logarithms
_TOGETHER = 0.6  # correlation of the logarithms of the two completions


def random_rows(count: int, vocabulary: int, max_length: int, seed: int = 0) -> list[dict[str, str]]:
    """Returns rows of which none is longer than `max_length` tokens, so that every program trains all of all."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((count, 3))
    normal[:, 2] = _TOGETHER * normal[:, 1] + np.sqrt(1 - _TOGETHER**2) * normal[:, 2]
    lengths = np.maximum(1, np.exp(np.log(MEDIANS) + normal * _SPREAD)).astype(int)
    prompt = np.minimum(lengths[:, 0], max_length // 2)
    sides = np.minimum(lengths[:, 1:], max_length - 1 - prompt[:, None])  # one for the token that ends them
    rows = []
    for tokens in np.column_stack([prompt, sides]).tolist():
        asked, chosen, rejected = (_words(rng, n, vocabulary) for n in tokens)
        rows.append({"prompt": asked, "chosen": f" {chosen}", "rejected": f" {rejected}"})
    return rows


def _words(rng: np.random.Generator, count: int, vocabulary: int) -> str:
    return " ".join(f"w{token}" for token in rng.integers(2, vocabulary, count))


def word_tokenizer(vocabulary: int) -> Any:
    """Returns a tokenizer of the words of `random_rows`: as many tokens as words, whatever stands around them."""
    ids = {PAD: 0, EOS: 1} | {f"w{token}": token for token in range(2, vocabulary)}
    words = Tokenizer(models.WordLevel(ids, unk_token=PAD))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=PAD, eos_token=EOS)


def save_tokenizer(vocabulary: int, folder: Path) -> None:
    """Writes the tokenizer of `vocabulary` words into the folder of a model."""
    word_tokenizer(vocabulary).save_pretrained(folder)
