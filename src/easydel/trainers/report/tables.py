"""The tables of a report: what became of the rows, what was measured on eval pairs, settings, answers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from easydel.trainers.record.metrics_log import metrics_of
from easydel.trainers.report.run import NAMES, Run, by_prompt, changed, title, when
from easydel.trainers.report.scale import number, share

# Metrics that are a part of one.
_SHARES = ("rewards/accuracies", "logps/accuracies", "mean_token_accuracy")
# Metrics by which runs are compared, the most important first.
_COMPARED = ("loss", "rewards/accuracies", "rewards/margins", "logps/accuracies", "logps/chosen", "logps/rejected")


class Table(NamedTuple):
    """Rows under heads; the first cell of a row is its own head."""

    heads: list[str]
    rows: list[list[str]]


class Tile(NamedTuple):
    """A figure at a glance, with what it was at first, or its unit, beneath."""

    label: str
    value: str
    note: str = ""


class Answers(NamedTuple):
    """A prompt and what was answered to it: (when, answer) at first, at last, and in between."""

    prompt: str
    first: tuple[str, str]
    last: tuple[str, str] | None
    between: list[tuple[str, str]]


class Accounting(NamedTuple):
    """What became of the rows of a dataset: parts of a bar as (kind, share of the rows), and all causes in words."""

    title: str
    parts: list[tuple[str, float]]
    causes: list[tuple[str, str]]


def tiles_of(run: Run) -> list[Tile]:
    """Returns the figures that tell how a run went, on eval pairs where there are any."""
    eval_set = next((name for name in run.sets if run.points(f"{name}_loss")), None)
    prefix, where = (f"{eval_set}_", f", {title(eval_set)}") if eval_set else ("", "")
    found = []
    for name, label in (
        ("loss", "Loss"),
        ("rewards/accuracies", "Reward accuracy"),
        ("rewards/margins", "Reward margin"),
        ("logps/accuracies", "Logp accuracy"),
    ):
        points = run.points(prefix + name)
        if points:
            before = f"was {written(name, points[0][1])}" if len(points) > 1 else ""
            found.append(Tile(label + where, written(name, points[-1][1]), before))
    rates = sorted(value for _, value in run.points("pairs_per_second"))
    if rates:
        found.append(Tile("Throughput", number(rates[len(rates) // 2]), "pairs per second, median"))
    return found


def accounting_of(words: str, counts: Mapping[str, Any]) -> Accounting:
    """Returns what became of the rows of a dataset, by its entry in `data.json`."""
    rows, kept = counts["rows"], counts["kept"]
    # A row may be cut by several limits; then this is an upper bound.
    cut = min(sum(counts["truncated"].values()), kept)
    parts = {"kept whole": kept - cut, "kept, cut": cut, "dropped": rows - kept}
    causes = [("rows", rows), ("kept", kept)]
    causes += [(f"cut: {cause}", count) for cause, count in counts["truncated"].items()]
    causes += [(f"dropped: {cause}", count) for cause, count in counts["dropped"].items()]
    rest = {
        "the end of the prompt changes when a completion follows it": counts["merged"],
        f"tokens of it that are others then, at most (row {counts['most_merged_row']})": counts["most_merged"],
        "chosen and rejected are the same": counts["identical"],
        "tokens of completions that bear no loss": counts["masked"],
        **{f"left out by the chat template: {cause}": count for cause, count in counts["lost"].items()},
    }
    causes += [(cause, count) for cause, count in rest.items() if count]
    return Accounting(
        words,
        [(kind, count / max(rows, 1)) for kind, count in parts.items() if count],
        [(cause, f"{count:,}") for cause, count in causes],
    )


def eval_tables(run: Run) -> list[tuple[str, Table]]:
    """Returns for each eval set its metrics at the first evaluation, the best one, and the last."""
    return [(title(name), table) for name in run.sets if (table := _evaluations(run, name)) is not None]


def _evaluations(run: Run, eval_set: str) -> Table | None:
    entries = {entry["step"]: entry for entry in run.entries if metrics_of(eval_set, run.sets, entry)}
    if not entries:
        return None
    first, last = min(entries), max(entries)
    steps = list(dict.fromkeys(step for step in (first, run.best, last) if step in entries))
    heads = [f"step {step:,}" + (", best" if step == run.best else "") for step in steps]
    rows = [
        [plain, *(written(plain, entries[step].get(name)) for step in steps)]
        for plain, name in metrics_of(eval_set, run.sets, entries[last]).items()
    ]
    return Table(["metric", *heads], rows)


def answers_of(samples: Sequence[Mapping[str, Any]]) -> list[Answers]:
    """Returns each prompt with its answers, the earliest first."""
    found = []
    for prompt, answers in by_prompt(samples).items():
        dated = [(when(sample), sample["answer"].strip()) for sample in answers]
        found.append(Answers(prompt.strip(), dated[0], dated[-1] if len(dated) > 1 else None, dated[1:-1]))
    return found


def settings_of(run: Run) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Returns the settings that were changed, and those that are the default."""
    different = changed(run.settings)
    rest = {name: value for name, value in run.settings.items() if name not in different}
    return _plain(different), _plain(rest)


def _plain(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, in_words(value)) for name, value in values.items()]


def in_words(value: Any) -> str:
    """Returns a setting as it is written in YAML and on the command line.

    >>> in_words(None), in_words(True), in_words(5e-07), in_words(["sigmoid", "sft"])
    ('none', 'true', '5e-07', 'sigmoid, sft')
    """
    if isinstance(value, list):
        return ", ".join(map(in_words, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def written(metric: str, value: float | None) -> str:
    """Returns the value of a metric as people read it.

    >>> written("rewards/accuracies", 0.5), written("loss", 0.25), written("loss", None)
    ('50 %', '0.25', '–')
    """
    if value is None:
        return "–"
    return share(value) if metric in _SHARES else number(value)


def differing(runs: Sequence[Run]) -> list[list[str]]:
    """Returns the settings that runs do not share, each with its value in every run."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in NAMES)
    rows = [[name, *(in_words(run.settings.get(name)) for run in runs)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def final_metrics(runs: Sequence[Run]) -> list[list[str]]:
    """Returns the last value of each metric in `_COMPARED` for every run, eval pairs first, and what the runs did."""
    sets = dict.fromkeys(name for run in runs for name in run.sets)
    names = [f"{name}_{metric}" for name in sets for metric in _COMPARED] + list(_COMPARED)
    rows = []
    for name in names:
        plain = next(metric for metric in _COMPARED if name.endswith(metric))
        values = [run.last(name) for run in runs]
        if any(value is not None for value in values):
            rows.append([name, *(written(plain, value) for value in values)])
    facts = dict.fromkeys(name for run in runs for name in run.facts)
    return rows + [[name, *(run.facts.get(name, "–") for run in runs)] for name in facts]
