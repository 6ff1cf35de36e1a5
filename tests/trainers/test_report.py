"""The report: one page that opens offline and shows what the files of the run hold."""

import json
import re
from html.parser import HTMLParser

import pytest

from easydel.trainers.report import CHARTS, write_report
from easydel.trainers.run_folder import append_samples, write_json

EVIL = "<script>alert('x')</script> & \"quotes\""
VOID = {"meta", "circle", "line", "polyline"}
COUNTS = {"rows": 1234, "kept": 5, "truncated": {}, "dropped": {}, "merged": 0, "identical": 0}


class Page(HTMLParser):
    """The elements of a page with their attributes, its text, and whether every tag is closed in order."""

    def __init__(self, source: str):
        super().__init__()
        self.elements, self.text, self.open = [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def run(tmp_path):
    """A run of three logged steps, the second of which was not finite, and an evaluation."""
    write_json(tmp_path / "data.json", {"train": COUNTS, "eval": COUNTS})
    entries = [
        {"step": 0, "eval_loss": 0.69},
        {"step": 10, "loss": 0.693, "rewards/accuracies": 0.5, "grad_norm": 1.0},
        {"step": 20, "loss": None, "rewards/accuracies": 0.6, "grad_norm": None},
        {"step": 30, "loss": 0.25, "rewards/accuracies": 0.75, "grad_norm": 2.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    for step in (0, 30):
        append_samples(tmp_path, [{"step": step, "prompt": f"{EVIL} 1", "answer": f"{EVIL} at {step}"}])
    return tmp_path


def page_of(folder, title="mine", settings=None, facts=None):
    path = write_report(folder, title, settings or {}, facts or {})
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_from_outside(run):
    page = page_of(run)
    for tag in ("script", "link", "img", "iframe", "object"):
        assert page.all(tag) == []
    for _, attrs in page.elements:
        assert not {"src", "href", "onload", "onclick"} & attrs.keys()
    assert not re.search(r"https?:|//|@import|url\(", (run / "report.html").read_text().replace("</", "<"))


def test_text_from_outside_is_escaped(run):
    page = page_of(run, title=EVIL, settings={EVIL: EVIL}, facts={EVIL: EVIL})
    assert page.all("script") == []
    assert page.text.count(EVIL) == 2 + 2 + 2  # title and heading, settings, facts
    assert {f"{EVIL} 1", f"{EVIL} at 0", f"{EVIL} at 30"} <= set(page.text)


def test_the_curves_are_those_of_the_metrics(run):
    page = page_of(run)
    shown = [attrs["aria-label"] for attrs in page.all("svg")]
    assert shown == ["Loss", "Preference accuracy", "Gradient norm"]  # a chart without values is left out
    # Three accuracies, two losses (one was not finite), two gradient norms; the evaluation is a dot.
    points = [[tuple(map(float, p.split(","))) for p in each["points"].split()] for each in page.all("polyline")]
    assert [len(line) for line in points] == [2, 3, 2]
    assert len(page.all("circle")) == 1
    (x0, y0), (x1, y1), (x2, y2) = points[1]
    assert x1 - x0 == pytest.approx(x2 - x1)  # steps 10, 20, 30
    assert (y0 - y1) / (y0 - y2) == pytest.approx(0.1 / 0.25, abs=0.02)  # up is less in a drawing
    width, height = map(float, page.all("svg")[0]["viewbox"].split()[2:])
    assert all(0 <= x <= width and 0 <= y <= height for line in points for x, y in line)


def test_samples_are_shown_by_step_and_what_lies_between_the_first_and_the_last_is_folded(tmp_path):
    for step, answer in ((0, "first"), (15, "second"), (20, "third"), (30, "last")):
        append_samples(tmp_path, [{"step": step, "prompt": "a", "answer": answer}])
    append_samples(tmp_path, [{"step": 30, "prompt": "only at the end", "answer": "late"}])
    page = page_of(tmp_path)
    text = page.text[page.text.index("Sample answers") :]
    assert text[1:10] == [
        "a",
        "step\xa00",
        "first",
        "2 in between",
        "step\xa015",
        "second",
        "step\xa020",
        "third",
        "step\xa030",
    ]
    assert text[10:14] == ["last", "only at the end", "step\xa030", "late"]
    assert len(page.all("details")) == 1


def test_settings_and_facts_are_tables(run):
    text = page_of(run, settings={"beta": 0.1, "save_steps": None}, facts={"Steps": "30"}).text
    for label, value in (("beta", "0.1"), ("save_steps", "None"), ("Steps", "30")):
        assert text[text.index(label) + 1] == value


def test_a_run_without_metrics_or_samples_has_a_report_too(tmp_path):
    page = page_of(tmp_path)
    assert page.all("svg") == []
    assert "Sample answers" not in page.text


def test_a_metric_that_never_changes_is_drawn(tmp_path):
    entries = [{"step": step, "loss": 0.0, "learning_rate": 1e-6} for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert len(page_of(tmp_path).all("polyline")) == 2


def test_every_held_out_set_has_a_line_and_a_colour_of_its_own(tmp_path):
    write_json(tmp_path / "data.json", dict.fromkeys(("train", "eval_easy", "eval_<b>"), COUNTS))
    entries = [{"step": step, "eval_easy_loss": 0.5 - step / 10, "eval_<b>_loss": 0.6, "loss": 0.7} for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    page = page_of(tmp_path)
    assert len({line["style"] for line in page.all("polyline")}) == 3
    for words in ("train 0.7", "held out, easy 0.3", "held out, <b> 0.6"):
        assert words in page.text


def test_the_rows_of_each_dataset_are_accounted_for_by_cause(tmp_path):
    other = COUNTS | {"truncated": {"max_length": 3}, "dropped": {"too long": 1_000}, "merged": 2}
    write_json(tmp_path / "data.json", {"train": other, "eval": COUNTS})
    text = page_of(tmp_path).text
    text = text[text.index("Data") : text.index("Curves")]
    assert text == [
        *("Data", "train", "held out", "rows", "1,234", "1,234", "kept", "5", "5"),
        *("dropped: too long", "1,000", "0", "truncated: max_length", "3", "0"),
        *("the end of the prompt changes when a completion follows it", "2", "0"),
    ]


def test_a_chart_has_a_colour_for_each_of_its_own_lines():
    assert all(1 <= len(chart.lines) <= 2 for chart in CHARTS)
