"""Looks at preference pairs before they are trained on: `easydel-dpo inspect PAIRS`."""

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import easydel
from easydel.data.column_names import read_columns
from easydel.display.display import Display, make_display
from easydel.display.streams import harden
from easydel.errors import ConfigError, DataError, WeightsError, with_notes
from easydel.inspect.options import InspectConfig
from easydel.scripts.arguments import make, parse_arguments
from easydel.scripts.datasets import check_configs, configs_of, eval_names, names_of
from easydel.scripts.flags import Program

if TYPE_CHECKING:
    from easydel.inspect.inspection import Inspection

PROGRAM = Program(
    "easydel-dpo inspect",
    "Looks at preference pairs before they are trained on. The exit status is 0 where nothing is found, 1 where "
    "something of the level of --fail_on is, and 2 for an error.",
    f"easydel-dpo {easydel.__version__}",
    arguments="PAIRS ...",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    harden()
    display = make_display("tqdm")
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *where: display.warn("warning", str(message))
        try:
            config = parse(sys.argv[1:] if argv is None else argv)
            display = make_display(config.progress_bar_type)
            return inspect(config, display)
        except (ConfigError, DataError, WeightsError, OSError) as error:
            display.warn("error", with_notes(error))
            return 2


def parse(words: Sequence[str]) -> InspectConfig:
    """Returns what the words of a command line ask for.

    Raises:
        ConfigError: unknown options, or options that cannot work.
    """
    return make(InspectConfig, parse_arguments(list(_flagged(words)), (InspectConfig,), PROGRAM))


def inspect(config: InspectConfig, display: Display) -> int:
    """Inspects, shows and writes what is found; returns the exit status.

    Raises:
        ConfigError: options that cannot work.
        DataError: pairs of which nothing can be read.
    """
    from easydel.inspect.cleaned import check_new, write_cleaned  # numpy takes longer than all of `--help`
    from easydel.inspect.inspection import inspect_pairs
    from easydel.inspect.page import write_inspect_page
    from easydel.inspect.pairs import open_pairs
    from easydel.inspect.summary import summary

    folder = Path(config.output)
    if not folder.is_dir():
        raise ConfigError(f"output = {config.output!r} is not a folder: name one that exists.")
    if config.write is not None:
        check_new(Path(config.write))
    names, columns = names_of(config.dataset_name), read_columns(config.columns)
    check_configs("dataset_config", config.dataset_config, names)
    pairs = open_pairs(
        names,
        config.dataset_split,
        configs_of(config.dataset_config, names),
        columns=columns,
        max_samples=config.max_samples,
        source_column=config.source_column,
    )
    eval_prompts = dict(_eval_prompts(config))
    with display.work("inspect", unit="rows") as work:
        inspection = inspect_pairs(
            pairs,
            names=names,
            eval_prompts=eval_prompts,
            columns=columns,
            similarity=config.similarity,
            most=config.max_pairs_per_prompt,
            advance=work.advance,
        )
    if config.repo_id or config.processor_repo_id:
        inspection = _with_tokens(config, inspection, (row for row, _ in pairs), display)
    display.event("inspection", inspection.values(), summary(inspection))
    _write(folder / "inspect.json", inspection)
    page = write_inspect_page(folder / "inspect.html", inspection, pairs, columns)
    files = [str(folder / "inspect.json"), str(page)]
    display.event("written", {"files": files}, f"\nwritten     {', '.join(files)}")
    if config.write is not None:
        written = write_cleaned(Path(config.write), pairs, inspection.left_out(config.fail_on))
        display.event("cleaned", {name: str(value) for name, value in written._asdict().items()}, written.text)
    return int(inspection.fails(config.fail_on))


def _with_tokens(
    config: InspectConfig, inspection: "Inspection", rows: Iterable[Any], display: Display
) -> "Inspection":
    """Returns the inspection with what the tokens of the pairs say, or with why no tokenizer can say it."""
    from easydel.data.pair import Limits
    from easydel.data.prepare import TokenizeConfig
    from easydel.inspect.inspection import not_inspected
    from easydel.inspect.tokens import inspect_tokens
    from easydel.scripts.loading import find_model, load_tokenizer

    name, revision = config.processor_repo_id or config.repo_id, config.revision
    try:
        tokenizer: Any = load_tokenizer(find_model(name) if not config.processor_repo_id else name, revision)
        limits = Limits(
            config.max_length, config.max_prompt_length, config.max_completion_length, config.truncation_mode
        )
        tokenizing = TokenizeConfig(
            tokenizer,
            limits,
            cache_directory=config.cache_directory,
            dataset_num_proc=config.dataset_num_proc,
            columns=read_columns(config.columns),
            on_bad_row="skip",
        )
        with display.work("tokenize", unit="rows") as work:
            return inspection.with_tokens(inspect_tokens(rows, tokenizing, inspection.facts.kinds, work.advance))
    except (ConfigError, DataError, WeightsError, OSError) as error:
        return inspection.with_findings([not_inspected(f"the tokens of {name}", with_notes(error), "error")])


def _flagged(words: Sequence[str]) -> Iterator[str]:
    """Yields a command line whose first words, up to the first flag, are given to `--dataset_name`."""
    first = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    if first:
        yield "--dataset_name"
    yield from words


def _eval_prompts(config: InspectConfig) -> Iterator[tuple[str, Any]]:
    """Yields the rows of eval sets and benchmarks by name; what cannot be opened is found when it is read."""
    from easydel.inspect.pairs import Late, open_rows

    sets = eval_names(config.eval_dataset_name or []) if config.eval_dataset_name else {}
    check_configs("eval_dataset_config", config.eval_dataset_config, list(sets.values()))
    configs = configs_of(config.eval_dataset_config, list(sets.values()))
    for (name, dataset), each in zip(sets.items(), configs, strict=True):
        yield name or dataset, open_rows(dataset, config.eval_dataset_split, each)
    for name in names_of(config.benchmarks or []):
        yield name, Late(name)


def _write(file: Path, inspection: "Inspection") -> None:
    import json

    values: Mapping[str, Any] = inspection.values()
    fresh = file.with_name(f".{file.name}.part")
    fresh.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    fresh.replace(file)


if __name__ == "__main__":
    sys.exit(main())
