"""`easydel-dpo inspect`: what it prints, writes and returns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from easydel import quickstart
from easydel.data.source import load_rows
from easydel.inspect.options import InspectConfig
from easydel.scripts.inspect import main
from oracles.planted import Words


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def pairs(tmp_path):
    words = Words(0)
    rows = [words.row() for _ in range(30)]
    rows += [rows[3], {**rows[4], "chosen": rows[4]["rejected"], "rejected": rows[4]["chosen"]}]
    return write(tmp_path / "pairs.jsonl", rows)


def run(*words, folder):
    return main([*map(str, words), "--output", str(folder), "--progress_bar_type", "none"])


def test_the_exit_status_says_what_was_found(pairs, tmp_path):
    statuses = {
        limit: run(pairs, "--fail_on", limit, folder=tmp_path) for limit in ("note", "warning", "error", "never")
    }
    assert statuses == {"note": 1, "warning": 1, "error": 1, "never": 0}
    clean = write(tmp_path / "clean.jsonl", [Words(1).row()])
    assert run(clean, folder=tmp_path) == 0


def test_what_is_found_is_in_a_file(pairs, tmp_path):
    run(pairs, folder=tmp_path)
    found = json.loads((tmp_path / "inspect.json").read_text(encoding="utf-8"))
    assert (found["rows"], found["pairs"], found["datasets"]) == (32, 32, [pairs])
    by_check = {each["check"]: each for each in found["findings"]}
    assert by_check["same_pairs"]["faults"] == [{"row": 30, "why": "is row 3 again"}]
    assert {each["row"] for each in by_check["contradictions"]["faults"]} == {4, 31}


def test_what_was_written_is_clean_and_the_input_is_untouched(pairs, tmp_path):
    before = Path(pairs).read_bytes()
    cleaned = tmp_path / "cleaned.jsonl"
    assert run(pairs, "--write", cleaned, folder=tmp_path) == 1
    assert Path(pairs).read_bytes() == before
    assert len(load_rows(str(cleaned))) == 29
    assert run(cleaned, folder=tmp_path) == 0
    left_out = [json.loads(line) for line in (tmp_path / "cleaned.left_out.jsonl").read_text().splitlines()]
    assert [each["row"] for each in left_out] == [4, 30, 31]
    assert left_out[1]["reasons"] == ["same_pairs: is row 3 again"]
    assert run(cleaned, "--write", cleaned, folder=tmp_path) == 2


def test_eval_sets_and_benchmarks_are_eval_prompts(pairs, tmp_path, capsys):
    asked = load_rows(pairs)[7]["prompt"]
    held = write(tmp_path / "held.jsonl", [{"question": asked}])
    assert main([pairs, "--benchmarks", held, str(tmp_path / "nope.jsonl"), "--output", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert f"1 of the 1 prompts of {held}, in 1 row: 1 as it is" in out
    assert "nope.jsonl: file or folder" in out
    assert "does not exist" in out


def test_events_are_objects_for_a_program(pairs, tmp_path, capsys):
    main([pairs, "--output", str(tmp_path), "--progress_bar_type", "json", "--write", str(tmp_path / "c.jsonl")])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in events if each["event"] != "work"] == ["inspection", "written", "cleaned"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "there are no pairs to inspect"),
        (("nope.jsonl",), "file or folder 'nope.jsonl' does not exist"),
        (("--fail_on", "never", "--beta", "0.1"), "--beta"),
    ],
)
def test_errors_are_sentences(words, said, tmp_path, capsys):
    assert run(*words, folder=tmp_path) == 2
    assert said in capsys.readouterr().err


def test_an_output_that_is_no_folder_is_an_error(pairs, tmp_path, capsys):
    assert run(pairs, folder=tmp_path / "nope") == 2
    assert "is not a folder" in capsys.readouterr().err


def test_the_pairs_of_the_quick_start_are_inspected_without_jax(tmp_path):
    command = [
        *("inspect", str(quickstart.train_file()), "--eval_dataset_name", str(quickstart.eval_file())),
        *("--output", str(tmp_path), "--fail_on", "error"),
    ]
    code = f"import sys; from easydel.scripts.finetune.dpo import main; print(main({command!r}), 'jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 False"
    assert "1,200 in 1,200 rows of " in done.stdout


def test_help_lists_every_option(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: easydel-dpo inspect PAIRS ...")
    assert all(f"--{name}" in text for name in InspectConfig.__dataclass_fields__)
