"""`easydel-dpo checkpoint`: the model folder of a run's checkpoint, and errors in a sentence."""

import filecmp
import json
from pathlib import Path

import pytest

from easydel import quickstart
from easydel.scripts.checkpoint import main
from easydel.scripts.finetune import dpo
from easydel.weights.model_files import read_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command line, of three steps and as many checkpoints, that saved its adapters."""
    root = tmp_path_factory.mktemp("runs")
    flags = "--max_training_steps 3 --save_steps 1 --lora_rank 2 --evaluation_steps none --generation_prompts 0"
    flags += f" --warmup_steps 0 --progress_bar_type none --model_name mine --save_directory {root}"
    assert dpo.main(flags.split()) == 0
    return root / "mine"


def test_the_last_checkpoint_makes_the_folder_that_the_run_saved(run, tmp_path, capsys):
    assert dpo.main(["checkpoint", str(run / "checkpoints" / "3"), "--to", str(tmp_path / "made")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'made'}: the model of step 3, float32\n"
    names = sorted(path.name for path in (run / "model").iterdir())
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == names
    assert filecmp.cmpfiles(run / "model", tmp_path / "made", names, shallow=False) == (names, [], [])


def test_the_folder_of_a_run_stands_for_its_newest_checkpoint(run, tmp_path, capsys):
    assert main([str(run), "--to", str(tmp_path / "made")]) == 0
    assert "the model of step 3" in capsys.readouterr().out


def test_the_folder_of_a_run_with_a_best_evaluation_stands_for_that(run, tmp_path, capsys):
    best = run / "best.json"
    best.write_text(json.dumps({"checkpoint": "checkpoints/2"}))
    try:
        assert main([str(run), "--to", str(tmp_path / "made")]) == 0
    finally:
        best.unlink()
    assert "the model of step 2" in capsys.readouterr().out


def test_a_best_evaluation_that_names_no_checkpoint_is_an_error_in_a_sentence(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "best.json").write_text("{}")
    assert main([str(tmp_path), "--to", str(tmp_path / "made")]) == 2
    assert "best.json names no checkpoint: name one" in capsys.readouterr().err


def test_adapters_can_be_merged_and_the_dtype_chosen(run, tmp_path):
    flags = ["--to", str(tmp_path / "made"), "--merge_lora_before_save", "--save_dtype", "bfloat16"]
    assert main([str(run / "checkpoints" / "1"), *flags]) == 0
    names = read_folder(tmp_path / "made")
    assert names.keys() == read_folder(quickstart.model_folder()).keys()
    assert {stored.dtype.name for stored in names.values()} == {"bfloat16"}


def test_a_folder_that_exists_is_not_written_over(run, tmp_path, capsys):
    assert main([str(run / "checkpoints" / "1"), "--to", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("exists: nothing is written over. Name a folder that does not exist yet.\n")


def test_a_run_without_checkpoints_is_an_error_in_a_sentence(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    assert main([str(tmp_path), "--to", str(tmp_path / "made")]) == 2
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path / 'checkpoints'} holds no checkpoint. A run saves one with save_steps, and at its end.\n"
    )
