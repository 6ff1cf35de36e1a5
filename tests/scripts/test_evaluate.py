"""Measuring a model, as far as it goes without lm-eval: what is asked for, and where the results go."""

import json

import numpy as np
import pytest

from easydel.scripts.evaluate import EvaluationConfig, main, write_results

ASKED = ["--repo_id", "there", "--tasks", "abc"]


def test_the_settings_name_a_model_and_tasks():
    assert EvaluationConfig(repo_id="m", tasks="a,b").tasks == ["a", "b"]  # pyright: ignore[reportArgumentType]
    assert main(["--tasks", "a"]) == 2


@pytest.mark.parametrize("axis", ["1,x", "1,1,1,1", ""])
def test_mesh_sizes_that_are_none_are_an_error_before_anything_is_loaded(axis, capsys):
    assert main([*ASKED, f"--sharding_axis={axis}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: sharding_axis = {axis!r} must be five integers")


@pytest.mark.parametrize("name", ["", "missing/found.json"])
def test_results_that_could_not_be_written_are_an_error_before_anything_is_loaded(name, tmp_path, capsys):
    assert main([*ASKED, "--output", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.startswith(f"error: --output {tmp_path / name} cannot be written: ")


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    write_results(tmp_path / "found.json", {"abc": {"acc": np.float32(0.5), "samples": np.int64(4), "alias": "abc"}})
    assert json.loads((tmp_path / "found.json").read_text()) == {"abc": {"acc": 0.5, "samples": 4, "alias": "abc"}}
