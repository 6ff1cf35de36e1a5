"""The options of `easydel-dpo inspect`."""

import dataclasses
from typing import Any, Literal

from easydel.data.column_names import read_columns
from easydel.data.pair import Limits
from easydel.errors import ConfigError
from easydel.trainers.options.fields import option
from easydel.trainers.options.values import check_fields

_EVAL_SET = {"eval_dataset_name": "eval.jsonl"}
_OF_TOKENS = (
    *("max_length", "max_prompt_length", "max_completion_length", "truncation_mode"),
    *("dataset_num_proc", "cache_directory"),
)
"""Options without effect where no tokenizer is given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """What is inspected, what counts as a finding, and where it is written.

    Raises:
        ConfigError: a value out of range, or no pairs.
    """

    dataset_name: str | list[str] = option(
        "", "the pairs, which may also stand in front of all flags: files, folders, globs or hub names", group="pairs"
    )
    dataset_config: str | list[str] | None = option(
        None, "config (subset) of dataset_name, or one for each, with none for one without (default: the only one)"
    )
    dataset_split: str = option("train", 'split of dataset_name, such as "train[:1000]"')
    columns: dict[str, Any] | None = option(
        None,
        "columns of the rows to read in place of ours, as in training (default: columns are read by their own names)",
        example="prompt=question",
    )
    max_samples: int | None = option(None, "look at the first N rows of each dataset (default: all)", at_least=1)
    source_column: str | None = option(
        None, "column that says where a row comes from, by which shortcuts are counted (default: source, dataset, ...)"
    )

    repo_id: str = option(
        "", "model whose tokenizer shows the pairs as tokens: a folder or a hub name (default: none)", group="tokens"
    )
    revision: str | None = option(None, "branch, tag or commit of repo_id on the hub (default: main)")
    processor_repo_id: str | None = option(None, "tokenizer: a folder or a hub name (default: repo_id)")
    max_length: int | None = option(
        1024, "max tokens of prompt and completion together, as in training; none: no limit", at_least=2
    )
    max_prompt_length: int | None = option(None, "max tokens of a prompt (default: no limit)", at_least=1)
    max_completion_length: int | None = option(None, "max tokens of a completion (default: no limit)", at_least=1)
    truncation_mode: Literal["keep_start", "keep_end"] = option(
        "keep_start", "which end of prompt and completion together max_length keeps", needs={"max_length": 1024}
    )
    dataset_num_proc: int | None = option(None, "processes that tokenize (default: this one)", at_least=1)
    cache_directory: str | None = option("auto", "folder that keeps token ids, also for training; none: no cache")

    eval_dataset_name: str | list[str] | None = option(
        None, "eval pairs whose prompts must not be trained on, several as name=dataset", group="eval prompts"
    )
    eval_dataset_config: str | list[str] | None = option(
        None, "config of each eval dataset (default: the only one)", needs=_EVAL_SET
    )
    eval_dataset_split: str | None = option(None, "split of the eval datasets (default: the only one)", needs=_EVAL_SET)
    benchmarks: str | list[str] | None = option(
        None, "files or hub names with prompts or questions that must not be trained on (default: none)"
    )

    similarity: float = option(
        0.8, "share of 3-grams that near duplicates have in common", group="findings", above=0, at_most=1
    )
    max_pairs_per_prompt: int = option(5, "pairs of a prompt; more are a finding", at_least=1)
    fail_on: Literal["note", "warning", "error", "never"] = option(
        "warning", "findings of this level, or a graver one, make the exit status 1, and their rows are left out"
    )

    output: str = option(".", "folder for inspect.json and inspect.html", group="output")
    write: str | None = option(
        None, "JSON lines file for the rows that are not at fault; the others go beside it (default: not written)"
    )
    progress_bar_type: Literal["tqdm", "rich", "json", "none"] = option("tqdm", "how progress and results are shown")

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.dataset_name:
            raise ConfigError(
                "there are no pairs to inspect: name a file, a folder or a hub name, as in `easydel-dpo inspect "
                "pairs.jsonl`."
            )
        read_columns(self.columns)
        of_a_tokenizer = self.repo_id or self.processor_repo_id
        for name in ("revision", *(() if of_a_tokenizer else _OF_TOKENS)):
            value = getattr(self, name)
            if not self.repo_id and value != getattr(InspectConfig, name):
                raise ConfigError(f"{name} = {value!r} needs repo_id: set it, or leave {name} out.")
        Limits(self.max_length, self.max_prompt_length, self.max_completion_length, self.truncation_mode)
        if self.write is not None and not self.write.endswith(".jsonl"):
            raise ConfigError(f"write = {self.write!r} must end in .jsonl, as JSON lines are written.")
