"""The report: one page that opens offline and shows what the files of a run hold."""

import re

import pytest

from easydel.errors import DataError
from easydel.trainers.record.files import write_json
from easydel.trainers.report.page import write_comparison, write_report
from oracles.pages import COUNTS, EVIL, Page, page_of, write_answers, write_run


def test_the_page_needs_nothing_from_outside(run):
    page = page_of(run)
    for tag in ("img", "iframe", "object", "embed"):
        assert page.all(tag) == []
    assert [attrs["href"] for attrs in page.all("link")] == ["data:,"]  # else a browser asks for an icon
    for _, attrs in page.elements:
        assert "src" not in attrs
        assert attrs.get("href", "#").startswith(("#", "data:,"))
    source = re.sub(r"xmlns=\S+|http://www.w3.org/2000/svg", "", (run / "report.html").read_text(encoding="utf-8"))
    assert not re.search(r"https?:|@import|url\(", source)


def test_text_from_outside_is_escaped(run):
    write_json(run / "run.json", {EVIL: EVIL})
    write_run(run, EVIL.replace("/", ""), best_metric=f"eval_{EVIL}", data={"train": COUNTS, f"eval_{EVIL}": COUNTS})
    page = page_of(run)
    # A script for each chart's values and one that reads them; none of the text became another.
    assert len(page.all("script")) == len(page.all("figure")) + 1
    assert page.text.count(EVIL) == 2
    assert {f"{EVIL} 1", f"{EVIL} at 0", f"{EVIL} at 30"} <= set(page.text)
    assert f"eval_{EVIL}" in page.text
    assert "alert('x')" not in re.sub(r"&[^;]+;|\\u\w+", "", "".join(re.findall("<script>.*?</script>", page.rawdata)))


def test_each_chart_is_named_and_told_in_words(run):
    page = page_of(run)
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    drawings = [attrs for attrs in page.all("svg") if attrs.get("role") == "img"]
    assert len(drawings) == 6  # loss, accuracy, gradient norm, throughput; two of lengths
    for drawing in drawings:
        assert set(drawing["aria-labelledby"].split()) <= ids
        assert drawing["tabindex"] == "0"
    words = "train: from 0.693 at step 10 to 0.25 at step 30; eval: from 0.69 at step 0 to 0.31 at step 30."
    assert words in page.text


def test_the_values_of_a_chart_are_a_table_too(run):
    page = page_of(run)
    table = ["step", "train", "eval", "0", "0.69", "10", "0.693", "30", "0.25", "0.31"]
    assert page.after("As a table", len(table)) == table


def test_figures_at_a_glance_are_those_of_eval_pairs(run):
    page = page_of(run)
    assert page.after("Loss, eval", 2) == ["0.31", "was 0.69"]
    assert page.after("Reward accuracy, eval", 2) == ["90 %", "was 0 %"]
    assert page.after("Throughput", 2) == ["9", "pairs per second, median"]


def test_settings_that_were_changed_come_first(run):
    page = page_of(run)
    assert page.after("Not the default", 4) == ["model_name", "mine", "beta", "0.25"]
    assert re.fullmatch(r"\d+ settings as they are by default", page.after("Not the default", 5)[-1])


def test_answers_between_the_first_and_the_last_are_folded(run):
    write_answers(run, "a", (0, "first"), (15, "second"), (20, "third"), (30, "last"))
    write_answers(run, "only at the end", (30, "late"))
    page = page_of(run)
    assert page.after("a", 9) == [
        *("step 0", "first", "step 30", "last", "2 in between", "step 15", "second", "step 20", "third")
    ]
    assert page.after("only at the end", 2) == ["step 30", "late"]


def test_a_run_that_logged_nothing_yet_has_a_report_too(tmp_path):
    page = page_of(write_run(tmp_path, entries=(), data={}))
    assert page.all("figure") == []
    assert not {"Curves", "Data", "Held-out metrics", "Answers before and after"} & set(page.text)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"is not the folder of a run: it has no config\.yaml"):
        write_report(tmp_path)


def test_a_comparison_shows_what_differs_and_how_runs_ended(tmp_path):
    one = write_run(tmp_path / "one", "one", beta=0.25)
    two = write_run(tmp_path / "two", "two", loss_type="ipo", entries=({"step": 10, "loss": 4.0},), data={})
    for run, answer in ((one, "No."), (two, "Yes.")):
        write_answers(run, "Why?", (0, "Go."), (10, answer))
    write_answers(one, "only one was asked", (0, "?"))
    page = Page(write_comparison([one, two], tmp_path / "out" / "both.html"))
    assert page.after("setting", 8) == ["one", "two", "loss_type", "sigmoid", "ipo", "beta", "0.25", "0.1"]
    assert page.after("metric", 8) == ["one", "two", "eval_loss", "0.31", "–", "eval_rewards/accuracies", "90 %", "–"]
    assert page.after("loss", 2) == ["0.25", "4"]
    assert page.after("Why?", 4) == ["one", "No.", "two", "Yes."]
    assert "only one was asked" not in page.text


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    folders = [write_run(tmp_path / place) for place in ("a", "b")]
    page = Page(write_comparison(folders, tmp_path / "both.html"))
    assert page.after("metric", 2) == list(map(str, folders))
    assert "None: the runs have the same settings." in page.text
