"""What is said about a run when it is over."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from easydel.data.counts import Counts
from easydel.display.words import duration, labelled
from easydel.trainers.best import Goal
from easydel.trainers.log import read_metrics
from easydel.trainers.parts import Ending
from easydel.trainers.report.run import title

SHOWN = ("loss", "rewards/accuracies", "rewards/margins", "logps/accuracies")
"""The metrics of the closing table."""


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


def closing_values(
    ending: Ending, data: Mapping[str, Counts], places: Mapping[str, Path | str | None], *, total_steps: int
) -> dict[str, Any]:
    """Returns what a program is told at the end, see docs/terminal.md."""
    best = ending.best
    return {
        "steps": ending.step,
        "total_steps": total_steps,
        "skipped_steps": ending.skipped,
        "pairs": ending.progress.num_pairs,
        "tokens": ending.progress.num_tokens,
        "seconds": ending.seconds,
        "metrics": ending.metrics,
        "best_step": None if best is None else best.step,
        "best_metric": None if best is None or best.step is None else best.value,
        "data": {name: counts.values() for name, counts in data.items()},
        "places": {
            what: place.absolute() if isinstance(place, Path) else place
            for what, place in places.items()
            if place is not None
        },
    }


def summary(
    metrics: Mapping[str, float],
    facts: Mapping[str, str],
    data: Mapping[str, Counts],
    places: Mapping[str, Path | str | None],
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
    return "\n".join([*rows, "", labelled(below)])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
