"""The data of a run: rows as they were given become loaders of batches, to train on and to evaluate on."""

import dataclasses
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from datetime import date
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from easydel import processes
from easydel.data.clock import asks_for_day, on_day, read_day
from easydel.data.counts import Counts, Tally
from easydel.data.given import as_rows, is_of_columns
from easydel.data.held_out import prepare_divided
from easydel.data.loader import Loader, Position, make_loader
from easydel.data.mix import first_of_each
from easydel.data.pack import Batch
from easydel.data.pair import Limits, Pair
from easydel.data.prepare import Recipe, make_recipe, prepare_with
from easydel.data.share import Share
from easydel.data.stream import StreamLoader, is_stream, make_stream_loader
from easydel.display.display import SILENT, Display
from easydel.errors import ConfigError, DataError
from easydel.models.causal_lm import CausalLM
from easydel.sharding import length_shards, row_shards
from easydel.trainers.config import DPOConfig
from easydel.trainers.fields import read_yaml
from easydel.trainers.reference import refuse_stream
from easydel.trainers.shown import Shown, shown_of

Rows = Iterable[Mapping[str, Any]]


def with_day(config: DPOConfig, tokenizer: Any) -> DPOConfig:
    """Returns the settings with the day that the chat template writes as today's, if it asks for one.

    It is the one that was asked for, that of the run to be continued, or today, on the first of several processes.

    Raises:
        ConfigError: a day that no template asks for, or the settings of the run to be continued cannot be read.
    """
    asked, asks = config.chat_template_date, asks_for_day(tokenizer)
    if asked is not None and not asks:
        raise ConfigError(
            f"chat_template_date = {asked!r} has no effect: the tokenizer has no chat template that asks for the date "
            "(strftime_now). Leave it out; a date_string goes into the chat_template_kwargs of the rows."
        )
    if asked is not None or not asks:
        return config
    file = config.run_folder / "config.yaml"
    of_run = read_yaml(file).get("chat_template_date") if config.resume == "auto" and file.exists() else None
    day = date.today() if of_run is None else read_day(str(of_run))
    day = date.fromordinal(int(processes.from_first({"day": np.array([day.toordinal()])})["day"][0]))
    return dataclasses.replace(config, chat_template_date=day.isoformat())


class TrainSet(NamedTuple):
    """What is trained on."""

    name: str  # what messages call it
    loader: Loader | StreamLoader
    shown: Callable[[], Shown]  # gives what became of its rows, those of a stream as far as they were read
    held_out: "PairSet | None" = None  # the rows that are evaluated on in its place, by `test_split_size`

    def batches(self, start: Position, *, epochs: int) -> Generator[tuple[Position, Batch], None, None]:
        """Yields each batch with the position after it, up to the end of `epochs` epochs; a stream has no such end.

        Raises:
            DataError: a row of a stream that cannot be read.
        """
        try:
            yield from self.loader.batches(start, epochs=None if self.loader.steps_per_epoch is None else epochs)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error


class PairSet(NamedTuple):
    """What is evaluated on."""

    name: str  # what messages call it
    loader: Loader
    shown: Shown

    @property
    def counts(self) -> Counts:
        """What became of its rows."""
        return self.shown.counts


def training_set(config: DPOConfig, rows: Rows, tokenizer: Any, model: CausalLM, display: Display = SILENT) -> TrainSet:
    """Returns the batches to train on, made as training goes where the rows are a stream, which has no length.

    Raises:
        ConfigError: settings that this kind of rows cannot be trained with.
        DataError: rows that cannot be trained on, with the number of the row and the field.
    """
    rows = first_of_each(as_rows(rows, config.columns or {}), config.max_samples)
    if is_stream(rows):
        if config.test_split_size is not None:
            raise ConfigError(
                f"test_split_size = {config.test_split_size:g} cannot be held out of a stream, whose rows are not "
                "known before they are trained on: give eval_dataset=, or all rows as a list."
            )
        stream = _stream(config, rows, tokenizer, model)
        return TrainSet("train_dataset", stream, lambda: shown_of(stream.tally, stream.recipe, most=config.max_samples))
    if config.shuffle_buffer_size is not None:
        raise ConfigError(
            f"shuffle_buffer_size = {config.shuffle_buffer_size} is for streams, and this train_dataset has a length: "
            "it is shuffled whole. Leave it out."
        )
    if config.test_split_size is None:
        pairs, shown = _prepared(config, rows, tokenizer, model, "train_dataset", display)
        return TrainSet("train_dataset", _training_loader(config, pairs, model), lambda: shown)
    (pairs, shown), held = _divided(config, rows, tokenizer, model, "train_dataset", display)
    held_out = _pair_set(config, "rows held out of train_dataset", *held, model)
    return TrainSet("train_dataset", _training_loader(config, pairs, model), lambda: shown, held_out)


def total_steps(config: DPOConfig, data: TrainSet) -> int:
    """Returns the optimizer updates of a whole run; a part of an epoch is rounded up to whole ones."""
    limit, per_epoch = config.max_training_steps, data.loader.steps_per_epoch
    steps = [limit] if limit is not None else []
    if per_epoch is not None:
        steps.append(math.ceil(config.num_train_epochs * per_epoch))
    return min(steps)


def evaluation_sets(
    config: DPOConfig,
    dataset: Rows | Mapping[str, Rows],
    argument: str,
    tokenizer: Any,
    model: CausalLM,
    display: Display = SILENT,
) -> dict[str, PairSet]:
    """Returns each set to evaluate on by how the names of its metrics begin: `eval`, or `eval_<name>` of a dict.

    Raises:
        DataError: rows that cannot be read, a dict without sets, or a set whose name is no word.
    """
    return {
        name: _pair_set(config, words, *_prepared(config, rows, tokenizer, model, words, display), model)
        for name, (words, rows) in named_sets(dataset, argument, config.columns).items()
    }


def named_sets(
    dataset: Rows | Mapping[str, Rows], argument: str, columns: Mapping[str, Any] | None = None
) -> dict[str, tuple[str, Rows]]:
    """Returns the rows of each set, and what messages call it, by how the names of its metrics begin.

    >>> list(named_sets([], "eval_dataset"))
    ['eval']
    >>> named_sets({"easy": [], "hard": []}, "eval_dataset")
    {'eval_easy': ("eval_dataset['easy']", []), 'eval_hard': ("eval_dataset['hard']", [])}
    """
    if is_of_columns(dataset, columns or {}):
        return {"eval": (argument, as_rows(dataset, columns or {}))}
    if not isinstance(dataset, Mapping):
        return {"eval": (argument, dataset)}
    if not dataset:
        raise DataError(f"{argument} is a dict without a set: give it one, {{name: rows}}, or leave it out.")
    for name in dataset:
        if not isinstance(name, str) or name.split() != [name]:
            raise DataError(f"{argument} has a set named {name!r}: its metrics need a name without spaces.")
    return {f"eval_{name}": (f"{argument}[{name!r}]", rows) for name, rows in dataset.items()}


Prepared = tuple[list[Pair], Shown]


def _prepared(config: DPOConfig, rows: Rows, tokenizer: Any, model: CausalLM, words: str, display: Display) -> Prepared:
    recipe = _recipe(config, tokenizer, model, cache_directory=config.cache_directory)
    rows = first_of_each(as_rows(rows, recipe.columns), config.max_samples)
    with _reading(rows, words, display) as (advance, share):
        pairs = prepare_with(recipe, rows, advance, share, tally := Tally()).pairs
        return pairs, shown_of(tally, recipe, most=config.max_samples)


def _divided(
    config: DPOConfig, rows: Rows, tokenizer: Any, model: CausalLM, words: str, display: Display
) -> tuple[Prepared, Prepared]:
    """The rows to train on, and those held out."""
    recipe, size = _recipe(config, tokenizer, model, cache_directory=config.cache_directory), config.test_split_size
    assert size is not None
    with _reading(rows, words, display) as (advance, share):
        train, held, which = prepare_divided(recipe, rows, size, config.seed, advance, share)
        shown = partial(shown_of, recipe=recipe, most=config.max_samples)
        return (train.pairs, shown(train.tally)), (held.pairs, shown(held.tally, held_out=which))


@contextmanager
def _reading(rows: Rows, words: str, display: Display) -> Iterator[tuple[Callable[[int], None], Share]]:
    """Gives what is told of each row that is done, and this process's share; errors name the dataset."""
    total = len(rows) if isinstance(rows, Sized) else None
    try:
        with display.work(f"tokenise {words}", unit="rows", total=total) as work:
            yield work.advance, Share(processes.number(), processes.count(), processes.gathered)
    except DataError as error:
        raise DataError(f"{words}: {error}") from error


def _recipe(config: DPOConfig, tokenizer: Any, model: CausalLM, *, cache_directory: str | None) -> Recipe:
    if config.chat_template_date is not None and tokenizer is not None:
        tokenizer = on_day(tokenizer, read_day(config.chat_template_date))
    return make_recipe(
        tokenizer,
        max_length=config.max_length,
        max_prompt_length=config.max_prompt_length,
        max_completion_length=config.max_completion_length,
        truncation_mode=config.truncation_mode,
        vocab_size=model.config.vocab_size,
        cache_directory=cache_directory,
        dataset_num_proc=config.dataset_num_proc,
        columns=config.columns,
    )


def limits_of(config: DPOConfig) -> Limits:
    """Returns how long a pair may be."""
    return Limits(config.max_length, config.max_prompt_length, config.max_completion_length, config.truncation_mode)


def _pair_set(config: DPOConfig, words: str, pairs: list[Pair], shown: Shown, model: CausalLM) -> PairSet:
    size = config.eval_batch_size or config.total_batch_size // config.gradient_accumulation_steps
    return PairSet(words, _loader(config, pairs, model, size, 1, shuffle=False), shown)


def _training_loader(config: DPOConfig, pairs: list[Pair], model: CausalLM) -> Loader:
    size, parts = config.total_batch_size, config.gradient_accumulation_steps
    return _loader(config, pairs, model, size, parts, shuffle=config.shuffle_train_dataset)


def _loader(
    config: DPOConfig, pairs: list[Pair], model: CausalLM, batch_size: int, parts: int, *, shuffle: bool
) -> Loader:
    return make_loader(
        pairs,
        total_batch_size=batch_size,
        gradient_accumulation_steps=parts,
        seed=config.seed,
        shuffle=shuffle,
        shards=row_shards(model.decoder.mesh),
        parts=length_shards(model.decoder.mesh),
        length_cost=_length_cost(model),
        chunk=_chunk(model),
        most_steps=config.max_training_steps,
    )


def _stream(config: DPOConfig, rows: Rows, tokenizer: Any, model: CausalLM) -> StreamLoader:
    refuse_stream(config)
    # A stream may have no end, and a disk has one.
    recipe = _recipe(config, tokenizer, model, cache_directory=None)
    try:
        return make_stream_loader(
            rows,
            recipe,
            total_batch_size=config.total_batch_size,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            max_training_steps=config.max_training_steps,
            num_train_epochs=config.num_train_epochs,
            shuffle=config.shuffle_train_dataset,
            buffer_size=config.shuffle_buffer_size,
            seed=config.seed,
            shards=row_shards(model.decoder.mesh),
            parts=length_shards(model.decoder.mesh),
            length_cost=_length_cost(model),
            chunk=_chunk(model),
        )
    except DataError as error:
        raise DataError(f"train_dataset: {error}") from error


def _chunk(model: CausalLM) -> int | None:
    """On a dense mask a row of a whole batch would cost its square: rows get the length of their pairs there."""
    return None if model.decoder.has_dense_mask else model.decoder.chunk


def _length_cost(model: CausalLM) -> float:
    """On a dense mask, attention adds 1 / (6 embed) of the blocks' cost per token of the row; the others skip it."""
    dense = model.decoder.has_dense_mask
    return 1 / (6 * model.config.hidden_size) if dense else 0.0
