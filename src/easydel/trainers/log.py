"""Where metrics go while a run is under way: `metrics.jsonl` always, what people or a program see, and trackers."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from easydel.display.display import SILENT, Display
from easydel.display.words import duration
from easydel.errors import DataError
from easydel.trainers.trackers import Trackers

Metrics = Mapping[str, float]


class MetricsLog:
    """Writes each logged step to a run folder, shows it, and hands it to trackers; use it as a context manager.

    Args:
        folder: the run folder; `metrics.jsonl` in it is appended to.
        name: shown at the bar.
        total: steps of the whole run; `done` of them lie behind.
        display: what it is shown on.
        trackers: where it is logged besides; they are finished with the log.
        writes: False writes no file.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        total: int,
        done: int = 0,
        display: Display = SILENT,
        trackers: Trackers | None = None,
        writes: bool = True,
    ) -> None:
        self._file: TextIO | None = (folder / "metrics.jsonl").open("a", encoding="utf-8") if writes else None
        self._total = total
        self._trackers = trackers
        self._display = display
        self._work = display.work(name, unit="steps", total=total, done=done, stays=True)

    def __enter__(self) -> Self:
        self._work.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._work.__exit__(kind, error, trace)
        if self._file is not None:
            self._file.close()
        if self._trackers is not None:
            self._trackers.finish(failed=error is not None)

    def advance(self) -> None:
        """Moves the progress bar by one step."""
        self._work.advance()

    def write(self, step: int, metrics: Metrics, *, sets: Sequence[str] = ()) -> None:
        """Records the metrics of a step: one JSON object on a line, `step` first.

        Args:
            step: the updates done.
            metrics: what was measured, by name.
            sets: how the names begin that an evaluation measured, such as `eval`: one line of the terminal each.
        """
        if self._file is not None:
            plain = {"step": step} | {name: _plain(value) for name, value in metrics.items()}
            self._file.write(json.dumps(plain) + "\n")
            self._file.flush()  # what is logged survives a kill
        if self._trackers is not None:
            self._trackers.log(step, metrics)
        place = {"step": step, "total_steps": self._total}
        for name in sets:
            measured = {plain: metrics[each] for plain, each in metrics_of(name, sets, metrics).items()}
            text = f"step {step}/{self._total}  {brief(metrics, f'{name}_')}"
            self._display.event("evaluation", {**place, "set": name, "metrics": measured}, text)
        if not sets:
            left = (self._total - step) * metrics["step_time"] if "step_time" in metrics else None
            text = f"step {step}/{self._total}  {brief(metrics)}" + (f"  {duration(left)} left" if left else "")
            values = {**place, "seconds_left": left, "metrics": metrics}
            self._display.figures("log", values, text, work=self._work, beside=beside_a_bar(metrics))

    def samples(self, step: int, samples: Sequence[Mapping[str, Any]], text: str) -> None:
        """Shows answers to the sample prompts, people `text`, and hands them to trackers."""
        self._display.event("samples", {"step": step, "samples": list(samples)}, text)
        if self._trackers is not None:
            self._trackers.samples(step, samples)

    def say(self, text: str) -> None:
        """Shows a message."""
        self._display.say(text)


def metrics_of(name: str, sets: Sequence[str], metrics: Iterable[str]) -> dict[str, str]:
    """Returns the metrics of one of several held-out sets, by their names without the set's.

    >>> metrics_of("eval_easy", ["eval_easy", "eval_easy_2"], ["eval_easy_loss", "eval_easy_2_loss", "loss"])
    {'loss': 'eval_easy_loss'}
    """
    prefix = f"{name}_"
    others = tuple(f"{other}_" for other in sets if other.startswith(prefix))
    return {
        each.removeprefix(prefix): each for each in metrics if each.startswith(prefix) and not each.startswith(others)
    }


def brief(metrics: Metrics, prefix: str = "") -> str:
    """Returns the few figures that tell whether a run is healthy, on one line.

    >>> brief({"eval_loss": 0.51, "eval_rewards/accuracies": 0.9, "eval_rewards/margins": 0.42, "loss": 3.0}, "eval_")
    'eval_loss 0.5100  accuracy 0.900  margin 0.4200'
    """
    shown = {"loss": (f"{prefix}loss", ".4f"), "rewards/accuracies": ("accuracy", ".3f")}
    shown |= {"rewards/margins": ("margin", ".4f"), "logps/accuracies": ("chosen likelier", ".3f")}
    shown |= {"pairs_per_second": ("pairs/s", ".1f")}
    values = {label: (metrics.get(prefix + name), form) for name, (label, form) in shown.items()}
    return "  ".join(f"{label} {value:{form}}" for label, (value, form) in values.items() if value is not None)


def beside_a_bar(metrics: Metrics) -> str:
    """Returns the same in fewer letters: a terminal of 80 columns has a bar too.

    >>> beside_a_bar({"loss": 0.5134, "rewards/accuracies": 0.9, "rewards/margins": 0.42, "pairs_per_second": 31.4})
    'loss 0.513 acc 0.90 margin 0.42 31 pairs/s'
    """
    shown = {"loss": "loss {:.3f}", "rewards/accuracies": "acc {:.2f}", "rewards/margins": "margin {:.2f}"}
    shown["pairs_per_second"] = "{:.0f} pairs/s" if metrics.get("pairs_per_second", 0.0) >= 10 else "{:.2g} pairs/s"
    return " ".join(form.format(metrics[name]) for name, form in shown.items() if name in metrics)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Returns the logged objects of a run, oldest first.

    Raises:
        DataError: a line that is none, as in `read_lines`.
    """
    return read_lines(folder / "metrics.jsonl", "step and numbers by name", _are_metrics)


def has_step(entry: Mapping[str, Any]) -> bool:
    """Returns whether an object says at which step it was written."""
    return isinstance(entry.get("step"), int)


def read_lines(
    file: Path, holds: str = "a step", fits: Callable[[Mapping[str, Any]], bool] = has_step
) -> list[dict[str, Any]]:
    """Returns the objects in a file of JSON lines, none if there is no file; a line that a kill cut off is left out.

    Raises:
        DataError: a line that is no JSON object, or one that does not fit: it does not hold what it should.
    """
    if not file.exists():
        return []
    # Not splitlines, which also splits at the line separators that a text may hold.
    lines = file.read_bytes().split(b"\n")[:-1]
    return [parsed(line, f"{file}, line {number},", holds, fits) for number, line in enumerate(lines, 1)]


def parsed(text: bytes, place: str, holds: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Returns the JSON object in a text.

    Raises:
        DataError: there is none, or it does not fit; `place` and what it `holds` are named.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not fits(value):
        raise DataError(
            f"{place} is no JSON object with {holds}, so it was damaged or changed since the run wrote it: take it "
            "from a copy, or remove it."
        )
    return value


def _are_metrics(entry: Mapping[str, Any]) -> bool:
    return has_step(entry) and all(value is None or isinstance(value, int | float) for value in entry.values())


def rewind(folder: Path, step: int) -> None:
    """Removes what was written of later steps, so that a resumed run does not write the same steps twice."""
    for name in ("metrics", "samples", "skipped"):
        file = folder / f"{name}.jsonl"
        if file.exists():
            kept = [entry for entry in read_lines(file) if entry["step"] <= step]
            fresh = file.with_suffix(".part")
            fresh.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept), encoding="utf-8")
            fresh.replace(file)  # a kill leaves the old file or the new one


def _plain(value: float) -> float | int | None:
    """JSON has no NaN: a value that is not finite is written as null."""
    return value if isinstance(value, int) or math.isfinite(value) else None
