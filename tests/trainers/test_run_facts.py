"""What decides the numbers of a run besides its settings, as names and values."""

import dataclasses

import jax.numpy as jnp
import pytest

from easydel.models.config import ModelConfig
from easydel.trainers.record.same_run import FACTS
from easydel.trainers.run_facts import can_have, precision_name, program_facts, weight_facts
from easydel.trainers.trainable import ALL_TRAINED, make_partition, make_policy
from oracles.runs import config, tiny_model
from oracles.tiny import tiny_config


def test_a_model_says_how_it_computes_and_not_what_its_file_is_called(tmp_path):
    model = tiny_model(dtype=jnp.bfloat16, attn_mechanism="vanilla")
    facts = program_facts(config(tmp_path), model, None)
    assert facts["dtype"] == facts["reference_model dtype"] == "bfloat16"
    assert (facts["param_dtype"], facts["attn_mechanism"], facts["quantization"]) == ("float32", "vanilla", "none")
    assert facts["model.rms_norm_eps"] == repr(model.config.rms_norm_eps)
    origin = dataclasses.replace(model.origin, name="elsewhere") if dataclasses.is_dataclass(model.origin) else None
    named = dataclasses.replace(model, origin=origin or model.origin._replace(name="elsewhere"))
    other = dataclasses.replace(named.config, model_type="other", eos_token_id=(3,), max_position_embeddings=9)
    named = dataclasses.replace(named, decoder=dataclasses.replace(named.decoder, config=other))
    assert program_facts(config(tmp_path), named, None) == facts


def test_layers_that_differ_are_counted(tmp_path):
    windows = tiny_config(num_hidden_layers=3).to_hf() | {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 4,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    }
    decoder = dataclasses.replace(tiny_model().decoder, config=ModelConfig.from_hf(windows))
    facts = program_facts(config(tmp_path), dataclasses.replace(tiny_model(), decoder=decoder), None)
    assert facts["model.layers.window"] == "1 of None, 2 of 4"


def test_without_a_reference_nothing_is_said_of_one(tmp_path):
    facts = program_facts(config(tmp_path, loss_type="simpo"), tiny_model(), None)
    assert not [name for name in facts if name.startswith("reference_model")]
    weights = weight_facts(config(tmp_path, loss_type="simpo"), tiny_model(), None, ALL_TRAINED, {})
    assert weights["reference weights"] == weights["frozen weights"] == "none"


def test_new_adapters_leave_the_reference_to_the_base_and_moved_ones_do_not(tmp_path):
    asked = config(tmp_path, lora_rank=2)
    policy = make_policy(asked, tiny_model())
    partition = make_partition(asked, policy)
    frozen = partition.frozen_part(policy.params)
    base = weight_facts(config(tmp_path), tiny_model(), None, ALL_TRAINED, {})["reference weights"]
    assert weight_facts(asked, policy, None, partition, frozen)["reference weights"] == base
    moved = dataclasses.replace(policy, params=_with_adapters_moved(policy.params))
    facts = weight_facts(asked, moved, None, partition, frozen)
    assert facts["reference weights"] != base
    assert facts["reference_model adapters"] == "of rank 2"


def _with_adapters_moved(params):
    return {
        name: _with_adapters_moved(value) if isinstance(value, dict) else value + 1 if name == "lora_b" else value
        for name, value in params.items()
    }


@pytest.mark.parametrize(
    ("given", "name"),
    [(None, "default"), ("highest", "highest"), ("float32", "highest"), ("BF16_BF16_F32", "BF16_BF16_F32")],
)
def test_a_precision_has_one_name(given, name):
    assert precision_name(given) == name


def test_only_a_mechanism_of_attention_may_be_out_of_reach():
    decoder = tiny_model().decoder
    assert can_have(decoder, "attn_mechanism", "vanilla")
    assert not can_have(decoder, "reference_model attn_mechanism", "splash")
    assert can_have(decoder, "dtype", "float64")


def test_each_fact_says_what_it_is_and_what_to_do():
    assert all(fact.help and fact.remedy for fact in FACTS.values())
