"""Saving: what comes back is bit for bit what was saved, transformers reads it, and a crash harms nothing."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from easydel.weights.model_files import read_folder
from oracles.cases import CASES, TOKENS
from oracles.folders import tensors_of, write_model
from oracles.loaded import load

ONE = (1, 1, 1, 1, 1)


@pytest.mark.parametrize("name", CASES)
def test_a_saved_model_has_the_bits_and_the_settings_of_its_source(name, tmp_path):
    load(write_model(tmp_path / "in", CASES[name]), dtype="bfloat16").save_pretrained(tmp_path / "out")
    saved = read_folder(tmp_path / "out")
    given = tensors_of(CASES[name])
    assert set(saved) == set(given)
    for tensor, array in given.items():
        np.testing.assert_array_equal(saved[tensor].array(), array)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == CASES[name] | {"torch_dtype": "float32"}


def test_a_model_split_over_devices_saves_the_same_bits(tmp_path):
    source = write_model(tmp_path / "in", CASES["llama-biases"])
    load(source, sharding_axis_dims=(1, 4, 1, 2, 1)).save_pretrained(tmp_path / "out")
    before, after = read_folder(source), read_folder(tmp_path / "out")
    for name in before:
        np.testing.assert_array_equal(before[name].array(), after[name].array())


def test_saving_in_bfloat16_says_so_in_the_configuration(tmp_path):
    source = write_model(tmp_path / "in", CASES["llama-gqa"] | {"dtype": "float32"})
    load(source).save_pretrained(tmp_path / "out", dtype="bfloat16", max_shard_size=5000)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    assert {str(stored.dtype) for stored in read_folder(tmp_path / "out").values()} == {"bfloat16"}
    assert (tmp_path / "out" / "model.safetensors.index.json").is_file()


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")  # of torch and transformers, about themselves
def test_transformers_loads_what_we_save_and_computes_the_same(name, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = load(write_model(tmp_path / "in", CASES[name]))
    model.save_pretrained(tmp_path / "out")
    logits = np.asarray(model(TOKENS).logits[0])
    # A recurrence sums what each layer rounds over all tokens: against float64, float32 is off by 7e-5 there and here.
    close = 1e-4 if "delta" in model.config.mixers else 1e-5
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_allclose(logits, theirs(torch.from_numpy(TOKENS)).logits[0], atol=close, rtol=1e-5)


def test_a_configuration_says_the_dtype_under_each_name_it_has_and_names_no_file_that_is_not_there(tmp_path):
    extra = {"dtype": "bfloat16", "torch_dtype": "float16", "auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}
    folder = write_model(tmp_path / "in", CASES["llama-gqa"] | extra | {"transformers_weights": "model.safetensors"})
    load(folder).save_pretrained(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written == CASES["llama-gqa"] | {"dtype": "float32", "torch_dtype": "float32"}


@pytest.mark.parametrize("name", ["lfm2", "qwen3-5", "olmo-hybrid"])
def test_adapters_of_mixers_are_merged_too(name, tmp_path):
    model = load(write_model(tmp_path / "in", CASES[name])).apply_lora(2)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 0.1 if path[-1].key == "lora_b" else leaf, model.params
    )
    model = dataclasses.replace(model, params=params)
    model.save_pretrained(tmp_path / "out", merge=True)
    np.testing.assert_allclose(load(tmp_path / "out")(TOKENS).logits, model(TOKENS).logits, atol=1e-4)
