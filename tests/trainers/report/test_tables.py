"""The tables of a report, worked out by hand."""

from easydel.trainers.record.files import write_json
from easydel.trainers.report.run import read_run
from easydel.trainers.report.tables import accounting_of, eval_tables, settings_of
from oracles.pages import COUNTS, write_run


def test_rows_are_accounted_for_by_cause():
    counts = COUNTS | {"rows": 1000, "kept": 750, "truncated": {"max_length": 250}, "dropped": {"too long": 250}}
    found = accounting_of("train", counts | {"merged": 2})
    assert found.parts == [("kept whole", 0.5), ("kept, cut", 0.25), ("dropped", 0.25)]
    assert found.causes == [
        *(("rows", "1,000"), ("kept", "750"), ("cut: max_length", "250"), ("dropped: too long", "250")),
        ("the end of the prompt changes when a completion follows it", "2"),
    ]


def test_the_evaluations_shown_are_the_first_the_best_and_the_last(tmp_path):
    entries = [{"step": step, "eval_loss": value} for step, value in ((0, 0.7), (5, 0.2), (10, 0.6), (15, 0.4))]
    folder = write_run(tmp_path, entries=entries)
    write_json(folder / "best.json", {"step": 5})
    [(words, table)] = eval_tables(read_run(folder))
    assert words == "eval"
    assert table.heads == ["metric", "step 0", "step 5, best", "step 15"]
    assert table.rows == [["loss", "0.7", "0.2", "0.4"]]


def test_a_set_has_no_metrics_of_another_whose_name_goes_on(tmp_path):
    data = dict.fromkeys(("train", "eval_a", "eval_a_b"), COUNTS)
    entries = [{"step": 1, "eval_a_loss": 0.5, "eval_a_b_loss": 0.25}]
    tables = eval_tables(read_run(write_run(tmp_path, entries=entries, data=data)))
    assert [table.rows for _, table in tables] == [[["loss", "0.5"]], [["loss", "0.25"]]]


def test_a_setting_is_changed_where_it_is_not_the_default(tmp_path):
    folder = write_run(
        tmp_path, "dpo", loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5], shuffle_train_dataset=False
    )
    changed, rest = settings_of(read_run(folder))
    assert changed == [("loss_type", "sigmoid, sft"), ("loss_weights", "1.0, 0.5"), ("shuffle_train_dataset", "false")]
    assert ("save_steps", "none") in rest
