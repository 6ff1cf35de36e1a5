"""`easydel-dpo report`: one run again, or several beside one another."""

import subprocess
import sys

from easydel.report import main
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
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} is no folder of a run")


def test_it_runs_as_a_module_and_imports_no_jax(tmp_path):
    folder = write_run(tmp_path / "mine")
    code = "import sys, runpy; sys.argv = sys.argv[1:]; runpy.run_module('easydel.report', run_name='__main__')"
    check = f"try: exec({code!r})\nfinally: assert not {{'jax', 'transformers', 'datasets'}} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{check}", "report", folder], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
