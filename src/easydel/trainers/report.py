"""`report.html`: one self-contained page about a run, made from the files in its folder. It opens offline."""

import html
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from easydel.trainers.log import read_metrics
from easydel.trainers.run_folder import read_json, read_samples
from easydel.trainers.samples import by_prompt, when
from easydel.trainers.summary import title

Points = list[tuple[float, float]]


class Chart(NamedTuple):
    """A panel of the report: what it shows, and the metrics drawn in it with their labels."""

    title: str
    note: str
    lines: tuple[tuple[str, str], ...]  # (metric, label)
    held_out: str = ""  # the metric of which there is a line for each set that was evaluated on


CHARTS = (
    Chart(
        "Loss",
        "starts from a known value where policy and reference are equal (sigmoid: ln 2 = 0.693)",
        (("loss", "train"),),
        "loss",
    ),
    Chart(
        "Preference accuracy",
        "part of the pairs whose chosen answer has the higher reward",
        (("rewards/accuracies", "train"),),
        "rewards/accuracies",
    ),
    Chart(
        "Rewards",
        "beta x (log policy - log reference)",
        (("rewards/chosen", "chosen"), ("rewards/rejected", "rejected")),
    ),
    Chart(
        "Reward margin",
        "chosen minus rejected",
        (("rewards/margins", "train"),),
        "rewards/margins",
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
_COLORS = "abcdef"  # of lines, in their order; they repeat where there are more lines

_STYLE = """
:root { --ink: #1d2433; --soft: #667085; --line: #e4e7ec; --a: #2563eb; --b: #e4572e;
  --c: #0f9d76; --d: #9333ea; --e: #b7791f; --f: #0891b2; --paper: #fff; --back: #f6f7f9 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #344054; --a: #6ea8fe; --b: #ff8a65;
    --c: #4fd1a5; --d: #c084fc; --e: #ecc94b; --f: #67e8f9; --paper: #1d2433; --back: #131824 } }
* { box-sizing: border-box } body { margin: 0; padding: 2rem 1rem; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif } main { max-width: 68rem; margin: auto } h1 { font-size: 1.6rem; margin: 0 }
h2 { font-size: 1.1rem; margin: 2rem 0 .7rem } h3 { font-size: .95rem; margin: 0 } p { margin: 0; color: var(--soft) }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)) }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 1rem; min-width: 0 }
.card p { font-size: .8rem } svg { width: 100%; height: auto; display: block; margin-top: .5rem }
svg text { fill: var(--soft); font-size: 10px } .axis { stroke: var(--line) } polyline { fill: none; stroke-width: 1.8 }
circle { stroke: none } .key { font-size: .8rem } .key span { white-space: nowrap } .key i { display: inline-block;
  width: .8em; height: .25em; margin: 0 .4em .2em 0 }
table { border-collapse: collapse; width: 100%; font-size: .85rem } td, th { text-align: left; vertical-align: top;
  padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere }
.scroll { overflow-x: auto } summary { color: var(--soft); font-size: .8rem; cursor: pointer; padding: .35rem 0 }
.answers th { width: 5rem; color: var(--soft); font-weight: normal } .answers { margin-top: .4rem }
pre { white-space: pre-wrap; margin: 0; font: inherit }
"""


def write_report(folder: Path, title: str, settings: Mapping[str, Any], facts: Mapping[str, str]) -> Path:
    """Writes `report.html` from the files in a run folder and returns its path.

    Args:
        folder: the run folder; `data.json`, `metrics.jsonl` and `samples.jsonl` in it are read.
        title: the name of the run.
        settings: the configuration, shown as a table.
        facts: what else is worth knowing at a glance: label to text.
    """
    entries, data = read_metrics(folder), read_json(folder / "data.json")
    sets = [name for name in data if name != "train"]
    charts = "".join(_card(chart, sets, entries) for chart in CHARTS)
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{html.escape(title)}</h1><p>Preference training report</p>"
        f"<h2>At a glance</h2><div class='card'>{_table(facts)}</div>"
        f"{_data(data)}"
        f"<h2>Curves</h2><div class='grid'>{charts}</div>"
        f"{_samples(read_samples(folder))}"
        f"<h2>Settings</h2><div class='card'>{_table(settings)}</div></main></body></html>"
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _card(chart: Chart, sets: Sequence[str], entries: Sequence[Mapping[str, Any]]) -> str:
    series = []
    held_out = [(f"{name}_{chart.held_out}", title(name)) for name in sets if chart.held_out]
    for metric, label in (*chart.lines, *held_out):
        points = [(float(e["step"]), float(e[metric])) for e in entries if e.get(metric) is not None]
        if points:
            series.append((label, points))
    if not series:
        return ""
    key = " &nbsp; ".join(
        f"<span><i style='background:var(--{color})'></i>{html.escape(label)} {points[-1][1]:.4g}</span>"
        for (label, points), color in zip(series, cycle(_COLORS), strict=False)
    )
    return (
        f"<section class='card'><h3>{chart.title}</h3><p>{html.escape(chart.note)}</p>"
        f"{_drawing([points for _, points in series], chart.title)}<div class='key'>{key}</div></section>"
    )


def _drawing(series: Sequence[Points], label: str) -> str:
    """Returns an SVG of some lines; a single point becomes a dot."""
    width, height, left, bottom = 340, 170, 54, 18
    xs, ys = [x for line in series for x, _ in line], [y for line in series for _, y in line]
    low, high, first, last = min(ys), max(ys), min(xs), max(xs)
    spread, span = (high - low) or abs(high) or 1.0, (last - first) or 1.0
    low, high = low - 0.06 * spread, high + 0.06 * spread

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (x - first) / span * (width - left - 6)
        return round(across, 1), round(4 + (high - y) / (high - low) * (height - bottom - 4), 1)

    marks = []
    for line, color in zip(series, cycle(_COLORS), strict=False):
        placed = [place(*point) for point in line]
        if len(placed) == 1:
            marks.append(f"<circle style='fill:var(--{color})' cx='{placed[0][0]}' cy='{placed[0][1]}' r='3'/>")
        else:
            marks.append(
                f"<polyline style='stroke:var(--{color})' points='{' '.join(f'{x},{y}' for x, y in placed)}'/>"
            )
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


def _data(data: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns what became of the rows, by cause; a column for each dataset."""
    if not data:
        return ""
    columns = [_causes(counts) for counts in data.values()]
    causes = dict.fromkeys(cause for column in columns for cause in column)
    head = "".join(f"<th>{html.escape(title(name))}</th>" for name in data)
    body = "".join(
        f"<tr><th>{html.escape(cause)}</th>{''.join(f'<td>{column.get(cause, 0):,}</td>' for column in columns)}</tr>"
        for cause in causes
    )
    return f"<h2>Data</h2><div class='card scroll'><table><tr><th></th>{head}</tr>{body}</table></div>"


def _causes(counts: Mapping[str, Any]) -> dict[str, int]:
    """Returns the numbers of a dataset in `data.json` by what they are called; those that need not be 0 only if not."""
    found = {"rows": counts["rows"], "kept": counts["kept"]}
    found |= {f"dropped: {cause}": count for cause, count in counts["dropped"].items()}
    found |= {f"truncated: {cause}": count for cause, count in counts["truncated"].items()}
    rest = {
        "the end of the prompt changes when a completion follows it": counts["merged"],
        "chosen and rejected are the same": counts["identical"],
    }
    return found | {words: count for words, count in rest.items() if count}


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    """Returns each prompt with its answers, the earliest first; what lies between the first and the last is folded."""
    if not samples:
        return ""
    cards = []
    for prompt, answers in by_prompt(samples).items():
        between = answers[1:-1]
        folded = (
            f"<details><summary>{len(between)} in between</summary>{_answers(between)}</details>" if between else ""
        )
        last = _answers(answers[-1:]) if len(answers) > 1 else ""
        cards.append(
            f"<section class='card'><h3><pre>{html.escape(prompt.strip())}</pre></h3>"
            f"{_answers(answers[:1])}{folded}{last}</section>"
        )
    return f"<h2>Sample answers</h2><div class='grid'>{''.join(cards)}</div>"


def _answers(samples: Sequence[Mapping[str, Any]]) -> str:
    rows = (
        f"<tr><th>{when(sample).replace('step ', 'step&nbsp;')}</th>"
        f"<td><pre>{html.escape(sample['answer'].strip())}</pre></td></tr>"
        for sample in samples
    )
    return f"<table class='answers'>{''.join(rows)}</table>"


def _table(values: Mapping[str, Any]) -> str:
    rows = (f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>" for k, v in values.items())
    return f"<div class='scroll'><table>{''.join(rows)}</table></div>"
