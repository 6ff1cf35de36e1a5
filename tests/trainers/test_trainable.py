"""Frozen weights: taken out and put back bit for bit, without moments, and the same after training as before."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import easydel as ed
from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.trainers.config import DPOConfig
from easydel.trainers.objective import make_objective
from easydel.trainers.optimizer import optimizer_of
from easydel.trainers.record.checkpoint import Checkpointer
from easydel.trainers.step_functions import Forward, loss_and_gradient
from easydel.trainers.trainable import ALL_TRAINED, make_partition, trained_share
from easydel.weights.table import unnest
from oracles.products import sizes
from oracles.runs import id_rows, same_bits
from oracles.tiny import micro_batches, tiny_config, tiny_model, tiny_pairs

MODEL = tiny_model(config=tiny_config(vocab_size=64, num_hidden_layers=3))
# A whole array, all layers of a stack by our name, and two layers of the others by theirs.
PATTERN = r"embed_tokens|^layers\.query|^model\.layers\.[02]\."


def test_both_parts_together_are_the_weights_again_bit_for_bit():
    partition = make_partition(DPOConfig(frozen_parameters=PATTERN), MODEL)
    trained, frozen = partition.trained_part(MODEL.params), partition.frozen_part(MODEL.params)
    assert same_bits(partition.combine(trained, frozen), MODEL.params)
    assert frozen["embedding"] is MODEL.params["embedding"]  # no copy
    assert "embedding" not in trained
    assert "query" not in trained["layers"]
    np.testing.assert_array_equal(trained["layers"]["up"]["kernel"], MODEL.params["layers"]["up"]["kernel"][1:2])
    np.testing.assert_array_equal(frozen["layers"]["up"]["kernel"], MODEL.params["layers"]["up"]["kernel"][::2])


def test_without_a_pattern_every_weight_is_trained():
    assert make_partition(DPOConfig(), MODEL) == ALL_TRAINED
    assert ALL_TRAINED.frozen_part(MODEL.params) == {}
    assert same_bits(ALL_TRAINED.trained_part(MODEL.params), MODEL.params)
    assert trained_share(ALL_TRAINED, MODEL) == 1


def test_the_share_that_is_trained_counts_layers():
    sizes = {path: x.size for path, x in unnest(MODEL.params).items()}
    partition = make_partition(DPOConfig(frozen_parameters=r"layers\.1\.mlp\.up_proj"), MODEL)
    expected = 1 - sizes["layers", "up", "kernel"] / 3 / sum(sizes.values())
    assert trained_share(partition, MODEL) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pattern", "trained"),
    [
        (
            r"^(?!.*(q_proj|norm))",
            {"layers.query.kernel": 3, "layers.attention_norm": 3, "layers.mlp_norm": 3, "norm": 0},
        ),
        (r"^(?!model\.layers\.1\.self_attn\.(q|o)_proj)", {"layers.query.kernel": 1, "layers.output.kernel": 1}),
        (r"^(?!layers\.query|embedding)", {"layers.query.kernel": 3, "embedding": 0}),
    ],
)
def test_a_pattern_of_what_is_trained_goes_by_the_names_that_it_is_written_in(pattern, trained):
    """Any name of the other kind lacks those words, and would be frozen for it."""
    found = make_partition(DPOConfig(frozen_parameters=pattern), MODEL).trained_part(MODEL.params)
    layers = {".".join(path): len(x) if path[0] == "layers" else 0 for path, x in unnest(found).items()}
    assert layers == trained


def test_a_pattern_that_finds_nothing_is_an_error_that_lists_what_there_is():
    with pytest.raises(ConfigError, match="'q_projj' matches the name of no weight that is trained") as error:
        make_partition(DPOConfig(frozen_parameters="q_projj"), MODEL)
    assert "model.layers.0.self_attn.q_proj.weight" in str(error.value)
    assert "layers.query.kernel" in str(error.value)


def test_a_pattern_that_leaves_nothing_to_train_or_is_none_is_an_error():
    with pytest.raises(ConfigError, match=r"'\.' matches the names of all weights"):
        make_partition(DPOConfig(frozen_parameters="."), MODEL)
    with pytest.raises(ConfigError, match=r"frozen_parameters = '\(' is not a regular expression"):
        DPOConfig(frozen_parameters="(")


def trainer(folder: Path, name: str, model: CausalLM = MODEL, **options: Any) -> ed.DPOTrainer:
    defaults = {
        "total_batch_size": 4,
        "learning_rate": 1e-2,
        "log_steps": 1,
        "progress_bar_type": "none",
        "max_length": 32,
    }
    defaults |= {"model_name": name, "save_directory": str(folder), "do_last_save": False}
    return ed.DPOTrainer(arguments=DPOConfig(**{**defaults, **options}), model=model, train_dataset=id_rows(8))


def test_frozen_weights_keep_their_bits_and_have_no_moments(tmp_path):
    options = {"frozen_parameters": PATTERN, "weight_decay": 0.1, "save_steps": 1}
    run = trainer(tmp_path, "run", **options)
    partition = make_partition(run.arguments, MODEL)
    result = run.train()
    assert same_bits(partition.frozen_part(result.model.params), partition.frozen_part(MODEL.params))
    trained = unnest(partition.trained_part(result.model.params))
    for path, before in unnest(partition.trained_part(MODEL.params)).items():
        assert not np.array_equal(trained[path], before), path
    # What is stored: weights and two moments of what is trained, and nothing else.
    with Checkpointer(tmp_path / "run" / "checkpoints") as checkpointer:
        stored = jax.tree.leaves_with_path(checkpointer._manager.item_metadata(2).get("state"))
    shapes = {x.shape for x in trained.values()} | {(), (2,)}  # and counts, and the key
    assert {tuple(leaf.shape) for _, leaf in stored} <= shapes
    assert not any("embedding" in jax.tree_util.keystr(path) for path, _ in stored)


def test_muon_has_moments_of_what_is_trained_alone():
    config = DPOConfig(frozen_parameters=PATTERN, optimizer="muon")
    partition = make_partition(config, MODEL)
    trained = partition.trained_part(MODEL.params)
    moments = jax.eval_shape(optimizer_of(config, lambda step: 0.1, MODEL, partition).init, trained)
    shapes = {x.shape for x in jax.tree.leaves(trained)} | {()}  # and counts
    assert {x.shape for x in jax.tree.leaves(moments)} == shapes


def test_a_run_with_frozen_weights_continues_bit_for_bit_and_only_with_the_same_ones(tmp_path):
    options = {"frozen_parameters": PATTERN, "save_steps": 1, "resume": "auto", "sync_ref_model": True}
    options |= {"ref_model_sync_steps": 1}
    straight = trainer(tmp_path, "straight", **options).train()
    trainer(tmp_path, "cut", **options, max_training_steps=1).train()
    resumed = trainer(tmp_path, "cut", **options).train()
    assert same_bits(resumed.model.params, straight.model.params)
    shifted = dataclasses.replace(MODEL, params=MODEL.params | {"embedding": MODEL.params["embedding"] + 1})
    with pytest.raises(ConfigError, match="frozen weights were"):
        trainer(tmp_path, "cut", shifted, **options).train()


OBJECTIVE = make_objective(DPOConfig())
EIGHT = tiny_model(config=tiny_config(num_hidden_layers=8), gradient_checkpointing="nothing_saveable")
FROZEN_LAYERS = {
    "the first": r"^model\.layers\.[0-3]\.",
    "the last": r"^model\.layers\.[4-7]\.",
    "every other": r"^model\.layers\.[0246]\.",
    "of one matrix": r"^model\.layers\.[1235]\.mlp\.up_proj",
    "of the inside": r"^model\.layers\.[3-5]\.|norm",
}


def gradient_by(pattern: str | None, model: CausalLM = EIGHT) -> tuple[Any, Any, Any]:
    """The gradient, and that as a function of what is trained, with this."""
    partition = make_partition(DPOConfig(frozen_parameters=pattern), model)
    frozen, batch = partition.frozen_part(model.params), micro_batches(tiny_pairs(4), 1)
    forward = Forward(model.decoder, chunk=8)

    def gradient(trained):
        whole, reference = partial(partition.beside, frozen=frozen), np.zeros(batch.lengths.shape, np.float32)
        return loss_and_gradient(forward, OBJECTIVE, trained, batch, reference, whole=whole)

    trained = partition.trained_part(model.params)
    return partition, gradient, trained


@pytest.fixture(scope="module")
def of_all() -> Any:
    _, gradient, trained = gradient_by(None)
    return jax.jit(gradient)(trained)


@pytest.mark.parametrize("which", FROZEN_LAYERS)
def test_the_gradient_of_what_is_trained_is_that_of_a_run_where_all_is(of_all, which):
    partition, gradient, trained = gradient_by(FROZEN_LAYERS[which])
    found, out, losses = jax.jit(gradient)(trained)
    expected, out_of_all, losses_of_all = of_all
    for one, other in (
        (found, partition.trained_part(expected)),
        (out.logps, out_of_all.logps),
        (losses, losses_of_all),
    ):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-6), one, other)


def test_no_gradient_of_a_frozen_layer_is_computed_and_no_two_stacks_are_joined():
    """Products that give something as large as a matrix are gradients: forward there are none."""

    def matrices_of_mlps(pattern: str | None) -> int:
        return sum(size == (16, 24) for size in sizes(*gradient_by(pattern)[1:]))

    assert matrices_of_mlps(None) == 3  # gate, up and down of the layer in the loop
    assert matrices_of_mlps(FROZEN_LAYERS["every other"]) == 3  # of one of the two in it
    _, gradient, trained = gradient_by(FROZEN_LAYERS["the first"])
    text = str(jax.make_jaxpr(gradient)(trained))
    stacks = {f"[{layers},16,24]" for layers in range(5, 9)}
    assert not any(stack in text for stack in stacks)
    assert "[4,16,24]" in text


@pytest.mark.parametrize(
    ("which", "dtype", "precompute"), [("every other", "bfloat16", False), ("of the inside", "float32", True)]
)
def test_policy_and_reference_agree_at_the_first_step_though_layers_are_frozen(tmp_path, which, dtype, precompute):
    model = tiny_model(config=tiny_config(vocab_size=64, num_hidden_layers=8), dtype=dtype)
    options = {"frozen_parameters": FROZEN_LAYERS[which], "max_training_steps": 1}
    run = trainer(tmp_path, "run", model, **options, precompute_ref_log_probs=precompute)
    assert run.train().metrics["loss"] == pytest.approx(np.log(2), abs=1e-6)
