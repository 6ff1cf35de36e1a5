"""Which curves a report shows, and how the lines of one run, or of several, are told apart."""

from collections.abc import Sequence
from typing import NamedTuple

from easydel.trainers.report.chart import Drawing, Format, Line, draw
from easydel.trainers.report.run import Run, title
from easydel.trainers.report.scale import number, share


class Metric(NamedTuple):
    """A curve: the name of its metric in `metrics.jsonl`, and what people read."""

    name: str
    label: str
    evaluated: bool = True  # also on held-out pairs


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
        "Pairs whose chosen answer has the higher reward. It is 0 before the first step, where all rewards are equal.",
        (Metric("rewards/accuracies", "train"),),
        share,
        0.0,
        1.0,
    ),
    Chart(
        "Reward margin",
        "nats × beta",
        "Reward of the chosen answer minus that of the rejected one; it should rise.",
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
        "nats per answer",
        "Chosen falling far is a sign of too high a learning rate or too low a beta.",
        (Metric("logps/chosen", "chosen"), Metric("logps/rejected", "rejected")),
    ),
    Chart(
        "Chosen likelier than rejected",
        "share of pairs",
        "Pairs whose chosen answer the model itself finds likelier, without the reference.",
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
    """Returns the charts of a run: what was measured on training pairs and on each held-out set, in one drawing.

    Where a chart has several metrics the colour tells them apart, else the sets; what was held out is dashed.
    """
    return _drawn([(chart, _lines(chart, run)) for chart in CHARTS])


def overlaid(runs: Sequence[Run], labels: Sequence[str]) -> list[Panel]:
    """Returns the charts of several runs in one drawing each: one metric to a chart, and a colour to a run."""
    return _drawn(
        [
            (_of_one_metric(chart, metric), _lines_of_runs(metric, runs, labels))
            for chart in CHARTS
            for metric in chart.metrics
        ]
    )


def _drawn(charts: Sequence[tuple[Chart, list[Line]]]) -> list[Panel]:
    drawn = [(chart, draw(lines, write=chart.write, low=chart.low, high=chart.high)) for chart, lines in charts]
    return [Panel(chart, drawing) for chart, drawing in drawn if drawing is not None]


def _lines(chart: Chart, run: Run) -> list[Line]:
    alone = len(chart.metrics) == 1
    lines = []
    for color, metric in enumerate(chart.metrics):
        lines.append(Line(metric.label, run.points(metric.name), color))
        lines += [
            Line(
                title(name) if alone else f"{metric.label}, {title(name)}",
                run.points(f"{name}_{metric.name}"),
                1 + place if alone else color,
                held_out=True,
            )
            for place, name in enumerate(run.sets if metric.evaluated else [])
        ]
    return lines


def _of_one_metric(chart: Chart, metric: Metric) -> Chart:
    words = chart.title if len(chart.metrics) == 1 else f"{chart.title}: {metric.label}"
    return chart._replace(title=words, metrics=(metric,))


def _lines_of_runs(metric: Metric, runs: Sequence[Run], labels: Sequence[str]) -> list[Line]:
    lines = []
    for color, (run, label) in enumerate(zip(runs, labels, strict=True)):
        lines.append(Line(label, run.points(metric.name), color))
        lines += [
            Line(f"{label}, {title(name)}", run.points(f"{name}_{metric.name}"), color, held_out=True)
            for name in (run.sets if metric.evaluated else [])
        ]
    return lines
