"""Texts as token ids: prompt and completion tokenised together, special tokens once, cut where they part."""

from collections.abc import Sequence
from typing import NamedTuple

from easydel.data.render import Preference
from easydel.data.tokenizer import Tokenizer
from easydel.errors import ConfigError, DataError

NO_EOS = (
    "the tokenizer has no eos_token, so a completion could not end: set tokenizer.eos_token, or eos_token in its "
    "tokenizer_config.json, to the token that ends an answer."
)


class Joined(NamedTuple):
    """A row as token ids before truncation; `merged` when the prompt alone is tokenised differently."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    merged: bool = False
    chosen_trained: list[bool] | None = None  # which tokens of `chosen` bear loss; None: all
    rejected_trained: list[bool] | None = None
    lost: tuple[str, ...] = ()  # what the template left out, a cause each
    dropped: str = ""  # why the row holds no pair; then it has no token


def check_ending(tokenizer: Tokenizer) -> None:
    """Raises ConfigError for a tokenizer that can end no completion; a chat template may write an end of its own."""
    if not tokenizer.eos_token and not tokenizer.chat_template:
        raise ConfigError(NO_EOS)


def tokenize(preferences: Sequence[Preference], tokenizer: Tokenizer) -> list[Joined]:
    """Returns each row's prompt and completions as ids, prompt and completion tokenised together.

    Plain text gets the special tokens of the tokenizer and ends in one EOS; templated text has its own. A
    completion starts where the tokens of the prompt alone first differ from those of the prompt with either
    completion.
    """
    ids: dict[int, list[list[int]]] = {}
    for templated in (False, True):
        members = [at for at, preference in enumerate(preferences) if preference.templated == templated]
        texts = [text for at in members for text in _texts(preferences[at], tokenizer)]
        encoded = _encode(texts, tokenizer, add_special_tokens=not templated)
        ids |= {at: encoded[3 * i : 3 * i + 3] for i, at in enumerate(members)}
    return [_join(*ids[at]) for at in range(len(preferences))]


def _texts(preference: Preference, tokenizer: Tokenizer) -> tuple[str, str, str]:
    prompt, chosen, rejected, templated = preference[:4]
    if templated:  # the template has ended the turn
        return prompt, chosen, rejected
    eos = tokenizer.eos_token
    if not eos:
        raise DataError(NO_EOS)
    return prompt, chosen.removesuffix(eos) + eos, rejected.removesuffix(eos) + eos


def _encode(texts: list[str], tokenizer: Tokenizer, *, add_special_tokens: bool) -> list[list[int]]:
    if not texts:
        return []
    encoded = tokenizer(texts, add_special_tokens=add_special_tokens, return_attention_mask=False, verbose=False)
    ids = encoded["input_ids"]
    if not add_special_tokens:
        return ids
    return [_once(tokens, text, tokenizer) for tokens, text in zip(ids, texts, strict=True)]


def _once(ids: list[int], text: str, tokenizer: Tokenizer) -> list[int]:
    """Ids without a BOS doubled by one in the text, and ending in one EOS exactly if the text ends in it."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    if tokenizer.bos_token and text.startswith(tokenizer.bos_token) and ids[:2] == [bos, bos]:
        ids = ids[1:]
    ends = bool(tokenizer.eos_token) and text.endswith(str(tokenizer.eos_token))
    while len(ids) > 1 and ids[-1] == eos and (not ends or ids[-2] == eos):
        ids = ids[:-1]
    return ids


def _join(prompt: list[int], prompt_chosen: list[int], prompt_rejected: list[int]) -> Joined:
    start = min(_common(prompt, prompt_chosen), _common(prompt, prompt_rejected))
    return Joined(prompt[:start], prompt_chosen[start:], prompt_rejected[start:], merged=start < len(prompt))


def _common(ids: list[int], longer: list[int]) -> int:
    if longer[: len(ids)] == ids:  # nearly always, and at the speed of a comparison of lists
        return len(ids)
    return next(i for i in range(len(ids)) if longer[i : i + 1] != ids[i : i + 1])
