"""The data of a run: rows as they were given become loaders of batches, to train on and to evaluate on."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from easydel import processes
from easydel.data.batch_layout import BatchLayout
from easydel.data.column_names import read_columns
from easydel.data.counts import Tally
from easydel.data.eval_split import prepare_split
from easydel.data.loader import Loader, Position, make_loader
from easydel.data.mix import first_of_each
from easydel.data.pack import Batch
from easydel.data.pair import Limits, Pair
from easydel.data.prepare import TokenizeConfig, prepare_with
from easydel.data.python_rows import as_rows, is_of_columns
from easydel.data.share import Share
from easydel.data.stream import ROWS_PER_PAIR, StreamLoader, is_stream, make_stream_loader
from easydel.data.template_date import on_day, read_day
from easydel.display.display import SILENT, Display
from easydel.errors import ConfigError, DataError
from easydel.models.causal_lm import CausalLM
from easydel.models.wrappers import placeholders
from easydel.sharding import length_shards, row_shards
from easydel.trainers.config import DPOConfig
from easydel.trainers.dataset_summary import DatasetSummary, summarize_dataset
from easydel.trainers.intervals import Intervals, resolve_intervals

Rows = Iterable[Mapping[str, Any]]


class EvalSet(NamedTuple):
    """What is evaluated on."""

    name: str  # what messages call it
    loader: Loader
    summary: DatasetSummary


class TrainSet(NamedTuple):
    """What is trained on."""

    name: str  # what messages call it
    loader: Loader | StreamLoader
    summarize: Callable[[], DatasetSummary]  # of its rows, those of a stream as far as they were read
    intervals: Intervals  # the steps of the run
    eval_set: EvalSet | None = None  # the rows that are evaluated on in its place, by `test_split_size`

    @property
    def is_stream(self) -> bool:
        """Whether its rows are read as training goes."""
        return self.loader.steps_per_epoch is None

    @property
    def first_pairs(self) -> Sequence[Pair]:
        """All pairs, or those of a stream that every run of it looks at."""
        return self.loader.first_pairs if isinstance(self.loader, StreamLoader) else self.loader.pairs

    def batches(
        self, start: Position, *, epochs: int, steps: int | None = None
    ) -> Generator[tuple[Position, Batch], None, None]:
        """Yields each batch with the position after it, to the end of `epochs` epochs, or of `steps` steps of a stream.

        Raises:
            DataError: a row of a stream that cannot be read.
        """
        try:
            if isinstance(self.loader, StreamLoader):
                yield from self.loader.batches(start, steps=steps)
            else:
                yield from self.loader.batches(start, epochs=epochs)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error


def make_train_set(
    config: DPOConfig, rows: Rows, tokenizer: Any, model: CausalLM, display: Display = SILENT
) -> TrainSet:
    """Returns the batches to train on, made as training goes where the rows are a stream, which has no length.

    Raises:
        ConfigError: settings that this kind of rows cannot be trained with.
        DataError: rows that cannot be trained on, with the number of the row and the field.
    """
    name, eval_set = "train_dataset", None
    tokenizing = _tokenize_config(config, tokenizer, model)
    rows = first_of_each(as_rows(rows, config.columns or {}), config.max_samples)
    if is_stream(rows):
        stream = loader = _stream(config, rows, tokenizing, model)
        summarize = lambda: summarize_dataset(stream.tally, stream.config, max_samples=config.max_samples)  # noqa: E731
    else:
        if config.shuffle_buffer_size is not None:
            raise ConfigError(
                f"shuffle_buffer_size = {config.shuffle_buffer_size} is for streams, and this train_dataset has a "
                "length: it is shuffled whole. Leave it out."
            )
        if config.test_split_size is None:
            pairs, summary = _prepared(config, rows, tokenizing, name, display)
        else:
            (pairs, summary), split_off = _split(config, rows, tokenizing, name, display)
            eval_set = _eval_set(config, f"eval rows of {name}", *split_off, model)
        layout = _layout(model, config.total_batch_size, config.gradient_accumulation_steps)
        shuffle, steps = config.shuffle_train_dataset, config.max_training_steps
        loader = make_loader(pairs, layout, shuffle=shuffle, seed=config.seed, max_steps=steps)
        summarize = lambda: summary  # noqa: E731
    intervals = resolve_intervals(config, total_steps(config, loader.steps_per_epoch), loader.steps_per_epoch)
    return TrainSet(name, loader, summarize, intervals, eval_set)


def total_steps(config: DPOConfig, steps_per_epoch: int | None) -> int:
    """Returns the optimizer updates of a whole run; a part of an epoch is rounded up to whole ones.

    Args:
        steps_per_epoch: None for a stream, which `max_training_steps` ends.
    """
    limit = config.max_training_steps
    steps = [limit] if limit is not None else []
    if steps_per_epoch is not None:
        steps.append(math.ceil(config.num_train_epochs * steps_per_epoch))
    return min(steps)


def make_eval_sets(
    config: DPOConfig,
    dataset: Rows | Mapping[str, Rows],
    argument: str,
    tokenizer: Any,
    model: CausalLM,
    display: Display = SILENT,
) -> dict[str, EvalSet]:
    """Returns each set to evaluate on by how the names of its metrics begin: `eval`, or `eval_<name>` of a dict.

    Raises:
        DataError: rows that cannot be read, a dict without sets, or a set whose name is not a word.
    """
    tokenizing = _tokenize_config(config, tokenizer, model)
    max_pairs = _max_eval_pairs(config)
    return {
        name: _eval_set(config, words, *_prepared(config, rows, tokenizing, words, display, max_pairs), model)
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

    Raises:
        DataError: a dict without sets, or a set whose name is not a word.
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


Prepared = tuple[list[Pair], DatasetSummary]


def _prepared(
    config: DPOConfig,
    rows: Rows,
    tokenizing: TokenizeConfig,
    words: str,
    display: Display,
    max_pairs: int | None = None,
) -> Prepared:
    """Returns the pairs of rows, the first `max_pairs` that are kept; no row is read that they do not need."""
    rows = first_of_each(as_rows(rows, tokenizing.columns), config.max_samples)
    total = len(rows) if isinstance(rows, Sized) else None
    if max_pairs is not None and total is None:
        rows = islice(rows, ROWS_PER_PAIR * max_pairs)
    needed = total if max_pairs is None else min(total or max_pairs, max_pairs)
    with _reading(needed, words, display) as (advance, share):
        pairs = prepare_with(tokenizing, rows, advance, share, tally := Tally(), max_pairs).pairs
        is_whole = len(pairs) != max_pairs or tally.rows == total
        return pairs, summarize_dataset(
            tally, tokenizing, max_samples=config.max_samples, max_pairs=None if is_whole else max_pairs
        )


def _split(
    config: DPOConfig, rows: Rows, tokenizing: TokenizeConfig, words: str, display: Display
) -> tuple[Prepared, Prepared]:
    """Returns the rows to train on, and the eval rows that `test_split_size` takes from them."""
    size = config.test_split_size
    assert size is not None
    with _reading(len(rows) if isinstance(rows, Sized) else None, words, display) as (advance, share):
        train, evaluated, split = prepare_split(tokenizing, rows, size, config.seed, advance, share)
        summarize = partial(summarize_dataset, tokenizing=tokenizing, max_samples=config.max_samples)
        return (train.pairs, summarize(train.tally)), (evaluated.pairs, summarize(evaluated.tally, eval_split=split))


@contextmanager
def _reading(total: int | None, words: str, display: Display) -> Iterator[tuple[Callable[[int], None], Share]]:
    """Yields the function that counts rows as they are done, and this process's share; errors name the dataset."""
    try:
        with display.work(f"tokenize {words}", unit="rows", total=total) as work:
            yield work.advance, Share(processes.number(), processes.count(), processes.gathered)
    except DataError as error:
        raise DataError(f"{words}: {error}") from error


def _tokenize_config(config: DPOConfig, tokenizer: Any, model: CausalLM) -> TokenizeConfig:
    if config.chat_template_date is not None and tokenizer is not None:
        tokenizer = on_day(tokenizer, read_day(config.chat_template_date))
    return TokenizeConfig(
        tokenizer,
        limits_of(config),
        vocab_size=model.config.vocab_size,
        placeholders=placeholders(model.config.source),
        cache_directory=config.cache_directory,
        dataset_num_proc=config.dataset_num_proc,
        columns=read_columns(config.columns),
        on_bad_row=config.on_bad_row,
        scored="score_gap" in config.row_numbers,
    )


def limits_of(config: DPOConfig) -> Limits:
    """Returns how long a pair may be."""
    return Limits(config.max_length, config.max_prompt_length, config.max_completion_length, config.truncation_mode)


def _eval_batch_size(config: DPOConfig) -> int:
    return config.eval_batch_size or config.total_batch_size // config.gradient_accumulation_steps


def _max_eval_pairs(config: DPOConfig) -> int | None:
    """Returns how many pairs of an eval dataset are looked at; None for all."""
    if config.max_evaluation_steps is None:
        return None
    return max(config.max_evaluation_steps * _eval_batch_size(config), config.generation_prompts)


def _eval_set(config: DPOConfig, words: str, pairs: list[Pair], summary: DatasetSummary, model: CausalLM) -> EvalSet:
    layout = _layout(model, _eval_batch_size(config))
    return EvalSet(words, make_loader(pairs, layout, shuffle=False, max_steps=config.max_training_steps), summary)


def _stream(config: DPOConfig, rows: Rows, tokenizing: TokenizeConfig, model: CausalLM) -> StreamLoader:
    if config.test_split_size is not None:
        raise ConfigError(
            f"test_split_size = {config.test_split_size:g} cannot be split off a stream, whose rows are not known "
            "before they are trained on: give eval_dataset=, or all rows as a list."
        )
    if config.precompute_ref_log_probs:
        raise ConfigError(
            "precompute_ref_log_probs = True needs all rows before training, but train_dataset is a stream: leave it "
            "off, or give a dataset that has a length."
        )
    try:
        return make_stream_loader(
            rows,
            tokenizing._replace(cache_directory=None),  # a stream may have no end, and a disk has one
            _layout(model, config.total_batch_size, config.gradient_accumulation_steps),
            max_training_steps=config.max_training_steps,
            num_train_epochs=config.num_train_epochs,
            shuffle=config.shuffle_train_dataset,
            buffer_size=config.shuffle_buffer_size,
            seed=config.seed,
        )
    except DataError as error:
        raise DataError(f"train_dataset: {error}") from error


def _layout(model: CausalLM, total_batch_size: int, gradient_accumulation_steps: int = 1) -> BatchLayout:
    """Returns how batches of these sizes lie on the devices of a model."""
    decoder = model.decoder
    dense = decoder.has_dense_mask
    return BatchLayout(
        total_batch_size,
        gradient_accumulation_steps,
        row_shards=row_shards(decoder.mesh),
        length_shards=length_shards(decoder.mesh),
        # On a dense mask, attention adds 1 / (6 embed) of the blocks' cost per token of the row; the others skip it.
        length_cost=1 / (6 * model.config.hidden_size) if dense else 0.0,
        # There a row of a whole batch would cost its square, so rows get the length of their pairs.
        chunk=None if dense else decoder.chunk,
    )
