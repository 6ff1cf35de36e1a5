"""Measures a model on the tasks of lm-eval: `python -m easydel.scripts.evaluate --repo_id model --tasks hellaswag`."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import easydel
from easydel.display.streams import harden
from easydel.errors import ConfigError, DataError, WeightsError, nearest
from easydel.scripts.arguments import make, parse_arguments
from easydel.scripts.flags import Program
from easydel.scripts.loading import axis_dims, find_model, load_tokenizer
from easydel.trainers.options.fields import option
from easydel.trainers.options.values import check_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """The model, the tasks, and how they are run."""

    repo_id: str = option("", "model: a folder or a hub name", group="model")
    revision: str | None = option(None, "branch, tag or commit of repo_id on the hub")
    dtype: Literal["float32", "bfloat16", "float16"] = option("float32", "dtype of the computation and the weights")
    sharding_axis: str = option("1,-1,1,1,1", "devices along dp,fsdp,ep,tp,sp; -1 takes what is left")

    tasks: list[str] | None = option(None, "names of tasks of lm-eval, such as hellaswag", group="tasks")
    include_path: str | None = option(None, "folder with tasks of your own, as YAML files")
    num_fewshot: int | None = option(None, "few-shot examples before each question (default: the task's)", at_least=0)
    limit: int | None = option(None, "max questions of each task (default: no limit)", at_least=1)
    apply_chat_template: bool = option(False, "render questions with the model's chat template")
    batch_size: int = option(8, "rows per batch", at_least=1)
    max_length: int | None = option(None, "max tokens of a row (default: max_position_embeddings)", at_least=2)
    output: str | None = option(None, "JSON file for the results (default: only printed)")

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("repo_id", "tasks"):
            if not getattr(self, name):
                raise ConfigError(f"--{name} is required: name a model (--repo_id) and the tasks to run (--tasks).")
        axis_dims(self.sharding_axis)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status, 2 for an error that the user can fix."""
    harden()  # the table has characters such as ±
    try:
        values = parse_arguments(
            sys.argv[1:] if argv is None else argv,
            (EvaluationConfig,),
            Program(
                "python -m easydel.scripts.evaluate",
                "Measures a model on the tasks of lm-eval.",
                f"easydel-dpo {easydel.__version__}",
            ),
        )
        evaluate(make(EvaluationConfig, values))
    except (ConfigError, DataError, WeightsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def evaluate(config: EvaluationConfig) -> dict[str, dict[str, float]]:
    """Returns the metrics of each task, prints them as a table, and writes them to `config.output`.

    Raises:
        ConfigError: lm-eval is not installed, a task is unknown, or the results could not be written.
    """
    if config.output is not None:
        _check_file(Path(config.output))
    try:
        import lm_eval  # pyright: ignore[reportMissingImports]  # an extra
        from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]
        from lm_eval.utils import make_table  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError("lm-eval is not installed: `pip install '.[eval]'` in a checkout.") from None
    manager = TaskManager(include_path=config.include_path)
    for task in config.tasks or ():
        if task not in manager.all_tasks:
            raise ConfigError(f"unknown lm-eval task {task!r}.{nearest(task, manager.all_tasks)}")
    place = find_model(config.repo_id)
    from easydel.scripts.harness import HarnessLM

    tokenizer = load_tokenizer(place, config.revision)
    model = easydel.AutoEasyDeLModelForCausalLM.from_pretrained(
        place,
        dtype=config.dtype,
        param_dtype=config.dtype,
        sharding_axis_dims=axis_dims(config.sharding_axis),
        revision=config.revision,
    )
    found = lm_eval.simple_evaluate(
        model=HarnessLM(model, tokenizer, batch_size=config.batch_size, max_length=config.max_length),
        tasks=config.tasks,
        num_fewshot=config.num_fewshot,
        limit=config.limit,
        apply_chat_template=config.apply_chat_template,
        task_manager=manager,
        bootstrap_iters=0 if config.limit == 1 else 1000,
    )
    print(make_table(found))
    if config.output is not None:
        write_results(Path(config.output), found["results"])
    return found["results"]


def write_results(file: Path, results: Mapping[str, Any]) -> None:
    """Writes the results of lm-eval, which hold numbers of numpy, as JSON."""
    import numpy as np

    file.write_text(json.dumps(results, indent=2, default=np.generic.item) + "\n", encoding="utf-8")


def _check_file(file: Path) -> None:
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ConfigError(
            f"--output {file} cannot be written: it is a folder, or its parent folder is missing or not writable. Name "
            "a file in an existing folder."
        )


if __name__ == "__main__":
    sys.exit(main())
