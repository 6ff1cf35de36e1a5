"""`report.html`: one self-contained page about a run, made from the files in its folder. It opens offline."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from easydel.trainers.log import read_metrics
from easydel.trainers.run_folder import read_samples

Points = list[tuple[float, float]]


class Chart(NamedTuple):
    """A panel of the report: what it shows, and the metrics drawn in it with their labels."""

    title: str
    note: str
    lines: tuple[tuple[str, str], ...]  # (metric, label)


CHARTS = (
    Chart(
        "Loss",
        "falls from its value at equal weights (sigmoid: ln 2 = 0.693)",
        (("loss", "train"), ("eval_loss", "held out")),
    ),
    Chart(
        "Preference accuracy",
        "part of the pairs whose chosen answer has the higher reward",
        (("rewards/accuracies", "train"), ("eval_rewards/accuracies", "held out")),
    ),
    Chart(
        "Rewards",
        "beta x (log policy - log reference)",
        (("rewards/chosen", "chosen"), ("rewards/rejected", "rejected")),
    ),
    Chart(
        "Reward margin",
        "chosen minus rejected",
        (("rewards/margins", "train"), ("eval_rewards/margins", "held out")),
    ),
    Chart(
        "Log-probability of the answers",
        "both may fall; chosen falling far is a sign of too high a learning rate",
        (("logps/chosen", "chosen"), ("logps/rejected", "rejected")),
    ),
    Chart("Gradient norm", "before clipping", (("grad_norm", "norm"),)),
    Chart("Learning rate", "", (("learning_rate", "rate"),)),
    Chart("Throughput", "pairs per second", (("pairs_per_second", "pairs/s"),)),
)

_STYLE = """
:root { --ink: #1d2433; --soft: #667085; --line: #e4e7ec; --a: #2563eb; --b: #e4572e; --paper: #fff; --back: #f6f7f9 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #344054; --a: #6ea8fe; --b: #ff8a65; --paper: #1d2433;
    --back: #131824 } }
* { box-sizing: border-box } body { margin: 0; padding: 2rem 1rem; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif } main { max-width: 68rem; margin: auto } h1 { font-size: 1.6rem; margin: 0 }
h2 { font-size: 1.1rem; margin: 2rem 0 .7rem } h3 { font-size: .95rem; margin: 0 } p { margin: 0; color: var(--soft) }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)) }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 1rem; min-width: 0 }
.card p { font-size: .8rem } svg { width: 100%; height: auto; display: block; margin-top: .5rem }
svg text { fill: var(--soft); font-size: 10px } .axis { stroke: var(--line) } polyline { fill: none; stroke-width: 1.8 }
.a { stroke: var(--a) } .b { stroke: var(--b) } circle.a { fill: var(--a) } circle.b { fill: var(--b) }
.key { font-size: .8rem } .key i { display: inline-block; width: .8em; height: .25em; margin: 0 .4em .2em 0 }
table { border-collapse: collapse; width: 100%; font-size: .85rem } td, th { text-align: left; vertical-align: top;
  padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere }
.scroll { overflow-x: auto }
pre { white-space: pre-wrap; margin: 0; font: inherit }
"""


def write_report(folder: Path, title: str, settings: Mapping[str, Any], facts: Mapping[str, str]) -> Path:
    """Writes `report.html` from the metrics and samples in a run folder and returns its path.

    Args:
        folder: the run folder; `metrics.jsonl` and `samples.jsonl` in it are read.
        title: the name of the run.
        settings: the configuration, shown as a table.
        facts: what else is worth knowing at a glance: label to text.
    """
    entries = read_metrics(folder)
    charts = "".join(_card(chart, entries) for chart in CHARTS)
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{html.escape(title)}</h1><p>Preference training report</p>"
        f"<h2>At a glance</h2><div class='card'>{_table(facts)}</div>"
        f"<h2>Curves</h2><div class='grid'>{charts}</div>"
        f"{_samples(read_samples(folder))}"
        f"<h2>Settings</h2><div class='card'>{_table(settings)}</div></main></body></html>"
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _card(chart: Chart, entries: Sequence[Mapping[str, Any]]) -> str:
    series = []
    for metric, label in chart.lines:
        points = [(float(e["step"]), float(e[metric])) for e in entries if e.get(metric) is not None]
        if points:
            series.append((label, points))
    if not series:
        return ""
    key = " &nbsp; ".join(
        f"<i style='background:var(--{color})'></i>{label} {points[-1][1]:.4g}"
        for (label, points), color in zip(series, "ab", strict=False)
    )
    return (
        f"<section class='card'><h3>{chart.title}</h3><p>{html.escape(chart.note)}</p>"
        f"{_drawing([points for _, points in series], chart.title)}<div class='key'>{key}</div></section>"
    )


def _drawing(series: Sequence[Points], label: str) -> str:
    """Returns an SVG of up to two lines; a single point becomes a dot."""
    width, height, left, bottom = 340, 170, 54, 18
    xs, ys = [x for line in series for x, _ in line], [y for line in series for _, y in line]
    low, high, first, last = min(ys), max(ys), min(xs), max(xs)
    spread, span = (high - low) or abs(high) or 1.0, (last - first) or 1.0
    low, high = low - 0.06 * spread, high + 0.06 * spread

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (x - first) / span * (width - left - 6)
        return round(across, 1), round(4 + (high - y) / (high - low) * (height - bottom - 4), 1)

    marks = []
    for line, color in zip(series, "ab", strict=False):
        placed = [place(*point) for point in line]
        if len(placed) == 1:
            marks.append(f"<circle class='{color}' cx='{placed[0][0]}' cy='{placed[0][1]}' r='3'/>")
        else:
            marks.append(f"<polyline class='{color}' points='{' '.join(f'{x},{y}' for x, y in placed)}'/>")
    ticks = []
    for part in (0.0, 0.5, 1.0):
        value = low + part * (high - low)
        y = place(first, value)[1]
        ticks.append(f"<line class='axis' x1='{left}' x2='{width}' y1='{y}' y2='{y}'/>")
        ticks.append(
            f"<text x='{left - 5}' y='{min(max(y + 3, 9), height - bottom)}' text-anchor='end'>{value:.3g}</text>"
        )
    ticks.append(f"<text x='{left}' y='{height - 4}'>{first:g}</text>")
    ticks.append(f"<text x='{width}' y='{height - 4}' text-anchor='end'>step {last:g}</text>")
    return (
        f"<svg viewBox='0 0 {width} {height}' role='img' aria-label='{html.escape(label)}'>"
        f"{''.join(ticks)}{''.join(marks)}</svg>"
    )


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    if not samples:
        return ""
    first, last = samples[0]["step"], samples[-1]["step"]
    answers = {(sample["prompt"], sample["step"]): sample["answer"] for sample in samples}
    prompts = dict.fromkeys(sample["prompt"] for sample in samples)
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td><pre>{html.escape(text.strip())}</pre></td>"
            for text in (prompt, answers.get((prompt, first), ""), answers.get((prompt, last), ""))
        )
        + "</tr>"
        for prompt in prompts
    )
    head = f"<tr><th>Prompt</th><th>Step {first}</th><th>Step {last}</th></tr>"
    return f"<h2>Sample answers</h2><div class='card scroll'><table>{head}{rows}</table></div>"


def _table(values: Mapping[str, Any]) -> str:
    rows = (f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>" for k, v in values.items())
    return f"<div class='scroll'><table>{''.join(rows)}</table></div>"
