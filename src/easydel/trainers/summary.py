"""What is said about a run: before its first step, and when it is over."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from easydel.data.prepare import Counts
from easydel.models.causal_lm import CausalLM
from easydel.models.quantize import quantization_of
from easydel.models.rows import weight_rows
from easydel.trainers.best import Goal
from easydel.trainers.config import DPOConfig
from easydel.trainers.log import read_metrics
from easydel.trainers.parts import Ending
from easydel.trainers.run_folder import RunFolder
from easydel.trainers.split import split_of, trained_share
from easydel.weights.table import Row

SHOWN = ("loss", "rewards/accuracies", "rewards/margins", "logps/accuracies")
"""The metrics of the closing table."""


def greeting(
    config: DPOConfig,
    model: CausalLM,
    data: Mapping[str, Counts],
    folder: RunFolder,
    *,
    streamed: bool,
    done: int,
    total_steps: int,
    memory: str,
) -> str:
    """Returns what is about to happen: the data as it was read, the steps, where the results will be.

    Args:
        memory: what training needs, see `memory.in_one_line`.
    """
    lines = [f"{config.model_name}: {_model(config, model)}, {_losses(config)}"]
    for name, counts in data.items():
        first = "the first rows of a stream: " if name == "train" and streamed else ""
        lines.append(f"{title(name)}: {first}{counts.summary()}")
    if folder.moved is not None:
        lines.append(f"An earlier run in {folder.path} was moved to {folder.moved}.")
    if config.resume == "auto" and not done:
        lines.append(
            "There is no checkpoint to continue from, so the run starts at its beginning; save_steps makes some."
        )
    asked = config.max_training_steps
    if not streamed and asked is not None and total_steps < asked:
        epochs = f"{config.num_train_epochs} epoch" + ("s" if config.num_train_epochs > 1 else "")
        lines.append(f"max_training_steps = {asked} is not reached: {epochs} (num_train_epochs) end before.")
    lines.append(f"memory: {memory}")
    start = f"continuing after step {done} of" if done else "training for"
    lines.append(f"{start} {total_steps} steps of {config.total_batch_size} pairs, in {folder.path}")
    return "\n".join(lines)


def _model(config: DPOConfig, model: CausalLM) -> str:
    def count(rows: Sequence[Row]) -> int:
        return sum(math.prod(row.shape(model.sizes)) for row in rows)

    packed = quantization_of(model.params)
    words = f"{model.config.model_type} with {count(weight_rows(model.config)):,} weights"
    words += "" if packed is None else f" in {packed}"
    if model.lora is not None:
        return f"{words} and adapters of {count(model.adapter_rows):,}, rank {model.lora.rank}"
    if config.frozen_parameters is not None:
        return f"{words}, {trained_share(split_of(config, model), model):.1%} of them trained"
    return words


def _losses(config: DPOConfig) -> str:
    names = config.to_dict()["loss_type"]
    weighted = zip([names] if isinstance(names, str) else names, config.losses, strict=False)
    return " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, (_, weight) in weighted) + (
        "" if config.rpo_alpha is None else f" + {config.rpo_alpha:g} sft"
    )


def title(name: str) -> str:
    """Returns what people read for `train`, `eval` or `eval_<name>`.

    >>> title("train"), title("eval"), title("eval_hard")
    ('train', 'held out', 'held out, hard')
    """
    if name == "train":
        return name
    return "held out" + (f", {name.removeprefix('eval_')}" if name != "eval" else "")


def facts_of(ending: Ending, goal: Goal | None, folder: Path, *, start: int, total_steps: int) -> dict[str, str]:
    """Returns what a run did, label to text: how far it went, on how much, how long it took, what was best.

    Args:
        ending: what the loop left.
        goal: what was to be best.
        folder: the run folder; the rate is the median of the logged ones, so that compiling does not count.
        start: the step that the run was continued after, or 0.
        total_steps: what the run was to reach.
    """
    progress, rates = (
        ending.progress,
        [e["tokens_per_second"] for e in read_metrics(folder) if "tokens_per_second" in e],
    )
    rate = f", {statistics.median(rates):,.0f} tokens/s once under way" if rates else ""
    since = f" since step {start}" if start else ""
    steps = f"{ending.step:,}" if ending.step == total_steps else f"{ending.step:,} of {total_steps:,}, stopped early"
    found = {
        "steps": steps + (f"; {ending.skipped} skipped, not finite" if ending.skipped else ""),
        "trained on": f"{progress.num_pairs:,} pairs, {progress.num_tokens:,} tokens",
        "time": f"{duration(ending.seconds)}{since}{rate}",
    }
    if goal is not None and ending.best is not None and ending.best.step is not None:
        loaded = "; the model has these weights" if ending.best_is_loaded else ""
        found["best"] = f"{goal.metric} {ending.best.value:.4g} at step {ending.best.step}{loaded}"
    return found


def duration(seconds: float) -> str:
    """Returns a time as people write it.

    >>> duration(3.14), duration(192), duration(7384)
    ('3.1 s', '3 min 12 s', '2 h 03 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def summary(
    metrics: Mapping[str, float],
    facts: Mapping[str, str],
    data: Mapping[str, Counts],
    places: Mapping[str, Path | None],
) -> str:
    """Returns the last metrics as a table, training beside each evaluation, then facts, rows, and where things are.

    Args:
        metrics: of the last logged step and the last evaluation.
        facts: see `facts_of`.
        data: what became of the rows of each dataset: `train`, and the sets that were evaluated on.
        places: what was written, and where; None was not.
    """
    sets = [name for name in data if name != "train"]
    heads = ["training", *("evaluation" if name == "eval" else name.removeprefix("eval_") for name in sets)]
    wide = max(12, *(len(head) + 2 for head in heads))
    rows = [" " * 20 + "".join(f"{head:>{wide}}" for head in heads)]
    for name in SHOWN:
        values = [metrics.get(name), *(metrics.get(f"{each}_{name}") for each in sets)]
        rows.append(f"{name:<20}" + "".join(f"{_number(value):>{wide}}" for value in values))
    below: dict[str, Any] = {**facts, **{f"rows, {title(name)}": counts.summary() for name, counts in data.items()}}
    below |= {what: place for what, place in places.items() if place is not None}
    label = max(12, *(len(what) + 2 for what in below))
    return "\n".join([*rows, "", *(f"{what:<{label}}{text}" for what, text in below.items())])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
