"""Checkpoints in other forms: the text of Gemma 3 with images, and experts that a file keeps in one tensor."""

import json
import warnings

import numpy as np
import pytest

from easydel.errors import WeightsError
from easydel.models.checkpoint_forms import text_config
from easydel.weights.model_files import read_folder
from oracles.cases import CASES, TOKENS
from oracles.folders import expected, tensors_of, write_model, write_tensors
from oracles.loaded import load

ONE = (1, 1, 1, 1, 1)

WITH_IMAGES = {"model_type": "gemma3", "text_config": CASES["gemma3"], "vision_config": {}, "eos_token_id": [7, 8]}
# Where versions 4 and 5 of transformers keep the text and the images.
PREFIXES = {"4": ("language_model.model.", "vision_tower."), "5": ("model.language_model.", "model.vision_tower.")}


@pytest.mark.parametrize("version", PREFIXES)
def test_the_text_of_a_model_with_images_is_a_model_of_its_own(version, tmp_path):
    text, images = PREFIXES[version]
    tensors = {name.replace("model.", text, 1): array for name, array in tensors_of(CASES["gemma3"]).items()}
    tensors[f"{images}encoder.layers.0.mlp.fc1.weight"] = np.zeros((2, 2), np.float32)
    (tmp_path / "config.json").write_text(json.dumps(WITH_IMAGES), encoding="utf-8")
    write_tensors(tmp_path, tensors)
    with pytest.warns(UserWarning, match="text and images: its text is loaded, and saving writes .* 'gemma3_text'"):
        model = load(tmp_path)
    np.testing.assert_allclose(model(TOKENS).logits[0], expected("gemma3").logits, atol=1e-4)
    assert model.config.eos_token_id == (7, 8)
    model.save_pretrained(tmp_path / "out")
    assert set(read_folder(tmp_path / "out")) == set(tensors_of(CASES["gemma3"]))
    assert json.loads((tmp_path / "out/config.json").read_text())["architectures"] == ["Gemma3ForCausalLM"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load(tmp_path / "out")(TOKENS).logits, model(TOKENS).logits)


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


def test_what_the_whole_says_of_ties_and_special_tokens_wins_over_its_text():
    inner = CASES["gemma3"] | {"tie_word_embeddings": True, "pad_token_id": 3, "bos_token_id": 5}
    whole = WITH_IMAGES | {"text_config": inner, "tie_word_embeddings": False, "pad_token_id": 9}
    read = text_config(whole)
    assert (read["tie_word_embeddings"], read["pad_token_id"], read["bos_token_id"]) == (False, 9, 5)
    untied = WITH_IMAGES | {"text_config": CASES["gemma3"] | {"tie_word_embeddings": False}}
    assert text_config(untied)["tie_word_embeddings"] is True  # the class reads its own, true if absent


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
