"""Where completions end: what the tokenizer, its chat template, generation_config.json and config.json say together.

Training writes the ends of `easydel.data.endings`; a model that is served stops at `CausalLM.eos_token_ids`.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from easydel.data.endings import Endings, ends_of
from easydel.data.pair import Limits, Pair
from easydel.errors import warn
from easydel.models.causal_lm import CausalLM


class LastTokens(NamedTuple):
    """The last tokens of a completion: the number of its row, `chosen` or `rejected`, and their ids."""

    row: int
    name: str
    ids: tuple[int, ...]


class CompletionEnds(NamedTuple):
    """How the completions of a dataset end; of rows in which one ends otherwise, the first such completion."""

    rows: int
    trained: Counter[int]  # completions by the end that they are stopped at, or by the first of those that do not stop
    endless: list[LastTokens]
    doubled: list[LastTokens]


def end_token_ids(tokenizer: Any, model: CausalLM) -> tuple[int, ...]:
    """Returns every token id that ends a completion: of the model as served, and of its tokenizer and template."""
    of_tokenizer = () if tokenizer is None else Endings(tokenizer).ids
    return tuple(dict.fromkeys([*model.eos_token_ids, *of_tokenizer]))


def count_completion_ends(pairs: Sequence[Pair], tokenizer: Any, model: CausalLM, limits: Limits) -> CompletionEnds:
    """Returns how the completions of pairs end; one that was cut at its end is left out."""
    ends, stops = frozenset(end_token_ids(tokenizer, model)), frozenset(model.eos_token_ids)
    is_blank = (lambda number: False) if tokenizer is None else Endings(tokenizer).is_blank
    trained: Counter[int] = Counter()
    endless: dict[int, LastTokens] = {}
    doubled: dict[int, LastTokens] = {}
    for pair in pairs:
        for name, ids in _whole(pair, limits):
            found = ends_of(ids, ends, is_blank)
            where = LastTokens(pair.index, name, tuple(ids[-4:]))
            if not found:
                endless.setdefault(pair.index, where)
                continue
            trained[next((end for end in found if end in stops), found[0])] += 1
            if len(set(found)) < len(found):
                doubled.setdefault(pair.index, where)
    return CompletionEnds(len(pairs), trained, list(endless.values()), list(doubled.values()))


def warn_of_completion_ends(ended: CompletionEnds, tokenizer: Any, model: CausalLM, *, name: str) -> None:
    """Warns of completions without an end, with two, and with one at which the initial model does not stop."""
    if not end_token_ids(tokenizer, model):
        return  # token ids, and a model that stops at none: no end is known
    for text in _warnings(ended, tokenizer, model, name):
        warn(text)


_ALONE = "Adapters that are saved alone have no such file: there, give eos_token_id to what generates."


def with_trained_ends(model: CausalLM, ended: CompletionEnds, tokenizer: Any) -> CausalLM:
    """Returns the model with the ends that it is trained to write among those at which it stops, where they are not.

    They are written to its generation_config.json, also those of config.json, which transformers ignores where there
    is a generation_config.json; of these it warns.
    """
    stops = model.eos_token_ids
    missing = [end for end in ended.trained if end not in stops]
    unsaid = bool(ended.trained) and _is_unsaid(model)
    if not missing and not unsaid:
        return model
    if unsaid:
        warn(
            "the generation_config.json of the model has no eos_token_id, so transformers stops at no token; that of "
            f"the trained model will name {_texts([*stops, *missing], tokenizer)}. {_ALONE}"
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
    completions = (
        ("chosen", pair.chosen, pair.chosen_context, pair.chosen_trained),
        ("rejected", pair.rejected, pair.rejected_context, pair.rejected_trained),
    )
    for name, ids, context, trained in completions:
        max_completion, longest = limits.max_completion_length, limits.max_length
        cut = max_completion is not None and len(ids) - context >= max_completion
        if longest is not None and limits.truncation_mode == "keep_start":
            cut = cut or len(pair.prompt) + len(ids) >= longest
        if cut:
            continue
        last = len(ids) if trained is None else max(at for at, bears in enumerate(trained, 1) if bears)
        yield name, ids[context:last]


def _warnings(ended: CompletionEnds, tokenizer: Any, model: CausalLM, name: str) -> Iterator[str]:
    stops = model.eos_token_ids
    if ended.endless:
        yield (
            f"{name}: in {len(ended.endless)} of {ended.rows} rows a completion does not end in a token at which a "
            f"model stops ({_texts(end_token_ids(tokenizer, model), tokenizer)}), so it does not learn to stop; the "
            f"first is {_place(ended.endless[0], tokenizer)}. {_hint(tokenizer, stops)}"
        )
    if ended.doubled:
        yield (
            f"{name}: in {len(ended.doubled)} of {ended.rows} rows a completion ends twice; the first is "
            f"{_place(ended.doubled[0], tokenizer)}. The chat template writes an end that the row already has: take "
            "it out of the rows."
        )
    missing = [end for end in ended.trained if end not in stops]
    if missing and stops:
        count = sum(ended.trained[end] for end in missing)
        yield (
            f"{name}: {count} completions end in {_texts(missing, tokenizer)}, but the model stops at "
            f"{_texts(stops, tokenizer)} only (eos_token_id of its generation_config.json, or config.json). The "
            f"trained model stops at both, by its generation_config.json. {_ALONE}"
        )


def _place(where: LastTokens, tokenizer: Any) -> str:
    last = list(where.ids) if tokenizer is None else repr(Endings(tokenizer).text(*where.ids))
    return f"row {where.row}, whose {where.name} completion ends in {last}"


def _hint(tokenizer: Any, stops: Sequence[int]) -> str:
    if tokenizer is None or not tokenizer.chat_template or Endings(tokenizer).turn_ids:
        return "End the completions of the rows in one of them."
    example = _texts(stops[:1], tokenizer) if stops else repr(tokenizer.eos_token)
    return (
        "The chat template writes nothing behind a completion: set tokenizer.chat_template to one that ends each "
        f"in {example}."
    )


def _texts(ids: Sequence[int], tokenizer: Any) -> str:
    return ", ".join(str(number) if tokenizer is None else repr(Endings(tokenizer).text(number)) for number in ids)
