"""Where metrics go while a run is under way: `metrics.jsonl` always, the terminal, and Weights & Biases when asked."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

Metrics = Mapping[str, float]


class MetricsLog:
    """Writes each logged step to a run folder and to the terminal; use it as a context manager.

    A terminal shows a progress bar; anything else, such as a log file, gets one line per logged step.

    Args:
        folder: the run folder; `metrics.jsonl` in it is appended to.
        name: shown at the bar, and the name of the wandb run.
        total: steps of the whole run; `done` of them lie behind.
        show: False writes nothing to the terminal.
        wandb_config: settings to record with a wandb run; None logs to the files only.
        writes: False writes no file.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        total: int,
        done: int = 0,
        show: bool = True,
        wandb_config: Mapping[str, Any] | None = None,
        writes: bool = True,
    ) -> None:
        # First, so that a warning does not land in the middle of the bar.
        self._wandb = None if wandb_config is None else _start_wandb(folder, name, wandb_config)
        self._file: TextIO | None = (folder / "metrics.jsonl").open("a", encoding="utf-8") if writes else None
        self._total = total
        # disable=None: tqdm itself finds out whether stderr is a terminal.
        self._bar = tqdm(total=total, initial=done, desc=name, unit="step", disable=None if show else True)
        self._show = show

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._file is not None:
            self._file.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if error is None else 1)

    def advance(self) -> None:
        """Moves the progress bar by one step."""
        self._bar.update(1)

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
        if self._wandb is not None:
            self._wandb.log(dict(metrics), step=step)
        for name in sets:
            self.say(f"step {step}/{self._total}  {brief(metrics, f'{name}_')}")
        if not sets and self._bar.disable:
            self.say(f"step {step}/{self._total}  {brief(metrics)}")
        elif not sets:
            self._bar.set_postfix_str(brief(metrics))

    def say(self, text: str) -> None:
        """Prints text without breaking the progress bar, unless the terminal is to be left alone."""
        if self._show:
            tqdm.write(text)


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


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Returns the logged objects of a run, oldest first."""
    return read_lines(folder / "metrics.jsonl")


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Returns the objects in a file of JSON lines, none if there is no file; a line that a kill cut off is left out."""
    if not file.exists():
        return []
    # Not splitlines, which also splits at the line separators that a text may hold.
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


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


def _start_wandb(folder: Path, name: str, config: Mapping[str, Any]) -> Any:
    try:
        import wandb  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        warnings.warn(
            "use_wandb = True, but wandb is not installed: this run is logged to metrics.jsonl only. "
            "Install it with `pip install 'easydel-dpo[wandb]'`.",
            stacklevel=2,
        )
        return None
    return wandb.init(project="easydel-dpo", name=name, dir=str(folder), config=dict(config))
