"""`report.html`: one page about a run, or about several, that opens offline. Templates make it; all text is escaped."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from easydel.trainers.report import tables
from easydel.trainers.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Drawing
from easydel.trainers.report.curves import overlaid, panels_of
from easydel.trainers.report.lengths import lengths_of
from easydel.trainers.report.previews import columns_of, previews_of
from easydel.trainers.report.run import Run, read_run, title
from easydel.trainers.report.scale import share


def write_report(folder: Path) -> Path:
    """Writes `report.html` from the files in a run folder and returns its path; it may be done again at any time.

    Raises:
        DataError: it is not the folder of a run.
    """
    run = read_run(folder)
    changed, rest = tables.settings_of(run)
    return write_page(
        folder / "report.html",
        "report.html",
        title=run.name,
        run=run,
        signs=[(each["sign"], each["step"], each["message"]) for each in run.signs],
        tiles=tables.tiles_of(run),
        panels=panels_of(run),
        evaluations=tables.eval_tables(run),
        answers=tables.answers_of(run.samples),
        datasets=[
            (tables.accounting_of(title(name), counts), columns_of(counts), lengths_of(title(name), counts))
            for name, counts in run.data.items()
        ],
        pairs=[pair for name, counts in run.data.items() for pair in previews_of(title(name), counts)],
        changed=changed,
        rest=rest,
    )


def write_comparison(folders: Sequence[Path], file: Path) -> Path:
    """Writes a page that lays the curves of several runs over one another, and returns its path.

    Raises:
        DataError: one of them is not the folder of a run.
    """
    runs = [read_run(folder) for folder in folders]
    names = labels(runs, folders)
    return write_page(
        file,
        "comparison.html",
        title=" · ".join(names) if len(names) < 4 else f"{len(names)} runs",
        names=names,
        panels=overlaid(runs, names),
        metrics=tables.final_metrics(runs),
        settings=tables.differing(runs),
        answers=_last_answers(runs, names),
    )


def labels(runs: Sequence[Run], folders: Sequence[Path]) -> list[str]:
    """Returns what each of several runs is called: its name, or its folder where two have the same name."""
    times = Counter(run.name for run in runs)
    return [run.name if times[run.name] == 1 else str(folder) for run, folder in zip(runs, folders, strict=True)]


def _last_answers(runs: Sequence[Run], names: Sequence[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Returns the prompts that all runs answered, each with the last answer of every run, by its name."""
    last = [{each.prompt: (each.last or each.first)[1] for each in tables.answers_of(run.samples)} for run in runs]
    common = [prompt for prompt in last[0] if all(prompt in of for of in last)]
    return [(prompt, [(name, of[prompt]) for name, of in zip(names, last, strict=True)]) for prompt in common]


def write_page(file: Path, template: str, **values: Any) -> Path:
    """Writes a page, of a template with values, which appears whole, and returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.part")
    text = environment().get_template(template).render(values)
    try:
        fresh.write_text(text, encoding="utf-8", errors="backslashreplace")
        fresh.replace(file)  # who looks while a run is under way sees the old page or the new one
    finally:
        fresh.unlink(missing_ok=True)  # half of a page
    return file


def environment() -> Environment:
    """Returns the templates of the reports; text that is put into them is escaped."""
    loaded = Environment(
        loader=PackageLoader("easydel.trainers.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loaded.globals |= {
        "box": {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
    }
    loaded.filters |= {"pointed_at": pointed_at, "share": share, "markdown": markdown}
    return loaded


def pointed_at(drawing: Drawing) -> list[dict[str, Any]]:
    """Returns what `hover.js` needs of a drawing."""
    return [
        {"label": each.label, "color": each.color, "at": each.at, "x": each.x, "y": each.y, "values": each.values}
        for each in drawing.shapes
    ]


def markdown(table: tables.Table) -> str:
    """Returns a table as Markdown writes it.

    >>> print(markdown(tables.Table(["metric", "step 0"], [["loss", "a|b"]])))
    | metric | step 0 |
    |---|---|
    | loss | a\\|b |
    """
    rows = [table.heads, ["---"] * len(table.heads), *table.rows]
    lines = ["|".join(["", *(f" {cell} ".replace("|", "\\|") for cell in row), ""]) for row in rows]
    lines[1] = lines[1].replace(" ", "")
    return "\n".join(lines)
