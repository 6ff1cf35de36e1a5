"""Makes the plots of docs/curves.md: trains the quick start's model well and in three bad ways, and draws the logs.

python scripts/curves.py               trains, a few minutes, and draws
python scripts/curves.py --draw RUNS   draws the runs in a folder again
"""

import argparse
import html
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import easydel as ed
from easydel import quickstart
from easydel.data.source import load_rows
from easydel.scripts.finetune.command_line import QUICK_START
from easydel.scripts.loading import load_tokenizer
from easydel.trainers.record.files import read_metrics

IMAGES = Path(__file__).parents[1] / "docs" / "images"
Points = list[tuple[float, float]]
Row = dict[str, Any]

OFTEN = {"log_steps": 3, "evaluation_steps": 15, "generation_prompts": 40, "generation_interval": 15}
RUNS: dict[str, dict[str, Any]] = {
    "healthy": {},
    "rate": {"learning_rate": 1e-2},
    "beta": {"beta": 0.01, "learning_rate": 1e-3},
    "same-rate": {"learning_rate": 1e-3},
    "length": {"loss_type": "sigmoid", "learning_rate": 3e-4},
    "length-norm": {"loss_type": "sigmoid_norm", "beta": 5.0, "learning_rate": 3e-4},
}


class Panel(NamedTuple):
    """One plot: its title, and what it takes from the files of a run, as lines of a style each."""

    title: str
    lines: tuple[tuple[str, str], ...]  # (metric, dash pattern of SVG)


PANELS = (
    Panel("loss", (("loss", ""),)),
    Panel("reward margin", (("rewards/margins", ""),)),
    Panel("log-prob: chosen —, rejected - -", (("logps/chosen", ""), ("logps/rejected", "4 3"))),
    Panel("eval: logp accuracy", (("eval_logps/accuracies", ""),)),
)
LENGTHS = (
    Panel("training accuracy", (("rewards/accuracies", ""),)),
    Panel("reward margin", (("rewards/margins", ""),)),
    Panel("words per answer to 40 prompts", (("words", ""),)),
)
FIGURES = (
    ("healthy", PANELS, {"healthy": "healthy"}),
    ("rate", PANELS, {"healthy": "healthy, 1e-4", "rate": "learning rate 1e-2"}),
    ("beta", PANELS, {"same-rate": "beta 0.3, learning rate 1e-3", "beta": "beta 0.01, the same rate"}),
    (
        "length",
        LENGTHS,
        {"healthy": "healthy pairs", "length": "longer preferred, sigmoid", "length-norm": "the same, sigmoid_norm"},
    ),
)


def longer_preferred(rows: Iterable[Row]) -> list[Row]:
    """Returns pairs in which the longer answer is the chosen one, whatever it says."""
    sides = ("chosen", "rejected")
    made = []
    for row in rows:
        longer, shorter = sorted((row[side] for side in sides), key=len, reverse=True)
        made.append({**row, "chosen": longer, "rejected": shorter})
    return made


def train(name: str, settings: dict[str, Any], folder: Path) -> None:
    change: Callable[[Iterable[Row]], Any] = longer_preferred if name.startswith("length") else list
    model = str(quickstart.model_folder())
    config = ed.DPOConfig(
        **{**QUICK_START, **OFTEN, **settings, "model_name": name, "save_directory": str(folder)},
        do_last_save=False,
    )
    ed.DPOTrainer(
        arguments=config,
        model=ed.AutoEasyDeLModelForCausalLM.from_pretrained(model, dtype="float32"),
        processing_class=load_tokenizer(model, None),
        train_dataset=change(load_rows(str(quickstart.train_file()))),
        eval_dataset=change(load_rows(str(quickstart.eval_file()))),
    ).train()


def points(run: Path, metric: str) -> Points:
    """Returns (step, value) of a metric; `words` is the mean length of the sample answers."""
    if metric != "words":
        return [(entry["step"], entry[metric]) for entry in read_metrics(run) if entry.get(metric) is not None]
    lengths: dict[int, list[int]] = {}
    for line in (run / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        sample = json.loads(line)
        lengths.setdefault(sample["step"], []).append(len(sample["answer"].split()))
    return [(step, sum(counts) / len(counts)) for step, counts in sorted(lengths.items())]


WIDE, HIGH, LEFT, TOP, GAP = 180, 120, 40, 30, 60
COLORS = ("#2563eb", "#e4572e", "#0f9d76")


def draw(panels: Sequence[Panel], runs: dict[str, str], folder: Path) -> str:
    """Returns an SVG with a panel beside the other and a line in each for every run."""
    width = len(panels) * (WIDE + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HIGH + TOP + 45}" '
        'font-family="sans-serif" font-size="10">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for at, panel in enumerate(panels):
        parts += _panel(panel, [folder / run for run in runs], LEFT + at * (WIDE + GAP))
    for at, (label, color) in enumerate(zip(runs.values(), COLORS, strict=False)):
        x, y = LEFT + at * 220, HIGH + TOP + 35
        parts.append(f'<path d="M{x} {y - 3}h18" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 24}" y="{y}" fill="#1d2433">{html.escape(label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, runs: Sequence[Path], left: int) -> list[str]:
    lines = [
        (points(run, metric), dash, color)
        for run, color in zip(runs, COLORS, strict=False)
        for metric, dash in panel.lines
    ]
    every = [point for line, _, _ in lines for point in line]
    last, low, high = max(x for x, _ in every), min(y for _, y in every), max(y for _, y in every)
    span = (high - low) or 1.0

    def place(point: tuple[float, float]) -> str:
        return f"{left + point[0] / last * WIDE:.1f},{TOP + HIGH - (point[1] - low) / span * HIGH:.1f}"

    return [
        f'<text x="{left}" y="{TOP - 12}" fill="#1d2433" font-size="11">{html.escape(panel.title)}</text>',
        f'<path d="M{left} {TOP}v{HIGH}h{WIDE}" fill="none" stroke="#98a2b3"/>',
        *(
            f'<text x="{left - 4}" y="{y}" fill="#667085" text-anchor="end">{value:.3g}</text>'
            for y, value in ((TOP + 8, high), (TOP + HIGH, low))
        ),
        f'<text x="{left + WIDE}" y="{TOP + HIGH + 13}" fill="#667085" text-anchor="end">step {last:g}</text>',
        *(
            f'<polyline points="{" ".join(map(place, line))}" fill="none" stroke="{color}" '
            f'stroke-width="1.6" stroke-dasharray="{dash}"/>'
            for line, dash, color in lines
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=Path, help="folder of runs that were trained before")
    parser.add_argument("--runs", type=Path, default=Path("dpo_runs/curves"), help="where to train")
    options = parser.parse_args()
    folder = options.draw or options.runs
    if options.draw is None:
        for name, settings in RUNS.items():
            train(name, settings, folder)
    IMAGES.mkdir(exist_ok=True)
    for name, panels, runs in FIGURES:
        (IMAGES / f"{name}.svg").write_text(draw(panels, runs, folder), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
