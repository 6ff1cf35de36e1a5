"""The files of a run: whole whatever happens, and read with checks."""

import pytest

from easydel.display.display import SILENT
from easydel.errors import DataError
from easydel.trainers.record.files import (
    append_lines,
    append_samples,
    append_waiting,
    read_json,
    read_metrics,
    read_samples,
    rewind,
    write_json,
)
from easydel.trainers.record.metrics_log import MetricsLog
from easydel.trainers.record.unwritten import named_at_the_end, unwritten
from oracles.disk import full_disk


def lines(folder):
    return (folder / "metrics.jsonl").read_text().splitlines()


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}]
    rewind(tmp_path, 5)
    with MetricsLog(tmp_path, "run", total=2) as log:
        log.write(2, {"loss": 0.25})
    assert [entry["step"] for entry in read_metrics(tmp_path)] == [1, 2]


def test_rewinding_removes_what_comes_after_the_step(tmp_path):
    assert read_metrics(tmp_path) == []
    rewind(tmp_path, 0)  # nothing was logged yet
    with MetricsLog(tmp_path, "run", total=3) as log:
        for step in (1, 2, 3):
            log.write(step, {"loss": 1.0 / step})
            log.write(step, {"eval_loss": 2.0})
    before = lines(tmp_path)
    rewind(tmp_path, 2)
    assert lines(tmp_path) == before[:4]


def test_a_json_file_is_replaced_as_a_whole_and_read_back(tmp_path):
    file = tmp_path / "facts.json"
    assert read_json(file) == {}
    for value in ({"a": 1}, {"text": "\ud83d \u00e9\n", "b": [None, 2.5]}):
        write_json(file, value)
        assert [path.name for path in tmp_path.iterdir()] == ["facts.json"]
    assert read_json(file)["b"] == [None, 2.5]
    assert read_json(file)["text"].endswith("\u00e9\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", ": a JSON object is needed, and this is of type list"),
        ('{"a"', ", line 1, column 5: not valid JSON"),
        ("", ", line 1, column 1: not valid JSON"),
        ('{"b": 1}', " is not a JSON object with an a"),
    ],
)
def test_a_json_file_that_does_not_hold_what_it_should_is_named(tmp_path, content, message):
    file = tmp_path / "facts.json"
    file.write_text(content)
    with pytest.raises(DataError, match=rf"facts\.json{message}.* It was damaged or changed since"):
        read_json(file, "an a", lambda value: "a" in value)


def test_a_line_that_is_not_an_object_is_named_with_its_number(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": "low"}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2 is not a JSON object with step and numbers by name"):
        read_metrics(tmp_path)


def test_answers_are_appended_and_a_rewind_takes_later_ones_away(tmp_path):
    answers = [{"step": step, "prompt": "hi\u2028there", "answer": "\u00e9"} for step in (0, 3, 5)]
    append_samples(tmp_path, answers[:1])
    append_samples(tmp_path, answers[1:])
    assert read_samples(tmp_path) == answers  # a line separator in a text ends no line
    rewind(tmp_path, 3)
    assert read_samples(tmp_path) == answers[:2]


def test_a_line_that_finds_no_room_is_written_with_the_next_and_never_by_half(tmp_path):
    entries = [{"step": step, "loss": 0.5} for step in range(1, 5)]
    file = tmp_path / "metrics.jsonl"
    append_lines(file, entries[:1])
    first = file.read_bytes()
    with full_disk(room=len(first) + 5):
        with pytest.warns(UserWarning, match=r"metrics\.jsonl could not be written: .* Make room for it"):
            append_lines(file, entries[1:2])
        append_lines(file, entries[2:3])
        assert file.read_bytes() == first
        assert read_metrics(tmp_path) == entries[:3]  # for the report of this process
        assert str(file) in unwritten()
    append_lines(file, entries[3:])
    assert str(file) not in unwritten()
    assert file.read_bytes().count(b"\n") == 4
    assert read_metrics(tmp_path) == entries


def test_what_waits_for_room_is_not_lost_at_the_end_nor_given_to_another_run(tmp_path):
    file = tmp_path / "metrics.jsonl"
    for room in (append_waiting, lambda: rewind(tmp_path, 9)):
        with full_disk(room=0), pytest.warns(UserWarning, match="could not be written"):
            append_lines(file, [{"step": 1}])
        room()
        with named_at_the_end(SILENT):  # a new run
            append_lines(file, [{"step": 2}])
    assert [entry["step"] for entry in read_metrics(tmp_path)] == [1, 2, 2]


def test_a_rewind_needs_no_room(tmp_path):
    file = tmp_path / "samples.jsonl"
    answers = [{"step": step, "prompt": "hi", "answer": "\u00e9" * step} for step in (1, 4, 9)]
    append_samples(tmp_path, [answers[0], answers[2]])
    with full_disk(room=0):
        rewind(tmp_path, 4)
    assert read_samples(tmp_path) == answers[:1]
    file.write_bytes(file.read_bytes() + b'{"step": 3, "pro')
    rewind(tmp_path, 4)
    assert file.read_bytes().endswith(b"}\n")


def test_a_json_file_without_room_is_a_warning_and_leaves_the_old_one(tmp_path):
    write_json(tmp_path / "facts.json", {"a": 1})
    with full_disk(room=3), pytest.warns(UserWarning, match=r"facts\.json could not be written: File too large\."):
        write_json(tmp_path / "facts.json", {"a": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["facts.json"]
    assert read_json(tmp_path / "facts.json") == {"a": 1}
