"""The summary of a run that is over, for people, for a program and in its report."""

import statistics
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

import easydel
from easydel.data.counts import Counts
from easydel.display.formatting import duration, labeled
from easydel.errors import DataError
from easydel.models.causal_lm import CausalLM
from easydel.processes import is_first
from easydel.trainers.early_stopping import BestMetric
from easydel.trainers.loop_context import LoopResult
from easydel.trainers.record.files import read_metrics, read_signs, write_json
from easydel.trainers.record.unwritten import spared, unwritten
from easydel.trainers.report.page import write_report
from easydel.trainers.report.run import title

SHOWN = ("loss", "rewards/accuracies", "rewards/margins", "logps/accuracies")
"""The metrics of the closing table."""


def facts_of(
    result: LoopResult, wanted: BestMetric | None, folder: Path, *, start: int, total_steps: int
) -> dict[str, str]:
    """Returns what a run did, label to text: how far it went, on how much, how long it took, what was best.

    Args:
        result: what the loop left.
        wanted: what the best checkpoint was chosen by.
        folder: the run folder; the rate is the median of the logged ones, so that compiling does not count.
        start: the step that the run was continued after, or 0.
        total_steps: what the run was to reach.
    """
    progress = result.progress
    rates = []
    with suppress(OSError, DataError):  # a log that cannot be read costs no model
        rates = [e["tokens_per_second"] for e in read_metrics(folder) if "tokens_per_second" in e]
    rate = f", {statistics.median(rates):,.0f} tokens/s once under way" if rates else ""
    since = f" since step {start}" if start else ""
    steps = f"{result.step:,}" if result.step == total_steps else f"{result.step:,} of {total_steps:,}, stopped early"
    found = {
        "steps": steps + (f"; {result.skipped} skipped, not finite" if result.skipped else ""),
        "trained on": f"{progress.num_pairs:,} pairs, {progress.num_tokens:,} tokens",
        "time": f"{duration(result.seconds)}{since}{rate}",
    }
    if wanted is not None and result.best is not None and result.best.step is not None:
        loaded = "; the model has these weights" if result.best_is_loaded else ""
        found["best"] = f"{wanted.metric} {result.best.value:.4g} at step {result.best.step}{loaded}"
    with suppress(OSError, DataError):
        if signs := read_signs(folder):
            found["warning signs"] = ", ".join(f"{entry['sign']} at step {entry['step']}" for entry in signs)
    return found


def closing_values(
    result: LoopResult, data: Mapping[str, Counts], places: Mapping[str, Path | str | None], *, total_steps: int
) -> dict[str, Any]:
    """Returns the last event for a program, see docs/terminal.md."""
    best = result.best
    return {
        "steps": result.step,
        "total_steps": total_steps,
        "skipped_steps": result.skipped,
        "pairs": result.progress.num_pairs,
        "tokens": result.progress.num_tokens,
        "seconds": result.seconds,
        "metrics": result.metrics,
        "best_step": None if best is None else best.step,
        "best_metric": None if best is None or best.step is None else best.value,
        "data": {name: counts.values() for name, counts in data.items()},
        "places": {
            what: place.absolute() if isinstance(place, Path) else place
            for what, place in places.items()
            if place is not None
        },
        "not_written": unwritten(),
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
    heads = ["train", *("eval" if name == "eval" else name.removeprefix("eval_") for name in sets)]
    wide = max(12, *(len(head) + 2 for head in heads))
    rows = [" " * 20 + "".join(f"{head:>{wide}}" for head in heads)]
    for name in SHOWN:
        values = [metrics.get(name), *(metrics.get(f"{each}_{name}") for each in sets)]
        rows.append(f"{name:<20}" + "".join(f"{_number(value):>{wide}}" for value in values))
    below: dict[str, Any] = {**facts, **{f"rows, {title(name)}": counts.summary() for name, counts in data.items()}}
    below |= {what: place for what, place in places.items() if place is not None}
    below |= _not_written()
    return "\n".join([*rows, "", labeled(below)])


def _not_written() -> dict[str, str]:
    return {"not written": ", ".join(unwritten())} if unwritten() else {}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def write_run_report(run: Path, model: CausalLM, facts: Mapping[str, str]) -> Path | None:
    """Writes `run.json`, what a run was made of and did, and `report.html`, whose path is returned.

    Where it cannot be written a warning says so. Of several processes the first one writes, and the others return None.
    """
    if not is_first():
        return None
    devices = model.decoder.mesh.devices
    made = f"easydel-dpo {easydel.__version__}, jax {jax.__version__}, {devices.size} x {devices.flat[0].device_kind}"
    write_json(run / "run.json", {"model": model.origin.name, **facts, **_not_written(), "made with": made})
    hint = f"`easydel-dpo report {run}` makes it once it can be."
    with spared(run / "report.html", hint, Exception):  # whatever it is, the model comes after it
        return write_report(run)
    return None
