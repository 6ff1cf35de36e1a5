"""`easydel-dpo report`: one run again, or several beside one another."""

import subprocess
import sys

import pytest

from easydel.scripts.report import main
from oracles.pages import write_run


def test_one_run_gets_its_report_again(tmp_path, capsys):
    folder = write_run(tmp_path / "mine")
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").is_file()


def test_several_runs_are_one_page(tmp_path, capsys):
    folders = [str(write_run(tmp_path / name, name)) for name in ("a", "b")]
    page = tmp_path / "both.html"
    assert main([*folders, "--output", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert "Comparison of 2 runs" in page.read_text(encoding="utf-8")


def test_a_folder_that_is_no_run_is_an_error_in_a_sentence(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} is not the folder of a run")


def test_a_folder_with_the_configuration_of_something_else_is_no_run(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("version: 2\n")
    assert main([str(tmp_path)]) == 2
    assert "is not the folder of a run: config.yaml there has no model_name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        (
            "metrics.jsonl",
            b'{"step": 1}\n{"step": 2, "lo\n',
            ", line 2, column 13: not valid JSON: Unterminated string",
        ),
        ("metrics.jsonl", b'{"step": 1}\n[1]\n', ", line 2: a JSON object is needed"),
        ("metrics.jsonl", b'{"loss": 1.0}\n', ", line 1 is not a JSON object with step and numbers"),
        ("metrics.jsonl", b'{"step": 1, "loss": "low"}\n', ", line 1 is not"),
        ("metrics.jsonl", b"\xff\xfe\n", ", line 1: not valid JSON"),
        (
            "samples.jsonl",
            b'{"step": 1, "prompt": "a"}\n',
            ", line 1 is not a JSON object with step, prompt and",
        ),
        ("data.json", b'{"train": {"rows"', ", line 1, column 18: not valid JSON"),
        ("data.json", b'{"train": {"rows": 3}}', " is not a JSON object with the counts"),
        ("run.json", b'{"model": 3}', " is not a JSON object with texts"),
        ("best.json", b"", ", line 1, column 1: not valid JSON: Expecting value"),
    ],
)
def test_a_damaged_file_is_an_error_with_its_place(name, content, place, tmp_path, capsys):
    folder = write_run(tmp_path / "mine")
    (folder / name).write_bytes(content)
    assert main([str(folder)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {folder / name}{place}")


def test_it_runs_as_a_module_and_imports_no_jax(tmp_path):
    folder = write_run(tmp_path / "mine")
    code = "import sys, runpy; sys.argv = sys.argv[1:]; runpy.run_module('easydel.scripts.report', run_name='__main__')"
    check = f"try: exec({code!r})\nfinally: assert not {{'jax', 'transformers', 'datasets'}} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{check}", "report", folder], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
