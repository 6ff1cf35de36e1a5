"""Whole runs: what the trainer follows, writes, continues and refuses."""

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import easydel as ed
from easydel.data.source import load_rows
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.sharding import make_mesh
from easydel.trainers.record.files import read_metrics
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
        *("config.yaml", "fingerprints.json", "data.json", "model.json", "metrics.jsonl", "run.json", "report.html"),
        *("checkpoints", "model"),
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


def test_an_earlier_run_is_moved_aside_and_not_lost(tmp_path: Path) -> None:
    for _ in range(2):
        trainer(tmp_path, max_training_steps=1, do_last_save=False).train()
    for name in ("dpo.1", "dpo"):
        assert read_metrics(tmp_path / name)


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


@pytest.mark.exact
def test_the_first_loss_is_known_also_when_the_policy_is_rounded_to_bfloat16(tmp_path: Path) -> None:
    run = trainer(tmp_path, rows=4, param_dtype="bfloat16", max_training_steps=1, do_last_save=False)
    run.train()
    assert logged(tmp_path, "loss")[0] == pytest.approx(math.log(2), rel=1e-6)


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
