"""What a run left, read back: values by step, and an error for what is not a run."""

import pytest

from easydel.errors import DataError
from easydel.trainers.config import DPOConfig
from easydel.trainers.record.files import write_json
from easydel.trainers.report.run import by_prompt, changed, read_run, title, when
from oracles.pages import write_answers, write_run


def test_a_metric_is_its_finite_values_by_step(tmp_path):
    run = read_run(write_run(tmp_path))
    assert run.points("loss") == [(10.0, 0.693), (30.0, 0.25)]  # null at step 20
    assert run.last("eval_loss") == 0.31
    assert run.last("logps/chosen") is None


def test_what_the_files_hold_is_what_is_read(tmp_path):
    folder = write_run(tmp_path, "named", beta=0.25)
    write_json(folder / "run.json", {"steps": "30"})
    write_json(folder / "best.json", {"step": 30})
    write_answers(folder, "why?", (0, "so"))
    run = read_run(folder)
    assert (run.name, run.facts, run.best, run.sets) == ("named", {"steps": "30"}, 30, ["eval"])
    assert [sample["answer"] for sample in run.samples] == ["so"]
    assert changed(run.settings) == {"model_name": "named", "beta": 0.25}
    assert changed(DPOConfig()) == {}


@pytest.mark.parametrize(
    ("config", "lacks"), [(None, r"it has no config\.yaml"), ("beta: 0.1\n", r"config\.yaml there has no model_name")]
)
def test_a_folder_that_no_run_wrote_is_refused_with_what_it_lacks(tmp_path, config, lacks):
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(DataError, match=f"is not the folder of a run: {lacks}. Name the folder that training wrote"):
        read_run(tmp_path)


def test_sets_and_samples_are_named_for_people():
    assert [title(name) for name in ("train", "eval", "eval_easy", "eval_eval")] == [
        *("train", "eval", "eval, easy", "eval, eval")
    ]
    assert when({"step": 8, "weights": 2}) == "step 8, best weights, of step 2"


def test_samples_are_grouped_by_prompt_in_the_order_they_were_made():
    samples = [{"step": step, "prompt": prompt, "answer": ""} for step in (0, 5) for prompt in "ba"]
    assert {prompt: [each["step"] for each in found] for prompt, found in by_prompt(samples).items()} == {
        "b": [0, 5],
        "a": [0, 5],
    }
