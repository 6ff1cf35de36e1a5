"""Models of text with images: their text is that of a model of text alone, and all else of the file comes back."""

import json
import shutil
import warnings
from typing import Any

import numpy as np
import pytest

import easydel as ed
from easydel.errors import ConfigError, DataError
from easydel.models.config import ModelConfig
from easydel.models.wrappers import placeholders, text_config
from easydel.weights.model_files import read_folder
from easydel.weights.safetensors import read_file
from oracles.cases import CASES, TOKENS
from oracles.folders import tensors_of, write_model, write_tensors
from oracles.loaded import load

# The case that its text is, what it calls that, and how a tensor of its tower is called: of transformers 4 and 5.
_LLAVA = {"4": ("language_model.model.", "vision_tower."), "5": ("model.language_model.", "model.vision_tower.")}
_QWEN = {"4": ("model.", "visual."), "5": ("model.language_model.", "model.visual.")}
WRAPPED = {
    "qwen2_5_vl": ("qwen2-tied", "qwen2_5_vl_text", _QWEN),
    "qwen2_vl": ("qwen2", "qwen2_vl_text", _QWEN),
    "qwen3_vl": ("qwen3", "qwen3_vl_text", _QWEN),
    "mistral3": ("mistral", "mistral", _LLAVA),
    "gemma3": ("gemma3", "gemma3_text", _LLAVA),
}
IDS = {"prompt_ids": [3, 9], "chosen_ids": [5, 6, 2], "rejected_ids": [8, 2]}


def wrapped(folder, kind, version="5", **changes):
    """Returns a folder of a wrapper: the tensors of a case, and two of a tower that no layer could read."""
    name, text, spellings = WRAPPED[kind]
    source: dict[str, Any] = CASES[name]
    at, tower = spellings[version]
    tensors = {}
    for each, array in tensors_of(source).items():
        head = "language_model.lm_head." if at == "language_model.model." else "lm_head."
        tensors[each.replace("model.", at, 1) if each.startswith("model.") else each.replace("lm_head.", head)] = array
    tensors[f"{tower}blocks.0.weight"] = np.arange(6, dtype=np.float16).reshape(2, 3)
    tensors[f"{tower}blocks.0.count"] = np.array([7], np.int64)
    tied = source.get("tie_word_embeddings", kind == "gemma3")
    whole = {
        **{"model_type": kind, "architectures": [f"{kind}ForConditionalGeneration"], "vision_config": {"depth": 1}},
        **{"text_config": {**source, "model_type": text}, "tie_word_embeddings": tied},
        **{"image_token_id": 45, "video_token_id": 46, "torch_dtype": "float32"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = {name: value for name, value in {**whole, **changes}.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(written), encoding="utf-8")
    write_tensors(folder, tensors)
    return folder


def trainer_on(folder, model, rows, **settings):
    options = {"save_directory": str(folder), "total_batch_size": 2, "max_length": 16, "progress_bar_type": "none"}
    config = ed.DPOConfig(**{**options, **settings})
    return ed.DPOTrainer(arguments=config, model=model, processing_class=None, train_dataset=rows)


def check_same(one, other):
    before, after = read_folder(one), read_folder(other)
    assert set(before) == set(after)
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype, name
        np.testing.assert_array_equal(after[name].array(), tensor.array())


@pytest.mark.parametrize(("kind", "version"), [(kind, version) for kind in WRAPPED for version in ("4", "5")])
def test_the_text_is_computed_as_that_of_a_model_alone_and_every_tensor_comes_back(kind, version, tmp_path):
    folder = wrapped(tmp_path / "whole", kind, version)
    (folder / "preprocessor_config.json").write_text("{}")
    model = load(folder)
    alone = load(write_model(tmp_path / "alone", CASES[WRAPPED[kind][0]]))
    np.testing.assert_array_equal(model(TOKENS).logits, alone(TOKENS).logits)
    model.save_pretrained(tmp_path / "out")
    check_same(folder, tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text()) == json.loads((folder / "config.json").read_text())
    assert (tmp_path / "out/preprocessor_config.json").is_file()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path / "out").config == model.config


def test_a_run_and_a_checkpoint_of_it_change_the_text_and_leave_the_tower_its_bits(tmp_path):
    from easydel.trainers.checkpoint_model import checkpoint_model

    folder = wrapped(tmp_path / "whole", "qwen2_5_vl")
    settings = {"model_name": "run", "max_training_steps": 1, "learning_rate": 1e-2, "save_steps": 1}
    trainer = trainer_on(tmp_path / "runs", load(folder), [IDS] * 4, **settings)
    trainer.train().model.save_pretrained(tmp_path / "out", dtype="float32")

    checkpoint = checkpoint_model(tmp_path / "runs/run/checkpoints/1", sharding_axis_dims=(1, 1, 1, 1, 1))
    checkpoint.model.save_pretrained(tmp_path / "again", dtype="float32")
    check_same(tmp_path / "out", tmp_path / "again")
    before, after = read_folder(folder), read_folder(tmp_path / "out")
    for name, tensor in before.items():
        moved = not np.array_equal(after[name].array(), tensor.array())
        assert moved == ("visual" not in name), name


@pytest.mark.parametrize("name", ["prompt_ids", "rejected_ids"])
def test_a_row_with_the_token_of_an_image_is_named_with_the_token(name, tmp_path):
    rows = [IDS, IDS | {name: [4, 45, 6]}]
    side = name.removesuffix("_ids")
    model = load(wrapped(tmp_path / "whole", "qwen3_vl"))
    with pytest.raises(DataError, match=rf"row 1: {side} holds the token id 45 at place 1.*image_token_id"):
        trainer_on(tmp_path, model, rows)


def test_the_ids_of_images_are_those_of_the_file_or_else_of_the_class():
    whole = {"model_type": "mistral3", "text_config": {"model_type": "mistral"}}
    assert placeholders(whole) == {10: "image_token_index"}
    assert placeholders(whole | {"image_token_id": 12}) == {12: "image_token_id"}
    assert placeholders(CASES["qwen2"]) == {}


def test_settings_of_the_text_may_stand_among_those_of_the_whole(tmp_path):
    flat = CASES["qwen2-tied"] | {"model_type": "qwen2_5_vl", "text_config": ...}
    folder = wrapped(tmp_path / "whole", "qwen2_5_vl", **flat)
    alone = load(write_model(tmp_path / "alone", CASES["qwen2-tied"]))
    np.testing.assert_array_equal(load(folder)(TOKENS).logits, alone(TOKENS).logits)


def test_positions_in_three_directions_are_those_of_text_in_one():
    one = {**CASES["qwen2"], "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}
    two = {**CASES["qwen2"], "rope_scaling": {"rope_type": "default", "mrope_interleaved": True}}
    assert ModelConfig.from_hf(one) == ModelConfig.from_hf(two) == ModelConfig.from_hf(CASES["qwen2"])


def test_a_head_of_its_own_is_read_where_only_the_class_says_that_there_is_none(tmp_path):
    folder = wrapped(tmp_path / "whole", "mistral3", tie_word_embeddings=...)
    model = load(folder)
    assert not model.config.tie_word_embeddings
    model.save_pretrained(tmp_path / "out")
    check_same(folder, tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False


def test_adapters_have_the_names_of_the_modules_and_mean_those_of_the_text_alone(tmp_path):
    base = load(wrapped(tmp_path / "whole", "gemma3", "4"))
    model = base.apply_lora(2, target_modules=["q_proj", "down_proj"])
    model.save_pretrained(tmp_path / "new")
    config = json.loads((tmp_path / "new/adapter_config.json").read_text())
    assert config["target_modules"] == r"model\.language_model\.layers\.\d+\.(self_attn\.q_proj|mlp\.down_proj)"
    tensors = read_file(tmp_path / "new/adapter_model.safetensors")
    assert "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight" in tensors
    assert base.load_adapter(tmp_path / "new").lora == model.lora
    # As PEFT called them beside transformers 4.
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    older = {name.replace("model.language_model", "language_model.model"): x for name, x in tensors.items()}
    write_tensors(tmp_path / "old", {name: tensor.array() for name, tensor in older.items()})
    (tmp_path / "old/model.safetensors").rename(tmp_path / "old/adapter_model.safetensors")
    base.load_adapter(tmp_path / "old").save_pretrained(tmp_path / "back")
    assert set(read_file(tmp_path / "back/adapter_model.safetensors")) == set(tensors)


def test_what_the_whole_says_of_ties_and_special_tokens_wins_over_its_text():
    inner = CASES["gemma3"] | {"tie_word_embeddings": True, "pad_token_id": 3, "bos_token_id": 5}
    whole = {"model_type": "gemma3", "text_config": inner, "tie_word_embeddings": False, "pad_token_id": 9}
    read = text_config(whole)
    assert (read["tie_word_embeddings"], read["pad_token_id"], read["bos_token_id"]) == (False, 9, 5)
    untied = {"model_type": "gemma3", "text_config": CASES["gemma3"] | {"tie_word_embeddings": False}}
    assert text_config(untied)["tie_word_embeddings"] is True  # the class reads its own, true if absent
    older = {"model_type": "qwen2_5_vl", "text_config": CASES["qwen2-tied"] | {"model_type": "qwen2"}}
    assert text_config(older)["tie_word_embeddings"] is True  # this class takes that of its text


def test_a_wrapper_or_a_text_that_is_not_known_is_named():
    whole = {"model_type": "llama4", "text_config": {"model_type": "llama4_text"}}
    with pytest.raises(ConfigError, match=r"'llama4' is a model of text with images.*text is 'llama4_text'.*gemma3"):
        ModelConfig.from_hf(whole)
    with pytest.raises(ConfigError, match="'mistral3' is a model around a text of model_type 'mistral9'"):
        ModelConfig.from_hf({"model_type": "mistral3", "text_config": {"model_type": "mistral9"}})


_SMALL = {
    **{"vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "head_dim": 8},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1},
    **{"eos_token_id": 2, "pad_token_id": 0},
}
_TOWER = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
_SIGLIP = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"image_size": 28, "patch_size": 14},
}
THEIRS = {
    "qwen2_5_vl": {
        "text_config": {**_SMALL, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}},
        "vision_config": {**_TOWER, "fullatt_block_indexes": [0]},
    },
    "qwen3_vl": {
        "text_config": {**_SMALL, "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
        "vision_config": {**_TOWER, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
    },
    "mistral3": {
        "text_config": {**_SMALL, "model_type": "mistral", "sliding_window": None},
        "vision_config": {**_SIGLIP, "model_type": "pixtral", "head_dim": 8},
    },
    "gemma3": {"text_config": _SMALL, "vision_config": _SIGLIP, "mm_tokens_per_image": 4},
}


@pytest.mark.oracle
@pytest.mark.parametrize("kind", THEIRS)
@pytest.mark.filterwarnings("ignore")  # of torch and transformers, about themselves
def test_transformers_computes_the_same_and_loads_what_we_save_whole(kind, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model(kind, **THEIRS[kind])
    theirs = transformers.AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(0, 0.1).add_("norm" in name)
    theirs.save_pretrained(tmp_path / "whole")
    model = load(tmp_path / "whole")
    tokens = np.random.default_rng(0).integers(11, 44, (1, 20))
    with torch.no_grad():
        logits = theirs(input_ids=torch.from_numpy(tokens)).logits[0]
    np.testing.assert_allclose(model(tokens).logits[0], logits, atol=1e-4)
    model.save_pretrained(tmp_path / "out")
    check_same(tmp_path / "whole", tmp_path / "out")
    again, info = type(theirs).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    for name, parameter in theirs.state_dict().items():
        assert torch.equal(parameter, again.state_dict()[name]), name
