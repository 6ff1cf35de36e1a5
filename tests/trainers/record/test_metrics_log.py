"""The log of a run: one JSON object a line, which a kill or a resume does not spoil."""

import json

import pytest

from easydel.display.display import make_display
from easydel.trainers.record.files import read_metrics
from easydel.trainers.record.metrics_log import MetricsLog, brief


def lines(folder):
    return (folder / "metrics.jsonl").read_text().splitlines()


def test_each_write_is_one_object_with_the_step_first(tmp_path):
    with MetricsLog(tmp_path, "run", total=2) as log:
        log.write(1, {"loss": 0.5, "num_tokens": 12})
        assert lines(tmp_path) == ['{"step": 1, "loss": 0.5, "num_tokens": 12}']  # on disk at once
        log.write(2, {"loss": 0.25})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5, "num_tokens": 12}, {"step": 2, "loss": 0.25}]


def test_a_value_that_is_not_finite_is_null(tmp_path):
    with MetricsLog(tmp_path, "run", total=1) as log:
        log.write(1, {"loss": float("nan"), "grad_norm": float("inf"), "skipped_steps": 1.0})
    assert json.loads(lines(tmp_path)[0], parse_constant=pytest.fail) == {
        "step": 1,
        "loss": None,
        "grad_norm": None,
        "skipped_steps": 1.0,
    }


def test_a_resumed_run_appends(tmp_path):
    for step in (1, 2):
        with MetricsLog(tmp_path, "run", total=2, done=step - 1) as log:
            log.write(step, {"loss": 1.0})
    assert [entry["step"] for entry in read_metrics(tmp_path)] == [1, 2]


def test_without_a_terminal_each_logged_step_is_one_plain_line(tmp_path, capsys):
    with MetricsLog(tmp_path, "run", total=8, display=make_display("tqdm")) as log:
        log.advance()
        log.write(4, {"loss": 0.6931, "rewards/accuracies": 0.75, "rewards/margins": 0.01, "pairs_per_second": 12.34})
    out, err = capsys.readouterr()
    assert out == "step 4/8  loss 0.6931  accuracy 0.750  margin 0.0100  pairs/s 12.3\n"
    assert err == ""  # no progress bar


def test_a_log_that_shows_nothing_prints_nothing(tmp_path, capsys):
    with MetricsLog(tmp_path, "run", total=8) as log:
        log.advance()
        log.write(4, {"loss": 0.6931})
    assert capsys.readouterr() == ("", "")


def test_a_brief_line_leaves_out_what_was_not_measured():
    assert brief({"loss": 0.5, "entropy": 1.0}) == "loss 0.5000"
    assert brief({"eval_loss": 0.5, "loss": 0.1}, "eval_") == "eval_loss 0.5000"
    assert brief({}) == ""


def test_an_evaluation_is_one_object_and_a_line_for_each_set(tmp_path, capsys):
    with MetricsLog(tmp_path, "run", total=8, display=make_display("tqdm")) as log:
        log.write(4, {"eval_a_loss": 0.5, "eval_b_loss": 0.25}, sets=("eval_a", "eval_b"))
    assert capsys.readouterr().out == "step 4/8  eval_a_loss 0.5000\nstep 4/8  eval_b_loss 0.2500\n"
    assert read_metrics(tmp_path) == [{"step": 4, "eval_a_loss": 0.5, "eval_b_loss": 0.25}]


def test_a_logged_step_says_how_long_the_rest_may_take(tmp_path, capsys):
    with MetricsLog(tmp_path, "run", total=80, display=make_display("tqdm")) as log:
        log.write(40, {"loss": 0.5, "step_time": 4.8})
        log.write(80, {"loss": 0.5, "step_time": 4.8})
    assert capsys.readouterr().out == "step 40/80  loss 0.5000  3 min 12 s left\nstep 80/80  loss 0.5000\n"


def test_a_program_is_told_of_every_step_evaluation_and_answer(tmp_path, capsys):
    with MetricsLog(tmp_path, "run", total=8, display=make_display("json")) as log:
        log.write(4, {"loss": float("nan"), "step_time": 0.5})
        log.write(4, {"eval_a_loss": 0.5, "eval_b_loss": 0.25}, sets=("eval_a", "eval_b"))
        log.samples(4, [{"step": 4, "prompt": "Hi?", "answer": "Hello!"}], "for people")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for event in events:
        assert event.pop("time") > 1e9
    assert [event for event in events if event["event"] != "work"] == [
        {
            "event": "log",
            "step": 4,
            "total_steps": 8,
            "seconds_left": 2.0,
            "metrics": {"loss": None, "step_time": 0.5},
        },
        {"event": "evaluation", "step": 4, "total_steps": 8, "set": "eval_a", "metrics": {"loss": 0.5}},
        {"event": "evaluation", "step": 4, "total_steps": 8, "set": "eval_b", "metrics": {"loss": 0.25}},
        {"event": "samples", "step": 4, "samples": [{"step": 4, "prompt": "Hi?", "answer": "Hello!"}]},
    ]


def test_a_program_is_told_the_metrics_of_a_set_and_of_no_other_whose_name_begins_alike(tmp_path, capsys):
    sets = ["eval_easy", "eval_easy_2"]
    with MetricsLog(tmp_path, "run", total=8, display=make_display("json")) as log:
        log.write(4, {"eval_easy_loss": 0.5, "eval_easy_2_loss": 0.25}, sets=sets)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = {event["set"]: event["metrics"] for event in events if event["event"] == "evaluation"}
    assert told == {"eval_easy": {"loss": 0.5}, "eval_easy_2": {"loss": 0.25}}
