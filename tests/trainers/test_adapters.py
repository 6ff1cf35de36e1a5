"""Training adapters: nothing else moves, the reference is the base with them off, and a run continues bit for bit."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import easydel as ed
from easydel.data.source import load_rows
from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.models.lora import TRAINED
from easydel.scripts.loading import load_tokenizer
from easydel.trainers.record.files import read_metrics
from easydel.trainers.reference import make_reference
from easydel.trainers.trainable import make_partition, make_policy, trained_share
from easydel.weights.safetensors import read_file
from easydel.weights.table import unnest
from oracles.runs import id_rows, same_bits
from oracles.tiny import ONE_DEVICE, tiny_config, tiny_model

MODEL = tiny_model(config=tiny_config(vocab_size=64, num_hidden_layers=1))
# Few adapters compile fast; one test has them everywhere.
FAST = {"learning_rate": 1e-2, "lora_rank": 2, "lora_target_modules": ["q_proj", "down_proj"]}

NONE_NEW: dict[str, Any] = {"lora_rank": None, "lora_target_modules": None}


def trainer(folder: Path, name: str = "run", model: CausalLM = MODEL, **options: Any) -> ed.DPOTrainer:
    defaults = {
        "total_batch_size": 4,
        "log_steps": 1,
        "progress_bar_type": "none",
        "max_length": 32,
        "do_last_save": False,
    }
    defaults |= {"model_name": name, "save_directory": str(folder)} | FAST
    return ed.DPOTrainer(arguments=ed.DPOConfig(**{**defaults, **options}), model=model, train_dataset=id_rows(8))


def losses(folder: Path, name: str = "run") -> list[float]:
    return [entry["loss"] for entry in read_metrics(folder / name) if "loss" in entry]


def base_of(model: CausalLM) -> dict[tuple[str, ...], Any]:
    return {path: x for path, x in unnest(model.params).items() if path[-1] not in TRAINED}


@pytest.mark.exact
@pytest.mark.parametrize(
    "settings",
    [{"lora_target_modules": None}, {"use_dora": True, "lora_dropout": 0.2}],
    ids=["lora everywhere", "dora and dropout"],
)
def test_training_moves_adapters_alone_and_starts_at_ln_2(tmp_path, settings):
    run = trainer(tmp_path, do_last_save=True, **settings)
    before = run.model
    assert run.reference.params.keys() == MODEL.params.keys()
    assert same_bits(run.reference.params, MODEL.params)
    assert run.reference.params["embedding"] is MODEL.params["embedding"]  # no second model
    result = run.train()
    assert same_bits(base_of(result.model), base_of(before))
    for path, x in unnest(result.model.params).items():
        if path[-1] in TRAINED:
            assert not np.array_equal(x, unnest(before.params)[path]), path
    assert losses(tmp_path)[0] == pytest.approx(np.log(2), abs=1e-6) or "lora_dropout" in settings
    saved = read_file(tmp_path / "run/model/adapter_model.safetensors")
    assert len(saved) == (2 * 3 if "use_dora" in settings else 7 * 2)
    assert not (tmp_path / "run/model/model.safetensors").exists()


def test_state_and_checkpoints_hold_adapters_alone():
    config = ed.DPOConfig(lora_rank=2)
    model = make_policy(config, MODEL)
    partition = make_partition(config, model)
    trained = unnest(partition.trained_part(model.params))
    assert {path[-1] for path in trained} == {"lora_a", "lora_b"}
    assert len(trained) == 14
    assert same_bits(
        partition.combine(partition.trained_part(model.params), partition.frozen_part(model.params)), model.params
    )
    assert trained_share(partition, model) == 0


def test_a_run_with_adapters_continues_bit_for_bit_and_a_moving_reference_with_it(tmp_path):
    options = {"save_steps": 1, "resume": "auto", "sync_ref_model": True, "ref_model_sync_steps": 1}
    straight = trainer(tmp_path, "straight", **options).train()
    trainer(tmp_path, "cut", **options, max_training_steps=1).train()
    resumed = trainer(tmp_path, "cut", **options).train()
    assert same_bits(resumed.model.params, straight.model.params)
    assert losses(tmp_path, "straight") == losses(tmp_path, "cut")
    arrays = (tmp_path / "cut/checkpoints/2/reference").rglob("*")
    assert sum(path.stat().st_size for path in arrays if path.is_file()) > 0
    shifted = dataclasses.replace(MODEL, params=MODEL.params | {"embedding": MODEL.params["embedding"] + 1})
    with pytest.raises(ConfigError, match="frozen weights were"):
        trainer(tmp_path, "cut", shifted, **options).train()


def test_a_mesh_trains_the_same_adapters(tmp_path):
    trainer(tmp_path, "alone", max_training_steps=2).train()
    spread = tiny_model(config=MODEL.config, dims=(2, 2, 1, 2, 1))
    trainer(tmp_path, "spread", spread, max_training_steps=2).train()
    np.testing.assert_allclose(losses(tmp_path, "spread"), losses(tmp_path, "alone"), atol=1e-5)


def test_loaded_adapters_are_trained_on_with_a_copy_of_themselves_as_reference(tmp_path):
    first = trainer(tmp_path, "first").train().model
    first.save_pretrained(tmp_path / "adapters")
    loaded = dataclasses.replace(MODEL, origin=first.origin).load_adapter(tmp_path / "adapters")
    run = trainer(tmp_path, "second", loaded, **NONE_NEW)
    assert same_bits(run.reference.params, loaded.params)
    result = run.train()
    assert losses(tmp_path, "second")[0] == pytest.approx(np.log(2), abs=1e-6)
    assert losses(tmp_path, "second")[1] != pytest.approx(np.log(2), abs=1e-6)
    assert same_bits(base_of(result.model), base_of(loaded))
    # The base as reference needs no second model either.
    off = trainer(tmp_path, "third", loaded, **NONE_NEW)
    config = dataclasses.replace(off.arguments)
    explicit = make_reference(config, loaded, loaded.without_adapters(), chunk=16)
    assert explicit.params["embedding"] is MODEL.params["embedding"]


def test_log_probabilities_of_the_base_are_found_again_whatever_the_adapters(tmp_path, monkeypatch):
    options = {"precompute_ref_log_probs": True, "cache_directory": str(tmp_path / "cache")}
    trainer(tmp_path, "one", **options).train()
    folders = sorted((tmp_path / "cache").rglob("*.shard"))
    assert losses(tmp_path, "one")[0] == pytest.approx(np.log(2), abs=1e-6)
    trainer(tmp_path, "two", **options, use_dora=True).train()
    assert sorted((tmp_path / "cache").rglob("*.shard")) == folders


def test_a_merged_model_is_saved_where_it_is_asked_for(tmp_path):
    run = trainer(tmp_path, merge_lora_before_save=True, do_last_save=True, max_training_steps=1)
    result = run.train()
    assert not (tmp_path / "run/model/adapter_config.json").exists()
    stored = read_file(tmp_path / "run/model/model.safetensors")
    merged = result.model.merged().params["layers"]["up"]["kernel"][0]
    np.testing.assert_array_equal(stored["model.layers.0.mlp.up_proj.weight"].array().T, merged)


def test_some_adapters_can_be_frozen_but_not_what_is_frozen_already():
    config = ed.DPOConfig(lora_rank=2, frozen_parameters="lora_A")
    model = make_policy(config, MODEL)
    trained = unnest(make_partition(config, model).trained_part(model.params))
    assert {path[-1] for path in trained} == {"lora_b"}
    with pytest.raises(ConfigError, match="'embed_tokens' matches the name of no weight that is trained"):
        make_partition(ed.DPOConfig(lora_rank=2, frozen_parameters="embed_tokens"), model)


def test_what_does_not_fit_the_model_is_refused_before_anything_is_compiled(tmp_path):
    adapted = MODEL.apply_lora(2)
    for model, settings, message in (
        (MODEL, {"lora_rank": 99}, r"\(99\) is larger than self_attn\.q_proj"),
        (MODEL, {"lora_target_modules": ["qq"]}, "'qq' is not a module"),
        (adapted, {}, "has adapters already, of rank 2"),
        (MODEL, {**NONE_NEW, "merge_lora_before_save": True}, "has nothing to merge"),
    ):
        with pytest.raises(ConfigError, match=message):
            trainer(tmp_path, model=model, **settings)


def test_the_optimizer_of_matrices_takes_adapters_too(tmp_path):
    result = trainer(tmp_path, optimizer="muon", max_training_steps=1, weight_decay=0.1).train()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(result.model.params))


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_packed_weights_are_trained_through_adapters_only(tmp_path, kind):
    packed = MODEL.quantized(kind)
    with pytest.raises(ConfigError, match=f"quantized to {kind} and cannot be trained themselves: train adapters"):
        trainer(tmp_path, model=packed, **NONE_NEW)
    result = trainer(tmp_path, model=packed).train()
    assert losses(tmp_path)[0] == pytest.approx(np.log(2), abs=1e-6)
    before = packed.apply_lora(2, target_modules=FAST["lora_target_modules"])
    assert same_bits(base_of(result.model), base_of(before))
    assert not same_bits(result.model.params, before.params)


@pytest.mark.exact
def test_a_packed_model_learns_real_pairs(shared, tmp_path):
    folder = shared / "models" / "stories260k"
    options = {"dtype": "float32", "sharding_axis_dims": ONE_DEVICE, "quantization": "nf4"}
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, **options)
    rows = list(load_rows(str(shared / "data" / "alpaca_pairs.jsonl.gz"), split="train"))
    rows = sorted(rows, key=lambda row: len(row["prompt"]) + len(row["chosen"]) + len(row["rejected"]))[:24]
    config = ed.DPOConfig(
        save_directory=str(tmp_path),
        lora_rank=8,
        learning_rate=5e-4,
        beta=0.3,
        max_length=192,
        total_batch_size=8,
        num_train_epochs=3,
        shuffle_train_dataset=False,
        log_steps=3,
        progress_bar_type="none",
    )
    ed.DPOTrainer(config, model, processing_class=load_tokenizer(str(folder), None), train_dataset=rows).train()
    by_epoch = losses(tmp_path, "dpo")
    assert by_epoch[0] > by_epoch[1] > by_epoch[2]
