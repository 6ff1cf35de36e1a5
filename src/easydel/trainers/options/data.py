"""Options of the data: how long pairs may be, which rows and columns are read."""

import dataclasses
from typing import Any, Literal

from easydel.data.column_names import read_columns
from easydel.data.template_date import read_day
from easydel.errors import ConfigError
from easydel.trainers.options.fields import free_option, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How rows become pairs."""

    max_length: int | None = option(
        1024, "max tokens of prompt and completion together; none: no limit", group="lengths", common=True, at_least=2
    )
    max_prompt_length: int | None = option(
        None, "max tokens of a prompt, whose end is kept (default: no limit)", at_least=1
    )
    max_completion_length: int | None = option(
        None, "max tokens of a completion, whose start is kept (default: no limit)", at_least=1
    )
    truncation_mode: Literal["keep_start", "keep_end"] = option(
        "keep_start", "which end of prompt and completion together max_length keeps", needs={"max_length": 1024}
    )

    columns: dict[str, Any] | None = option(
        None,
        "columns of the rows to read in place of ours, such as prompt=question chosen=best; ignore=notes leaves one "
        "out (default: columns are read by their own names)",
        group="data",
        example="prompt=question",
    )
    max_samples: int | None = option(
        None,
        "use only the first N rows of each dataset, before several are mixed, and of each eval dataset (default: all)",
        at_least=1,
    )
    test_split_size: float | None = option(
        None,
        "take eval rows from the training rows, by seed: a share below 1, or a number of rows (default: no rows)",
        above=0,
    )
    on_bad_row: Literal["stop", "skip"] = free_option(
        "stop", "what a row that cannot be read does: stop the run, after what was trained is saved, or be left out"
    )
    dataset_num_proc: int | None = free_option(
        None, "processes that tokenize, for slow tokenizers (default: this one)", at_least=1
    )
    cache_directory: str | None = free_option(
        "auto",
        "folder that keeps token ids and reference log-probabilities for the next run; auto: ~/.cache/easydel (or in "
        "XDG_CACHE_HOME); none: no cache",
    )
    chat_template_date: str | None = option(
        None,
        "day, such as 2026-11-28, for a chat template that asks for today's date (default: the day on which the run "
        "begins, also when it is resumed)",
    )


def check_data(config: DataOptions) -> None:
    """Raises ConfigError for lengths that contradict each other, and for columns, rows or a day that cannot be."""
    read_columns(config.columns)
    length, prompt, size = config.max_length, config.max_prompt_length, config.test_split_size
    if length is not None and prompt is not None and prompt >= length:
        raise ConfigError(
            f"max_prompt_length = {prompt} must be below max_length = {length}, "
            "so that a completion fits: lower it, or raise max_length."
        )
    if size is not None and size > 1 and not size.is_integer():
        raise ConfigError(
            f"test_split_size = {size} must be a share of the rows below 1 or an integer number of rows: write "
            f"{int(size)}."
        )
    if config.chat_template_date is not None:
        read_day(config.chat_template_date)
