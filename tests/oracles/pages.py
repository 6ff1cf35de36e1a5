"""Run folders with known files, and pages taken apart, for the tests of reports."""

import json
from html.parser import HTMLParser
from pathlib import Path

from easydel.data.counts import Counts
from easydel.trainers.config import DPOConfig
from easydel.trainers.record.files import append_samples, write_json
from easydel.trainers.report.page import write_report

EVIL = "</script><script>alert('x')</script> & \"quotes\" {{ 7 * 6 }}"
COUNTS = Counts(1234, 5, {}, {}, 0, 0).values() | {"weights": [1.0, 1.0], "margins": [0.0, 0.0], "lost": {}}
COUNTS |= {"previews": [], "columns": {"rows": 1234, "read": {}, "ignored": {}, "stands_for": {}}}
_BARS = {"width": 2, "counts": [0, 3, 2], "mean": 3.4, "median": 3, "longest": 5}
LENGTHS = {"lengths": dict.fromkeys(("prompt", "chosen", "rejected"), _BARS)}
ENTRIES = (
    {"step": 0, "eval_loss": 0.69, "eval_rewards/accuracies": 0.0},
    {"step": 10, "loss": 0.693, "rewards/accuracies": 0.5, "grad_norm": 1.0, "pairs_per_second": 8.0},
    {"step": 20, "loss": None, "rewards/accuracies": 0.6, "grad_norm": None, "pairs_per_second": 10.0},
    {"step": 30, "loss": 0.25, "rewards/accuracies": 0.75, "grad_norm": 2.0, "pairs_per_second": 9.0},
    {"step": 30, "eval_loss": 0.31, "eval_rewards/accuracies": 0.9},
)
_VOID = {"meta", "link", "circle", "line", "path", "br"}


def write_run(folder: Path, name: str = "mine", *, entries=ENTRIES, data=None, **settings) -> Path:
    """Writes the files of a run, named `name`, into a folder, and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    DPOConfig(model_name=name, **settings).to_yaml(folder / "config.yaml")
    write_json(folder / "data.json", {"train": COUNTS | LENGTHS, "eval": COUNTS} if data is None else data)
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    return folder


def write_answers(folder: Path, prompt: str, *answers: tuple[int, str]) -> None:
    """Adds the answers to a prompt, by step, to the samples of a run."""
    append_samples(folder, [{"step": step, "prompt": prompt, "answer": answer} for step, answer in answers])


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text; every tag is closed in order."""

    def __init__(self, file: Path):
        super().__init__()
        self.elements, self.text, self._open = [], [], []
        self.feed(file.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self._open[-1] not in ("script", "style"):
            self.text.append(data.strip())

    def all(self, tag):
        """Returns the attributes of all elements of a kind."""
        return [attrs for name, attrs in self.elements if name == tag]

    def after(self, text, count=1):
        """Returns the texts that follow one."""
        at = self.text.index(text) + 1
        return self.text[at : at + count]


def page_of(folder: Path) -> Page:
    """Returns the page that is written into the folder of a run."""
    path = write_report(folder)
    assert path == folder / "report.html"
    return Page(path)
