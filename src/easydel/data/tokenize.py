"""Texts as token ids: prompt and completion tokenised together, special tokens once, cut where they part."""

from collections.abc import Sequence
from typing import NamedTuple

from easydel.data.endings import Endings
from easydel.data.pair import Mask
from easydel.data.render import Preference
from easydel.data.token_mask import encode_masked
from easydel.data.tokenizer import Tokenizer


class Joined(NamedTuple):
    """A row as token ids before truncation."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    merged: int = 0  # how many tokens at the end of the prompt, tokenised alone, are others with a completion behind it
    chosen_trained: Mask = None
    rejected_trained: Mask = None
    lost: tuple[str, ...] = ()  # what the template left out, a cause each
    dropped: str = ""  # why the row holds no pair; then it has no token


def tokenize(preferences: Sequence[Preference], tokenizer: Tokenizer) -> list[Joined]:
    """Returns each row's prompt and completions as ids, prompt and completion tokenised together.

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
            ids, trained = _encode(texts, tokenizer, add_special_tokens=not templated), [None] * len(texts)
        for of, (at, preference) in enumerate(members):
            prompt, chosen, rejected = ids[3 * of : 3 * of + 3]
            _, of_chosen, of_rejected = trained[3 * of : 3 * of + 3]
            joined[at] = _join(prompt, chosen, rejected, of_chosen, of_rejected, preference.lost)
    return [joined[at] for at in range(len(preferences))]


def _is_masked(preference: Preference) -> bool:
    return preference.templated and bool(preference.chosen_untrained or preference.rejected_untrained)


def _texts(preference: Preference, endings: Endings) -> tuple[str, str, str]:
    prompt, chosen, rejected, templated = preference[:4]
    if templated:  # the template has ended the turn
        return prompt, chosen, rejected
    start = len(prompt)
    return prompt, prompt + endings.ended(chosen[start:]), prompt + endings.ended(rejected[start:])


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


def _join(
    prompt: list[int],
    prompt_chosen: list[int],
    prompt_rejected: list[int],
    chosen_trained: Mask,
    rejected_trained: Mask,
    lost: tuple[str, ...],
) -> Joined:
    start = min(_common(prompt, prompt_chosen), _common(prompt, prompt_rejected))
    return Joined(
        prompt[:start],
        prompt_chosen[start:],
        prompt_rejected[start:],
        merged=len(prompt) - start,
        chosen_trained=_from(chosen_trained, start),
        rejected_trained=_from(rejected_trained, start),
        lost=lost,
    )


def _from(trained: Mask, start: int) -> Mask:
    return None if trained is None or all(trained[start:]) else trained[start:]


def _common(ids: list[int], longer: list[int]) -> int:
    if longer[: len(ids)] == ids:  # nearly always, and at the speed of a comparison of lists
        return len(ids)
    return next(i for i in range(len(ids)) if longer[i : i + 1] != ids[i : i + 1])
