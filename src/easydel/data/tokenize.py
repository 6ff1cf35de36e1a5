"""Texts as token ids: prompt and completion tokenized together, special tokens once, cut where they part."""

from collections.abc import Sequence
from typing import NamedTuple

from easydel.data.endings import Endings
from easydel.data.pair import Mask
from easydel.data.render import Preference
from easydel.data.token_mask import encode_masked
from easydel.data.tokenizer import Tokenizer, encoded


class Joined(NamedTuple):
    """A row as token ids before truncation."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    merged: int = 0  # how many tokens at the end of the prompt, tokenized alone, are others with a completion behind it
    chosen_trained: Mask = None
    rejected_trained: Mask = None
    lost: tuple[str, ...] = ()  # what the template left out, a cause each
    dropped: str = ""  # why the row holds no pair; then it has no token


def tokenize(preferences: Sequence[Preference], tokenizer: Tokenizer) -> list[Joined]:
    """Returns each row's prompt and completions as ids, prompt and completion tokenized together.

    Plain text gets the special tokens of the tokenizer and one end, see `Endings.ended`; templated text has its own. A
    completion starts where the tokens of the prompt alone first differ from those of the prompt with either
    completion. Only where a part of a templated text bears no loss is each token asked for its characters.
    """
    endings = Endings(tokenizer)
    joined: dict[int, Joined] = {}
    for templated, masked in ((False, False), (True, False), (True, True)):
        kind = templated, masked
        members = [(at, each) for at, each in enumerate(preferences) if (each.templated, _is_masked(each)) == kind]
        texts = [text for _, preference in members for text in _texts(preference, endings)]
        if masked:
            spans = [part for _, each in members for part in ((), each.chosen_untrained, each.rejected_untrained)]
            ids, trained = encode_masked(texts, spans, tokenizer) if texts else ([], [])
        else:
            ids, trained = _encode(texts, endings, add_special_tokens=not templated), [None] * len(texts)
        for of, (at, preference) in enumerate(members):
            texts_of = slice(3 * of, 3 * of + 3)
            joined[at] = _join(ids[texts_of], trained[texts_of], preference.lost)
    return [joined[at] for at in range(len(preferences))]


def _is_masked(preference: Preference) -> bool:
    return preference.templated and bool(preference.chosen_untrained or preference.rejected_untrained)


def _texts(preference: Preference, endings: Endings) -> tuple[str, str, str]:
    prompt, chosen, rejected, templated = preference[:4]
    if templated:  # the template has ended the turn
        return prompt, chosen, rejected
    start = len(prompt)
    return prompt, prompt + endings.ended(chosen[start:]), prompt + endings.ended(rejected[start:])


def _encode(texts: list[str], endings: Endings, *, add_special_tokens: bool) -> list[list[int]]:
    if not texts:
        return []
    tokenizer = endings.tokenizer
    ids = encoded(texts, tokenizer, add_special_tokens=add_special_tokens)
    if not add_special_tokens:
        return ids
    return [endings.with_one_eos(_with_one_bos(*each, tokenizer), each[1]) for each in zip(ids, texts, strict=True)]


def _with_one_bos(ids: list[int], text: str, tokenizer: Tokenizer) -> list[int]:
    bos = tokenizer.bos_token_id
    is_doubled = tokenizer.bos_token and text.startswith(tokenizer.bos_token) and ids[:2] == [bos, bos]
    return ids[1:] if is_doubled else ids


def _join(ids: Sequence[list[int]], trained: Sequence[Mask], lost: tuple[str, ...]) -> Joined:
    """The tokens of a prompt, and of it with each completion, cut where they part."""
    prompt, chosen, rejected = ids
    start = min(_common(prompt, chosen), _common(prompt, rejected))
    of_chosen, of_rejected = (None if mask is None or all(mask[start:]) else mask[start:] for mask in trained[1:])
    return Joined(prompt[:start], chosen[start:], rejected[start:], len(prompt) - start, of_chosen, of_rejected, lost)


def _common(ids: list[int], longer: list[int]) -> int:
    if longer[: len(ids)] == ids:  # nearly always, and at the speed of a comparison of lists
        return len(ids)
    return next(i for i in range(len(ids)) if longer[i : i + 1] != ids[i : i + 1])
