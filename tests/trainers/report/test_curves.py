"""Which line is which: of one run, of several eval sets, of several runs."""

from easydel.trainers.report.curves import CHARTS, overlaid, panels_of
from easydel.trainers.report.run import read_run
from oracles.pages import COUNTS, write_run

BOTH = ({"step": 1, "rewards/chosen": 0.5, "rewards/rejected": 0.1, "eval_rewards/chosen": 0.4},)


def looks(panel):
    return [(shape.label, shape.color, shape.is_eval) for shape in panel.drawing.shapes]


def test_every_eval_set_has_a_dashed_line_and_a_color_of_its_own(tmp_path):
    data = dict.fromkeys(("train", "eval_easy", "eval_hard"), COUNTS)
    entries = [{"step": step, "eval_easy_loss": 0.5, "eval_hard_loss": 0.6, "loss": 0.7} for step in (1, 2)]
    [panel] = panels_of(read_run(write_run(tmp_path, entries=entries, data=data)))
    expected = [("train", 0, False), ("eval, easy", 1, True), ("eval, hard", 2, True)]
    assert looks(panel) == expected


def test_where_a_chart_has_two_metrics_a_color_is_that_of_the_metric(tmp_path):
    [panel] = panels_of(read_run(write_run(tmp_path, entries=BOTH)))
    assert looks(panel) == [("chosen", 0, False), ("chosen, eval", 0, True), ("rejected", 1, False)]


def test_beside_other_runs_each_metric_has_a_chart_and_each_run_a_color(tmp_path):
    runs = [read_run(write_run(tmp_path / name, name, entries=BOTH)) for name in ("a", "b")]
    chosen, rejected = overlaid(runs, ["a", "b"])
    assert looks(chosen) == [("a", 0, False), ("a, eval", 0, True), ("b", 1, False), ("b, eval", 1, True)]
    assert (chosen.chart.title, rejected.chart.title) == ("Rewards: chosen", "Rewards: rejected")
    assert looks(rejected) == [("a", 0, False), ("b", 1, False)]


def test_a_value_that_was_not_finite_is_left_out(tmp_path):
    loss = panels_of(read_run(write_run(tmp_path)))[0]
    assert loss.drawing.shapes[0].at == ["step 10", "step 30"]


def test_every_chart_has_a_unit_and_says_what_to_look_for():
    assert all(chart.unit and chart.note.endswith(".") for chart in CHARTS)
