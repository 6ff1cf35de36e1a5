"""Whole runs: what the trainer follows, writes, continues and refuses."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import easydel as ed
from easydel.data.source import load_rows
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.sharding import make_mesh
from easydel.trainers.log import read_metrics
from oracles.runs import TINY, config, id_rows, logged, same_bits, tiny_model, trainer
from oracles.tiny import ONE_DEVICE


@pytest.mark.exact
@pytest.mark.slow
def test_ten_steps_on_a_real_model_follow_trl(shared: Path, tmp_path: Path) -> None:
    """golden/trl_trajectory_stories260k.json: within 1e-3 in loss and 1 % in margins at every step."""
    from transformers import AutoTokenizer

    expected = json.loads((shared / "golden" / "trl_trajectory_stories260k.json").read_text())
    rows = load_rows(str(shared / "data" / "alpaca_pairs.jsonl.gz"), split="train[:80]")
    folder = shared / "models" / "stories260k"
    model, reference = (
        ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, dtype=jnp.float32, sharding_axis_dims=ONE_DEVICE)
        for _ in range(2)
    )
    arguments = config(
        tmp_path,
        max_length=512,
        total_batch_size=8,
        learning_rate=1e-4,
        shuffle_train_dataset=False,
        do_last_save=False,
    )
    ed.DPOTrainer(
        arguments=arguments,
        model=model,
        reference_model=reference,
        processing_class=AutoTokenizer.from_pretrained(folder),
        train_dataset=rows,
    ).train()
    np.testing.assert_allclose(logged(tmp_path, "loss"), expected["loss"], atol=1e-3)
    np.testing.assert_allclose(logged(tmp_path, "rewards/margins"), expected["rewards/margins"], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(logged(tmp_path, "logps/chosen"), expected["logps/chosen"], rtol=1e-4)


def test_training_with_moments_in_bfloat16_follows_that_in_float32(tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        options = {"mu_dtype": dtype, "nu_dtype": dtype, "adam_beta2": 0.95}
        trainer(tmp_path, num_train_epochs=4, do_last_save=False, model_name=dtype, **options).train()
    wide, narrow = (logged(tmp_path, "loss", run=dtype) for dtype in ("float32", "bfloat16"))
    assert wide[-1] < 0.4
    np.testing.assert_allclose(narrow, wide, atol=0.02)


@pytest.mark.exact
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("loss_type", "first"), [("sigmoid", math.log(2)), ("hinge", 1.0), ("ipo", 25.0)])
def test_the_first_loss_from_equal_weights_is_known(tmp_path: Path, dtype: str, loss_type: str, first: float) -> None:
    arguments = config(tmp_path, loss_type=loss_type, max_training_steps=1, do_last_save=False)
    model = tiny_model(dtype=jnp.dtype(dtype))
    ed.DPOTrainer(arguments=arguments, model=model, train_dataset=id_rows(4)).train()
    assert logged(tmp_path, "loss")[0] == pytest.approx(first, rel=1e-6)


@pytest.mark.exact
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_first_loss_of_a_real_model_is_ln_2(shared: Path, tmp_path: Path, dtype: str) -> None:
    """Answers of a thousand nats: the margin is a difference of sums that float32 holds to 1e-4 only."""
    from transformers import AutoTokenizer

    folder = shared / "models" / "stories260k"
    rows = load_rows(str(shared / "data" / "alpaca_pairs.jsonl.gz"), split="train[:8]")
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, dtype=dtype, sharding_axis_dims=ONE_DEVICE)
    settings = config(tmp_path, max_length=512, total_batch_size=8, max_training_steps=1, log_steps=1)
    ed.DPOTrainer(settings, model, None, AutoTokenizer.from_pretrained(folder), rows).train()
    assert logged(tmp_path, "loss") == [pytest.approx(math.log(2), abs=1e-6)]
    assert logged(tmp_path, "rewards/margins") == [0.0]


def test_training_prefers_the_chosen_answers_and_leaves_the_given_model_alone(tmp_path: Path) -> None:
    model = tiny_model()
    before = jax.tree.map(np.array, model.params)
    run = ed.DPOTrainer(
        arguments=config(tmp_path, num_train_epochs=8),
        model=model,
        train_dataset=id_rows(12),
        eval_dataset=id_rows(6, seed=1),
    )
    result = run.train()
    assert result.metrics["loss"] < 0.4
    assert result.metrics["rewards/accuracies"] == 1.0
    assert result.metrics["eval_rewards/margins"] > 0
    assert same_bits(before, model.params)
    assert not same_bits(before, result.model.params)
    assert result.model is run.model


def test_a_run_folder_holds_what_is_promised(tmp_path: Path) -> None:
    result = trainer(tmp_path, save_steps=2, save_total_limit=1).train()
    run = tmp_path / "dpo"
    assert {path.name for path in run.iterdir()} == {
        *("config.yaml", "data.json", "metrics.jsonl", "run.json", "report.html", "checkpoints", "model")
    }
    assert ed.DPOConfig.from_yaml(run / "config.yaml") == config(tmp_path, save_steps=2, save_total_limit=1)
    assert [entry["step"] for entry in read_metrics(run)] == [1, 2, 3]
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["3"]
    assert result.checkpoint_path == (run / "checkpoints" / "3").absolute()
    reloaded = ed.AutoEasyDeLModelForCausalLM.from_pretrained(run / "model", sharding_axis_dims=ONE_DEVICE)
    assert same_bits(reloaded.params, result.model.params)


def test_a_model_in_the_folder_of_an_earlier_run_of_that_name_is_not_moved_away(tmp_path: Path) -> None:
    run, folder = trainer(tmp_path), tmp_path / "dpo" / "model"
    folder.mkdir(parents=True)
    run.model = dataclasses.replace(run.model, origin=dataclasses.replace(run.model.origin, name=str(folder)))
    with pytest.raises(ed.ConfigError, match=r"model '.*model' lies in the folder of this run"):
        run.train()
    assert folder.is_dir()


@pytest.mark.parametrize("given", [{"model": "me/model"}, {"model": None}, {"reference_model": "me/model"}])
def test_a_model_that_is_given_by_name_is_refused_with_the_way_to_load_it(tmp_path: Path, given) -> None:
    ((name, value),) = given.items()
    models = {"model": tiny_model(), **given}
    with pytest.raises(ed.ConfigError, match=rf"^{name} is {value!r} .*AutoEasyDeLModelForCausalLM\.from_pretrained"):
        ed.DPOTrainer(arguments=config(tmp_path), train_dataset=id_rows(4), **models)


def test_the_metrics_are_those_of_the_contract(tmp_path: Path) -> None:
    run = ed.DPOTrainer(
        arguments=config(tmp_path, max_training_steps=1),
        model=tiny_model(),
        train_dataset=id_rows(4),
        eval_dataset=id_rows(3),
    )
    metrics = run.train().metrics
    shared_names = {
        *(
            "loss",
            "entropy",
            "mean_token_accuracy",
            "logits/chosen",
            "logits/rejected",
            "logps/chosen",
            "logps/rejected",
        ),
        *("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/accuracies"),
    }
    own = {
        *("grad_norm", "learning_rate", "epoch", "num_tokens", "pairs_per_second", "tokens_per_second", "step_time"),
        *("padding_fraction", "prefix_shared_fraction", "skipped_steps", "flops_per_second", "memory"),
    }
    assert set(metrics) == shared_names | own | {f"eval_{name}" for name in shared_names}
    ids = [row[name] for row in id_rows(4) for name in ("prompt_ids", "prompt_ids", "chosen_ids", "rejected_ids")]
    assert metrics["num_tokens"] == sum(map(len, ids))


def test_metrics_that_need_all_logits_can_be_switched_off(tmp_path: Path) -> None:
    metrics = trainer(tmp_path, max_training_steps=1, log_logit_metrics=False).train().metrics
    assert not {"entropy", "logits/chosen", "logits/rejected", "mean_token_accuracy"} & set(metrics)


@pytest.mark.exact
def test_a_run_that_was_cut_off_continues_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"num_train_epochs": 2, "save_steps": 2, "sync_ref_model": True, "ref_model_sync_steps": 2}
    straight = trainer(tmp_path / "straight", **options).train()

    cut_off = trainer(tmp_path / "cut", **options)
    moves: list[int] = []

    def die_after_five_steps(step: int, policy: Any, move: Any = cut_off.reference.after_step) -> None:
        moves.append(step)
        if step == 5:
            raise KeyboardInterrupt
        move(step, policy)

    monkeypatch.setattr(cut_off.reference, "after_step", die_after_five_steps)
    with pytest.raises(KeyboardInterrupt):
        cut_off.train()

    resumed = trainer(tmp_path / "cut", resume="auto", **options).train()
    assert same_bits(resumed.model.params, straight.model.params)
    assert logged(tmp_path / "cut", "loss") == logged(tmp_path / "straight", "loss")
    assert logged(tmp_path / "cut", "num_tokens") == logged(tmp_path / "straight", "num_tokens")


def test_a_run_that_was_cut_off_before_any_checkpoint_starts_again_and_logs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluated(**options: Any) -> ed.DPOTrainer:
        arguments = config(tmp_path, max_training_steps=2, do_last_save=False, **options)
        return ed.DPOTrainer(
            arguments=arguments, model=tiny_model(), train_dataset=id_rows(8), eval_dataset=id_rows(3, seed=1)
        )

    cut_off = evaluated()
    monkeypatch.setattr(cut_off.reference, "after_step", lambda step, policy: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cut_off.train()
    evaluated(resume="auto").train()
    assert [entry["step"] for entry in read_metrics(tmp_path / "dpo")] == [0, 1, 2, 2]


def test_a_run_can_be_made_longer_while_its_learning_rate_is_constant(tmp_path: Path) -> None:
    straight = trainer(tmp_path / "straight", num_train_epochs=2).train()
    trainer(tmp_path / "longer").train()
    longer = trainer(tmp_path / "longer", num_train_epochs=2, resume="auto").train()
    assert same_bits(longer.model.params, straight.model.params)


def test_resuming_with_other_settings_names_what_differs(tmp_path: Path) -> None:
    trainer(tmp_path, max_training_steps=1).train()
    with pytest.raises(ed.ConfigError, match=r"beta = 0\.3 \(it was 0\.1\)"):
        trainer(tmp_path, max_training_steps=1, beta=0.3, resume="auto").train()


def test_resuming_with_other_data_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, max_training_steps=1).train()
    other = ed.DPOTrainer(
        arguments=config(tmp_path, max_training_steps=1, resume="auto"),
        model=tiny_model(),
        train_dataset=id_rows(12, seed=5),
    )
    with pytest.raises(ed.ConfigError, match="its training pairs were others"):
        other.train()


def test_an_earlier_run_is_moved_aside_and_not_lost(tmp_path: Path) -> None:
    for _ in range(2):
        trainer(tmp_path, max_training_steps=1, do_last_save=False).train()
    for name in ("dpo.1", "dpo"):
        assert read_metrics(tmp_path / name)


@pytest.mark.parametrize("loss_type", ["sigmoid", "aot"])
def test_accumulation_does_not_change_the_training(tmp_path: Path, loss_type: str) -> None:
    losses = []
    for parts in (1, 4):
        trainer(tmp_path / str(parts), rows=10, gradient_accumulation_steps=parts, loss_type=loss_type).train()
        losses.append(logged(tmp_path / str(parts), "loss"))
    assert len(losses[0]) == 3  # the last batch has two pairs
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_no_reference_model_means_the_policy_as_it_starts(tmp_path: Path) -> None:
    trainer(tmp_path / "none").train()
    ed.DPOTrainer(
        arguments=config(tmp_path / "given"),
        model=tiny_model(),
        reference_model=tiny_model(),
        train_dataset=id_rows(12),
    ).train()
    assert logged(tmp_path / "none", "loss") == logged(tmp_path / "given", "loss")


def test_training_without_a_reference_compares_with_zero(tmp_path: Path) -> None:
    metrics = trainer(tmp_path, reference_free=True, max_training_steps=1).train().metrics
    assert metrics["rewards/chosen"] == pytest.approx(0.1 * metrics["logps/chosen"], rel=1e-6)


def test_a_synced_reference_follows_the_policy(tmp_path: Path) -> None:
    run = trainer(tmp_path, sync_ref_model=True, ref_model_sync_steps=3, ref_model_mixup_alpha=1.0)
    result = run.train()  # three steps: synced once, at the end
    assert same_bits(run.reference.params, result.model.params)


def test_evaluation_weights_pairs_not_batches(tmp_path: Path) -> None:
    found = []
    for size in (2, 3, 5):
        run = ed.DPOTrainer(
            arguments=config(tmp_path, eval_batch_size=size, loss_type="ipo"),
            model=tiny_model(),
            reference_model=tiny_model(seed=1),
            eval_dataset=id_rows(5),
        )
        found.append(run.evaluate())
    for other in found[1:]:  # a reward is the small difference of two sums
        assert other == pytest.approx(found[0], rel=1e-5, abs=1e-6)


def test_a_loss_of_ones_own_trains(tmp_path: Path) -> None:
    def squared(policy, reference, lengths, *, beta):
        """sppo_hard, say."""
        ratio = policy - reference
        return (ratio[:, 0] - 0.5 / beta) ** 2 + (ratio[:, 1] + 0.5 / beta) ** 2

    run = trainer(tmp_path, loss_type=squared, learning_rate=1e-3)
    run.train()
    losses = logged(tmp_path, "loss")
    assert losses[0] == pytest.approx(0.5 / 0.1**2, rel=1e-6)
    assert losses[-1] < losses[0]


def test_dropout_acts_only_when_it_is_not_disabled(tmp_path: Path) -> None:
    dropping = ModelConfig.from_hf({**TINY.source, "attention_dropout": 0.5})
    model = CausalLM.from_config(dropping, mesh=make_mesh(ONE_DEVICE))
    losses = {}
    for disable in (True, False):
        arguments = config(tmp_path / str(disable), disable_dropout=disable, max_training_steps=1, do_last_save=False)
        ed.DPOTrainer(arguments=arguments, model=model, train_dataset=id_rows(4)).train()
        losses[disable] = logged(tmp_path / str(disable), "loss")[0]
    assert losses[True] == pytest.approx(math.log(2), rel=1e-6)
    assert losses[False] != pytest.approx(math.log(2), rel=1e-4)


def test_weights_can_be_trained_in_another_dtype(tmp_path: Path) -> None:
    result = trainer(tmp_path, param_dtype="bfloat16", max_training_steps=1).train()
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(result.model.params)} == {"bfloat16"}


def test_resuming_from_another_starting_model_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, max_training_steps=1).train()
    other = ed.DPOTrainer(
        arguments=config(tmp_path, max_training_steps=1, resume="auto"),
        model=tiny_model(seed=7),
        train_dataset=id_rows(12),
    )
    with pytest.raises(ed.ConfigError, match="its reference had other weights"):
        other.train()


def test_resuming_past_the_end_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, max_training_steps=2).train()
    with pytest.raises(ed.ConfigError, match=r"step 2 .* past the 1 steps"):
        trainer(tmp_path, max_training_steps=1, resume="auto").train()


@pytest.mark.exact
def test_the_first_loss_is_known_also_when_the_policy_is_rounded_to_bfloat16(tmp_path: Path) -> None:
    run = trainer(tmp_path, rows=4, param_dtype="bfloat16", max_training_steps=1, do_last_save=False)
    run.train()
    assert logged(tmp_path, "loss")[0] == pytest.approx(math.log(2), rel=1e-6)


def test_the_loss_of_held_out_pairs_that_are_compared_does_not_depend_on_their_batches(tmp_path: Path) -> None:
    losses = []
    for size in (2, 5):
        run = ed.DPOTrainer(
            arguments=config(tmp_path, eval_batch_size=size, loss_type="aot_unpaired"),
            model=tiny_model(),
            reference_model=tiny_model(seed=1),
            eval_dataset=id_rows(5),
        )
        losses.append(run.evaluate()["eval_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize(("name", "value"), [("evaluation_steps", 3), ("best_metric", "eval_loss")])
def test_a_setting_of_evaluation_without_held_out_rows_is_an_error(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ed.ConfigError, match=f"{name} = {value!r} needs held-out rows"):
        trainer(tmp_path, **{name: value})


def test_a_warm_up_longer_than_the_run_is_worth_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="warmup_steps = 50 is not over in a run of 3 steps"):
        trainer(tmp_path, warmup_steps=50)


def test_rows_longer_than_the_model_was_made_for_are_worth_a_warning(tmp_path: Path) -> None:
    long = [{"prompt_ids": [2] * 60, "chosen_ids": [3] * 9 + [1], "rejected_ids": [4] * 4 + [1]}]
    with pytest.warns(UserWarning, match=r"70 tokens, but the model was made for 64"):
        ed.DPOTrainer(arguments=config(tmp_path, max_length=None), model=tiny_model(), train_dataset=long)


def test_a_margin_that_no_loss_looks_at_is_worth_a_warning(tmp_path: Path) -> None:
    rows = [row | {"margin": 0.5} for row in id_rows(4)]
    with pytest.warns(UserWarning, match=r"'margin' \(row 0: 0.5\), which loss_type 'hinge' does not look at"):
        ed.DPOTrainer(config(tmp_path, loss_type="hinge"), tiny_model(), train_dataset=rows)
    ed.DPOTrainer(config(tmp_path), tiny_model(), train_dataset=rows)


def test_a_skipped_step_does_not_move_the_learning_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(tmp_path, scheduler="linear", do_last_save=False)
    first_only = iter([True, False, False])
    known = run.reference.logprobs

    def broken_first(*batch: Any) -> Any:
        return known(*batch) * (jnp.nan if next(first_only) else 1.0)

    monkeypatch.setattr(run.reference, "logprobs", broken_first)
    with pytest.warns(
        UserWarning, match="1 of the steps up to 1 were skipped, as their loss or gradient was not finite"
    ):
        result = run.train()
    assert (result.steps, result.skipped_steps) == (3, 1)
    assert "3; 1 skipped, not finite" in result.summary
    assert logged(tmp_path, "skipped_steps") == [1, 0, 0]
    np.testing.assert_allclose(logged(tmp_path, "learning_rate")[1:], [1e-2, 1e-2 * 2 / 3], rtol=1e-6)


def test_a_trainer_needs_rows_of_some_kind(tmp_path: Path) -> None:
    with pytest.raises(ed.ConfigError, match="train_dataset="):
        ed.DPOTrainer(arguments=config(tmp_path), model=tiny_model())
    only_evaluates = ed.DPOTrainer(arguments=config(tmp_path), model=tiny_model(), eval_dataset=id_rows(2))
    with pytest.raises(ed.ConfigError, match="train_dataset="):
        only_evaluates.train()


def test_a_run_of_a_model_with_experts_logs_how_balanced_they_are_and_its_loss_has_it(tmp_path: Path) -> None:
    source = {"model_type": "mixtral", "num_local_experts": 4, "router_aux_loss_coef": 0.5}
    model = CausalLM.from_config(ModelConfig.from_hf({**TINY.source, **source}), mesh=make_mesh(ONE_DEVICE))
    arguments = config(tmp_path, max_training_steps=2, do_last_save=False)
    run = ed.DPOTrainer(arguments=arguments, model=model, train_dataset=id_rows(8), eval_dataset=id_rows(4, seed=1))
    result = run.train()
    first = logged(tmp_path, "aux_loss")[0]
    assert first >= 2 - 1e-3  # two experts a token: 2 where they are used equally
    assert logged(tmp_path, "loss")[0] == pytest.approx(math.log(2) + 0.5 * first, rel=1e-5)
    evaluated = run.evaluate()
    assert evaluated["eval_aux_loss"] >= 2 - 1e-3
    assert math.isfinite(result.metrics["loss"])
