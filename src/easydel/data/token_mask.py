"""Which tokens of a text bear loss, where some of its characters do not.

A token bears loss if its first character that is no white space does: ` Hi` behind a header that ends before the space
is the answer's, `.\\n` in front of a turn that begins with the line break is the sentence's. White space alone goes by
its first character.
"""

from bisect import bisect_left
from collections.abc import Sequence

from easydel.data.render import Span
from easydel.data.tokenizer import Tokenizer, decoded, encoded


def encode_masked(
    texts: Sequence[str], untrained: Sequence[Sequence[Span]], tokenizer: Tokenizer
) -> tuple[list[list[int]], list[list[bool]]]:
    """Returns the ids of templated texts, and which of their tokens bear loss; `untrained` are the parts that do not.

    Fast tokenizers say which characters a token stands for. Of others the text before each border is tokenized as well.
    """
    if tokenizer.is_fast:
        found = tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        ids, offsets = found["input_ids"], found["offset_mapping"]
        return ids, [trained_tokens(*each) for each in zip(texts, offsets, untrained, strict=True)]
    ids = encoded(texts, tokenizer)
    return ids, [_by_prefixes(*each, tokenizer) for each in zip(texts, ids, untrained, strict=True)]


def trained_tokens(text: str, offsets: Sequence[Span], untrained: Sequence[Span]) -> list[bool]:
    """Returns which tokens bear loss, by the characters that each stands for.

    >>> trained_tokens("ab cd", [(0, 2), (2, 5)], [(0, 3)])  # the second is ` cd`, and its space bears none
    [False, True]
    """
    starts = [start for start, _ in offsets]
    trained = [True] * len(starts)
    for span in untrained:
        first, last = (_behind(border, text, offsets, starts) for border in span)
        trained[first:last] = [False] * (last - first)
    return trained


def _behind(border: int, text: str, offsets: Sequence[Span], starts: Sequence[int]) -> int:
    """Returns the place of the first token whose first character that is no white space lies behind `border`."""
    at = bisect_left(starts, border)
    while at and offsets[at - 1][1] > border and text[starts[at - 1] : border].isspace():
        at -= 1
        if not text[starts[at] : offsets[at][1]].strip():  # white space alone goes by its first character
            return at + 1
    return at


def _by_prefixes(text: str, ids: list[int], untrained: Sequence[Span], tokenizer: Tokenizer) -> list[bool]:
    trained = [True] * len(ids)
    for span in untrained:
        first, last = (_first_token(text[:border], ids, tokenizer) for border in span)
        trained[first:last] = [False] * (last - first)
    return trained


def _first_token(before: str, ids: list[int], tokenizer: Tokenizer) -> int:
    """Returns the place of the first token whose first character that is no white space lies behind `before`."""
    [known] = encoded([before], tokenizer) if before else [[]]
    same = next((at for at, (one, other) in enumerate(zip(known, ids, strict=False)) if one != other), len(known))
    if same == len(known):
        return same
    # The token there reaches across the border: to which side it belongs depends on what of it lies before.
    return same + bool(decoded(known[same:], tokenizer).strip())
