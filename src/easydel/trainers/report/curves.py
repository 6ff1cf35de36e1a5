"""Which curves a report shows, and how the lines of one run, or of several, differ."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from easydel.trainers.report.chart import Drawing, Format, Line, draw
from easydel.trainers.report.run import Run, title
from easydel.trainers.report.scale import number, share


class Metric(NamedTuple):
    """A curve: the name of its metric in `metrics.jsonl`, and what people read."""

    name: str
    label: str
    evaluated: bool = True  # also on eval pairs


class Chart(NamedTuple):
    """A panel: what it shows, in which unit, and what to look for."""

    title: str
    unit: str
    note: str
    metrics: tuple[Metric, ...]
    write: Format = number
    low: float | None = None
    high: float | None = None


class Panel(NamedTuple):
    """A chart with its drawing."""

    chart: Chart
    drawing: Drawing


CHARTS = (
    Chart(
        "Loss",
        "mean over pairs",
        "Starts from a known value where policy and reference are equal (sigmoid: ln 2 = 0.693).",
        (Metric("loss", "train"),),
    ),
    Chart(
        "Reward accuracy",
        "share of pairs",
        "Pairs whose chosen completion has the higher reward; 0 before the first step, where all rewards are equal.",
        (Metric("rewards/accuracies", "train"),),
        share,
        0.0,
        1.0,
    ),
    Chart(
        "Reward margin",
        "nats × beta",
        "Reward of the chosen completion minus that of the rejected one; it should rise.",
        (Metric("rewards/margins", "train"),),
    ),
    Chart(
        "Rewards",
        "nats × beta",
        "beta × (log policy − log reference). Both may fall; the rejected one should fall faster.",
        (Metric("rewards/chosen", "chosen"), Metric("rewards/rejected", "rejected")),
    ),
    Chart(
        "Log-probability",
        "nats per completion",
        "Chosen falling far is a sign of too high a learning rate or too low a beta.",
        (Metric("logps/chosen", "chosen"), Metric("logps/rejected", "rejected")),
    ),
    Chart(
        "Logp accuracy",
        "share of pairs",
        "Pairs whose chosen completion is more likely under the policy than the rejected one, without the reference.",
        (Metric("logps/accuracies", "train"),),
        share,
        0.0,
        1.0,
    ),
    Chart(
        "Gradient norm",
        "global L2 norm",
        "Before clipping. Lasting spikes ask for clip_grad or a lower learning rate.",
        (Metric("grad_norm", "norm", evaluated=False),),
        low=0.0,
    ),
    Chart(
        "Learning rate",
        "per step",
        "As the schedule gave it at the last step of each logged window.",
        (Metric("learning_rate", "rate", evaluated=False),),
        low=0.0,
    ),
    Chart(
        "Throughput",
        "pairs per second",
        "Over the steps since the last logged one, evaluations left out.",
        (Metric("pairs_per_second", "pairs/s", evaluated=False),),
        low=0.0,
    ),
)


def panels_of(run: Run) -> list[Panel]:
    """Returns the charts of a run: what was measured on training pairs and on each eval set, in one drawing.

    Where a chart has several metrics each has a color, else each set has; lines of eval sets are dashed.
    """
    panels = []
    for chart in CHARTS:
        alone = len(chart.metrics) == 1
        lines = (_lines(each, run, each.label, color, alone=alone) for color, each in enumerate(chart.metrics))
        panels += _drawn(chart, lines)
    return panels


def overlaid(runs: Sequence[Run], labels: Sequence[str]) -> list[Panel]:
    """Returns the charts of several runs in one drawing each: one metric to a chart, and a color to a run."""
    panels = []
    for chart in CHARTS:
        for metric in chart.metrics:
            words = chart.title if len(chart.metrics) == 1 else f"{chart.title}: {metric.label}"
            labeled = enumerate(zip(runs, labels, strict=True))
            lines = (_lines(metric, run, label, color) for color, (run, label) in labeled)
            panels += _drawn(chart._replace(title=words, metrics=(metric,)), lines)
    return panels


def _drawn(chart: Chart, lines: Iterable[list[Line]]) -> list[Panel]:
    drawing = draw([*chain(*lines)], write=chart.write, low=chart.low, high=chart.high)
    return [] if drawing is None else [Panel(chart, drawing)]


def _lines(metric: Metric, run: Run, label: str, color: int, *, alone: bool = False) -> list[Line]:
    """Returns a metric of a run on training pairs and on each eval set, all in its color unless it is `alone`."""
    lines = [Line(label, run.points(metric.name), color)]
    for place, name in enumerate(run.sets if metric.evaluated else [], 1):
        words = title(name) if alone else f"{label}, {title(name)}"
        points = run.points(f"{name}_{metric.name}")
        lines.append(Line(words, points, color + place if alone else color, is_eval=True))
    return lines
