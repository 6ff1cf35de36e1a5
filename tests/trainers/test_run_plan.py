"""What is found, and warned of, before a run begins."""

import warnings
from pathlib import Path
from typing import Any

import jax
import pytest

import easydel as ed
from oracles.runs import config, id_rows, same_bits, tiny_model, trainer


@pytest.mark.parametrize("given", [{"model": "me/model"}, {"model": None}, {"reference_model": "me/model"}])
def test_a_model_that_is_given_by_name_is_refused_with_the_way_to_load_it(tmp_path: Path, given) -> None:
    ((name, value),) = given.items()
    models = {"model": tiny_model(), **given}
    with pytest.raises(ed.ConfigError, match=rf"^{name} is {value!r} .*AutoEasyDeLModelForCausalLM\.from_pretrained"):
        ed.DPOTrainer(arguments=config(tmp_path), train_dataset=id_rows(4), **models)


@pytest.mark.parametrize(("name", "value"), [("evaluation_steps", 3), ("best_metric", "eval_loss")])
def test_a_setting_of_evaluation_without_held_out_rows_is_an_error(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ed.ConfigError, match=f"{name} = {value!r} needs eval rows"):
        trainer(tmp_path, **{name: value})


def test_a_warm_up_longer_than_the_run_is_worth_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="warmup_steps = 50 is not over in a run of 3 steps"):
        trainer(tmp_path, warmup_steps=50)


def test_a_trainer_needs_rows_of_some_kind(tmp_path: Path) -> None:
    with pytest.raises(ed.ConfigError, match="train_dataset="):
        ed.DPOTrainer(arguments=config(tmp_path), model=tiny_model())
    only_evaluates = ed.DPOTrainer(arguments=config(tmp_path), model=tiny_model(), eval_dataset=id_rows(2))
    with pytest.raises(ed.ConfigError, match="train_dataset="):
        only_evaluates.train()


@pytest.mark.exact  # without the checks of shapes, which would stand between
def test_a_warning_names_the_line_that_made_the_trainer(tmp_path: Path) -> None:
    row = {"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4], "margin": 0.5}  # neither has an end
    same = {**row, "rejected_ids": [3]}
    options = {"warmup_steps": 9, "max_training_steps": 3, "loss_type": "ipo", "max_length": None}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        ed.DPOTrainer(config(tmp_path, **options), tiny_model(), train_dataset=[row] * 12 + [same])
    texts = {str(each.message).split(",")[0]: each.filename for each in found}
    assert len(texts) >= 4  # the warm-up, the margin, the ends, the pair that is no preference
    assert set(texts.values()) == {__file__}


def test_a_plan_holds_what_is_trained_and_what_is_not(tmp_path: Path) -> None:
    model = tiny_model()
    plan = ed.DPOTrainer(
        config(tmp_path, frozen_parameters="embed_tokens", max_training_steps=3),
        model,
        train_dataset=id_rows(12),
        eval_dataset=id_rows(3),
    )._plan
    trained = plan.partition.trained_part(model.params)
    assert "embedding" not in trained
    assert set(plan.frozen) == {"embedding"}
    assert same_bits(plan.combine(trained), model.params)
    assert plan.data.intervals.total_steps == 3
    assert {name: summary.counts.kept for name, summary in plan.summaries().items()} == {"train": 12, "eval": 3}
    assert plan.needed_memory["weights"] == sum(x.nbytes for x in jax.tree.leaves(trained))


def test_without_training_rows_there_is_no_data_to_train_on(tmp_path: Path) -> None:
    run = ed.DPOTrainer(config(tmp_path), tiny_model(), eval_dataset=id_rows(3))
    with pytest.raises(ed.ConfigError, match="training needs train_dataset="):
        run.train()
    assert not (tmp_path / "dpo").exists()
