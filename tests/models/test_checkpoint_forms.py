"""Checkpoints in other forms: experts that a file keeps in one tensor, and a head that stands for the embedding."""

import numpy as np
import pytest

from easydel.errors import WeightsError
from easydel.weights.model_files import read_folder
from oracles.cases import CASES, TOKENS
from oracles.folders import tensors_of, write_model, write_tensors
from oracles.loaded import load

ONE = (1, 1, 1, 1, 1)


def stacked(name):
    """The tensors of a case as transformers 5 keeps them: gate and up of all experts in one, down in another."""
    tensors = tensors_of(CASES[name])
    module, projections = ("block_sparse_moe", ("w1", "w3", "w2")) if name == "mixtral" else ("mlp", None)
    gate, up, down = projections or ("gate_proj", "up_proj", "down_proj")
    found = {name: array for name, array in tensors.items() if f"{module}." not in name or "expert" not in name}
    for layer in range(CASES[name]["num_hidden_layers"]):
        at = f"model.layers.{layer}.{module}"
        if f"{at}.gate.weight" in found:
            found[f"model.layers.{layer}.mlp.gate.weight"] = found.pop(f"{at}.gate.weight")
            number = sum(each.startswith(f"{at}.experts.") for each in tensors) // 3
            experts = [[tensors[f"{at}.experts.{i}.{part}.weight"] for part in (gate, up, down)] for i in range(number)]
            both = np.stack([np.concatenate(parts[:2]) for parts in experts])
            found[f"model.layers.{layer}.mlp.experts.gate_up_proj"] = both
            found[f"model.layers.{layer}.mlp.experts.down_proj"] = np.stack([parts[2] for parts in experts])
    return found


@pytest.mark.parametrize("name", ["mixtral", "qwen3-moe-mixed"])
def test_experts_in_one_tensor_are_those_of_many(name, tmp_path):
    folder = write_model(tmp_path, CASES[name])
    write_tensors(folder, stacked(name))
    model = load(folder)
    model.save_pretrained(folder / "out")
    for each, array in tensors_of(CASES[name]).items():
        np.testing.assert_array_equal(read_folder(folder / "out")[each].array(), array)


def test_experts_in_one_tensor_of_another_shape_are_refused(tmp_path):
    folder = write_model(tmp_path, CASES["mixtral"])
    tensors = stacked("mixtral")
    at = "model.layers.1.mlp.experts.gate_up_proj"
    write_tensors(folder, tensors | {at: tensors[at][:, :, 1:]})
    with pytest.raises(WeightsError, match=r"layers\.1\.block_sparse_moe\.experts\.0\.w1\.weight has shape \[40, 31\]"):
        load(folder)
    write_tensors(folder, tensors | {at: tensors[at][:3]})
    with pytest.raises(WeightsError, match=r"4 missing \(model\.layers\.1\.block_sparse_moe\.experts\.3\.w1"):
        load(folder)


def test_the_head_alone_is_the_embedding_of_a_model_that_ties_them(tmp_path):
    folder = write_model(tmp_path / "in", CASES["gemma3"])
    tensors = tensors_of(CASES["gemma3"])
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    before = load(folder)(TOKENS).logits
    write_tensors(folder, tensors)
    np.testing.assert_array_equal(load(folder)(TOKENS).logits, before)


def test_convolutions_that_transformers_cut_in_thirds_are_cut_where_they_end(tmp_path):
    """Query and key have 16 channels, the values 8: transformers 5.24 writes 14, 14 and 12, and reads them joined."""
    source = CASES["olmo-hybrid"] | {"linear_value_head_dim": 2}
    folder = write_model(tmp_path / "in", source)
    before, tensors = load(folder)(TOKENS).logits, tensors_of(source)
    for layer in (0, 1, 3):
        names = [f"model.layers.{layer}.linear_attn.{part}_conv1d.weight" for part in "qkv"]
        thirds = np.split(np.concatenate([tensors[name] for name in names]), [14, 28])
        tensors |= dict(zip(names, thirds, strict=True))
    write_tensors(folder, tensors)
    np.testing.assert_array_equal(load(folder)(TOKENS).logits, before)
    write_tensors(folder, tensors | {names[2]: tensors[names[2]][1:]})
    with pytest.raises(WeightsError, match=r"q_conv1d.weight has shape \[14, 1, 4\]"):
        load(folder)
