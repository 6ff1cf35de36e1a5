"""Where answers end: what the tokenizer, its chat template, generation_config.json and config.json say together.

Training writes the ends of `easydel.data.endings`; a model that is served stops at `CausalLM.eos_token_ids`.
"""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from easydel.data.endings import Endings, ends_of
from easydel.data.pair import Limits, Pair
from easydel.models.causal_lm import CausalLM


class Where(NamedTuple):
    """A completion: the number of its row, which side it is, and its last tokens."""

    row: int
    side: str
    last: tuple[int, ...]


class Ended(NamedTuple):
    """How the answers of a dataset end; each count with the first it is of."""

    rows: int
    trained: Counter[int]  # completions by the end that they are stopped at, or by the first of those that do not stop
    endless: int  # rows
    first_endless: Where | None
    doubled: int  # rows
    first_doubled: Where | None


def answer_ends(tokenizer: Any, model: CausalLM) -> tuple[int, ...]:
    """Returns every token id that ends an answer: of the model as it is served, and of its tokenizer and template."""
    of_tokenizer = () if tokenizer is None else Endings(tokenizer).ids
    return tuple(dict.fromkeys([*model.eos_token_ids, *of_tokenizer]))


def endings_of(pairs: Sequence[Pair], tokenizer: Any, model: CausalLM, limits: Limits) -> Ended:
    """Returns how the answers of pairs end; one that was cut at its end has none to look for."""
    ends, stops = frozenset(answer_ends(tokenizer, model)), frozenset(model.eos_token_ids)

    @cache
    def is_blank(number: int) -> bool:
        return tokenizer is not None and not Endings(tokenizer).text(number).strip()

    trained: Counter[int] = Counter()
    endless: dict[int, Where] = {}
    doubled: dict[int, Where] = {}
    for pair in pairs:
        for side, ids in _whole(pair, limits):
            found = ends_of(ids, ends, is_blank)
            where = Where(pair.index, side, tuple(ids[-4:]))
            if not found:
                endless.setdefault(pair.index, where)
                continue
            trained[next((end for end in found if end in stops), found[0])] += 1
            if len(set(found)) < len(found):
                doubled.setdefault(pair.index, where)
    first = (next(iter(each.values()), None) for each in (endless, doubled))
    return Ended(len(pairs), trained, len(endless), next(first), len(doubled), next(first))


def check_endings(ended: Ended, tokenizer: Any, model: CausalLM, *, name: str, stacklevel: int) -> None:
    """Warns of answers without an end, of those with two, and of ends at which the model, as it came, does not stop."""
    if not answer_ends(tokenizer, model):
        return  # token ids, and a model that stops at none: nobody knows an end
    for text in _complaints(ended, tokenizer, model, name):
        warnings.warn(text, stacklevel=stacklevel + 1)


_ALONE = "Adapters that are saved alone have no such file: there, give eos_token_id to what generates."


def with_trained_ends(model: CausalLM, ended: Ended, tokenizer: Any, *, stacklevel: int) -> CausalLM:
    """Returns the model with the ends that it is trained to write among those at which it stops, where they are not.

    They are said in its generation_config.json, also those of config.json, which transformers does not look into where
    there is a generation_config.json; of these it warns.
    """
    stops = model.eos_token_ids
    missing = [end for end in ended.trained if end not in stops]
    unsaid = bool(ended.trained) and _is_unsaid(model)
    if not missing and not unsaid:
        return model
    if unsaid:
        warnings.warn(
            "the generation_config.json of the model has no eos_token_id, so transformers stops at no token; that of "
            f"the trained model will name {_texts([*stops, *missing], tokenizer)}. {_ALONE}",
            stacklevel=stacklevel + 1,
        )
    origin = model.origin
    inherited = {name: origin.config[name] for name in _INHERITED if origin.config.get(name) is not None}
    base = inherited if origin.generation is None else origin.generation
    generation = {**base, "eos_token_id": [*stops, *missing]}
    return dataclasses.replace(model, origin=dataclasses.replace(origin, generation=generation))


# What transformers takes from config.json where there is no generation_config.json.
_INHERITED = ("bos_token_id", "pad_token_id")


def _is_unsaid(model: CausalLM) -> bool:
    """Returns whether transformers stops at no token: it looks into generation_config.json alone where there is one."""
    generation = model.origin.generation
    return generation is not None and generation.get("eos_token_id") is None and bool(model.eos_token_ids)


def _whole(pair: Pair, limits: Limits) -> Iterator[tuple[str, Sequence[int]]]:
    """Yields the completions whose end was not cut off, up to the last token that bears loss."""
    sides = (
        ("chosen", pair.chosen, pair.chosen_context, pair.chosen_trained),
        ("rejected", pair.rejected, pair.rejected_context, pair.rejected_trained),
    )
    for side, ids, context, trained in sides:
        most, longest = limits.max_completion_length, limits.max_length
        cut = most is not None and len(ids) - context >= most
        if longest is not None and limits.truncation_mode == "keep_start":
            cut = cut or len(pair.prompt) + len(ids) >= longest
        if cut:
            continue
        last = len(ids) if trained is None else max(at for at, bears in enumerate(trained, 1) if bears)
        yield side, ids[context:last]


def _complaints(ended: Ended, tokenizer: Any, model: CausalLM, name: str) -> Iterator[str]:
    stops = model.eos_token_ids
    if ended.first_endless is not None:
        yield (
            f"{name}: in {ended.endless} of {ended.rows} rows an answer ends in no token at which a model stops "
            f"({_texts(answer_ends(tokenizer, model), tokenizer)}), so it does not learn to stop there; the first is "
            f"{_place(ended.first_endless, tokenizer)}. {_way_out(tokenizer, stops)}"
        )
    if ended.first_doubled is not None:
        yield (
            f"{name}: in {ended.doubled} of {ended.rows} rows an answer ends twice; the first is "
            f"{_place(ended.first_doubled, tokenizer)}. The chat template writes an end that the row has already: take "
            "it out of the rows."
        )
    missing = [end for end in ended.trained if end not in stops]
    if missing and stops:
        count = sum(ended.trained[end] for end in missing)
        yield (
            f"{name}: {count} answers end in {_texts(missing, tokenizer)}, but the model stops at "
            f"{_texts(stops, tokenizer)} only (eos_token_id of its generation_config.json, or config.json). The "
            f"trained model stops at both: its generation_config.json says so. {_ALONE}"
        )


def _place(where: Where, tokenizer: Any) -> str:
    last = list(where.last) if tokenizer is None else repr(Endings(tokenizer).text(*where.last))
    return f"row {where.row}, whose {where.side} answer ends in {last}"


def _way_out(tokenizer: Any, stops: Sequence[int]) -> str:
    if tokenizer is None or not tokenizer.chat_template or Endings(tokenizer).turn_ids:
        return "End the answers of the rows in one of them."
    example = _texts(stops[:1], tokenizer) if stops else repr(tokenizer.eos_token)
    return (
        "The chat template writes nothing behind an answer: set tokenizer.chat_template to one that ends each answer "
        f"in {example}."
    )


def _texts(ids: Sequence[int], tokenizer: Any) -> str:
    return ", ".join(str(number) if tokenizer is None else repr(Endings(tokenizer).text(number)) for number in ids)
