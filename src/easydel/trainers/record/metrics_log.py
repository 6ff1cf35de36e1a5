"""Where metrics go while a run is under way: `metrics.jsonl` always, what people or a program see, and trackers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from easydel.display.display import SILENT, Display
from easydel.display.formatting import duration
from easydel.trainers.record.files import append_lines, append_waiting
from easydel.trainers.record.trackers import Trackers

Metrics = Mapping[str, float]


class MetricsLog:
    """Writes each logged step to a run folder, shows it, and hands it to trackers; use it as a context manager.

    Args:
        folder: the run folder; `metrics.jsonl` in it is appended to, by the first of several processes.
        name: shown at the bar.
        total: steps of the whole run; `done` of them lie behind.
        display: what it is shown on.
        trackers: where it is logged besides; they are finished with the log.
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
    ) -> None:
        self._file = folder / "metrics.jsonl"
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
        append_waiting()
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
        append_lines(self._file, [{"step": step} | {name: _plain(value) for name, value in metrics.items()}])
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

    def sign(self, step: int, sign: str) -> None:
        """Hands a warning sign to trackers, as the metric `signs/<name>`."""
        if self._trackers is not None:
            self._trackers.log(step, {f"signs/{sign}": 1.0})

    def say(self, text: str) -> None:
        """Shows a message."""
        self._display.say(text)


def metrics_of(name: str, sets: Sequence[str], metrics: Iterable[str]) -> dict[str, str]:
    """Returns the metrics of one of several eval sets, by their names without the set's.

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
    shown |= {"rewards/margins": ("margin", ".4f"), "logps/accuracies": ("logp accuracy", ".3f")}
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


def _plain(value: float) -> float | int | None:
    """JSON has no NaN: a value that is not finite is written as null."""
    return value if isinstance(value, int) or math.isfinite(value) else None
