"""PEFT folders: the logits that PEFT gives, the same tensors back, and clear words about what does not fit."""

import json

import numpy as np
import pytest

from easydel.errors import ConfigError, WeightsError
from easydel.models.peft import read_adapter_config
from easydel.weights.safetensors import read_file
from oracles.adapters import ADAPTERS
from oracles.cases import CASES, TOKENS
from oracles.folders import write_model
from oracles.folders_of_adapters import expected, tensors_of, write_adapters
from oracles.loaded import load


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "llama-gqa"
    return load(write_model(folder, CASES["llama-gqa"]))


@pytest.mark.exact  # within 1e-5, which rounding takes more than half of
@pytest.mark.parametrize("name", ADAPTERS)
def test_logits_with_adapters_are_those_of_peft_also_merged_and_after_saving(name, tmp_path):
    folder = write_model(tmp_path / "base", CASES[ADAPTERS[name][0]])
    model = load(write_adapters(tmp_path / "adapters", name, base_model_name_or_path=str(folder)))
    logits = np.asarray(model(TOKENS).logits[0])
    np.testing.assert_allclose(logits, expected(name), atol=2e-5)
    np.testing.assert_allclose(model.merged()(TOKENS).logits[0], logits, atol=1e-5)
    model.save_pretrained(tmp_path / "out")
    again = load(tmp_path / "out")
    assert again.lora == model.lora
    np.testing.assert_array_equal(again(TOKENS).logits[0], logits)
    found = {each: stored.array() for each, stored in read_file(tmp_path / "out/adapter_model.safetensors").items()}
    assert found.keys() == tensors_of(name).keys()
    for each, tensor in tensors_of(name).items():
        np.testing.assert_array_equal(found[each], tensor)
    model.save_pretrained(tmp_path / "out", merge=True)  # in the place of the adapters
    assert not (tmp_path / "out/adapter_config.json").exists()
    np.testing.assert_allclose(load(tmp_path / "out")(TOKENS).logits[0], logits, atol=1e-5)


@pytest.mark.exact
def test_the_base_with_adapters_off_is_the_base_bit_for_bit(base, tmp_path):
    adapted = base.load_adapter(write_adapters(tmp_path / "adapters", "lora", base_model_name_or_path="llama-gqa"))
    without = adapted.without_adapters()
    np.testing.assert_array_equal(without(TOKENS).logits, base(TOKENS).logits)
    assert without.params["embedding"] is base.params["embedding"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3' is not supported; 'LORA' is"),
        ({"rank_pattern": {"q_proj": "8"}}, r"rank_pattern is \{'q_proj': '8'\}; it must be an object of ranks"),
        ({"rank_pattern": {"(": 8}}, r"rank_pattern is .* it must be an object of ranks by regular expressions"),
        ({"alpha_pattern": [8]}, r"alpha_pattern is \[8\]; it must be an object of numbers"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save = \['lm_head'\] is not supported"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out = True"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        ({"layers_to_transform": [0]}, "layers_to_transform"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"r": None}, "lacks r"),
        ({"r": "4"}, "r is '4'; it must be an integer"),
        ({"lora_alpha": "x"}, "lora_alpha is 'x'; it must be a number"),
        ({"target_modules": [1]}, r"target_modules is \[1\]; it must be a list of names"),
        ({"lora_dropout": []}, r"lora_dropout is \[\]; it must be a number"),
    ],
)
def test_settings_that_we_do_not_read_are_named(base, tmp_path, changes, message):
    with pytest.raises(WeightsError, match=message):
        base.load_adapter(write_adapters(tmp_path / "adapters", "lora", **changes))


def test_a_rank_is_that_of_all_layers_of_a_module_and_fits_it(base, tmp_path):
    for name, pattern, message in (
        ("some", {"model.layers.0.self_attn.q_proj": 2}, r"gives self_attn\.q_proj the ranks 2, 4 in different layers"),
        ("large", {"v_proj": 17}, r"\(17\) is larger than self_attn\.v_proj, a matrix of 16 x 32: take at most 16"),
        ("none", {"v_proj": 0}, r"rank of the adapters \(0\) must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            base.load_adapter(write_adapters(tmp_path / name, "lora", rank_pattern=pattern))
    with pytest.raises(ConfigError, match=r"alpha \(-1.0\) must be a number above 0"):
        base.load_adapter(write_adapters(tmp_path / "alpha", "lora", alpha_pattern={"v_proj": -1}))


def test_settings_that_change_nothing_are_accepted(tmp_path):
    changes = {"rank_pattern": {}, "modules_to_save": None, "bias": "none", "init_lora_weights": "gaussian"}
    changes |= {"megatron_core": "megatron.core", "peft_version": "0.21.0", "qalora_group_size": 16}
    assert read_adapter_config(write_adapters(tmp_path / "adapters", "lora", **changes))["r"] == 4


def test_a_folder_without_adapters_or_with_pickled_ones_is_refused(base, tmp_path):
    with pytest.raises(WeightsError, match="is not a folder of adapters"):
        base.load_adapter(tmp_path)
    folder = write_adapters(tmp_path / "adapters", "lora")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(WeightsError, match=r"adapter_model\.bin can run code when they are opened"):
        base.load_adapter(folder)
    for text, message in (("{", "not valid JSON"), ("[]", "is of type list")):
        (folder / "adapter_config.json").write_text(text)
        with pytest.raises(WeightsError, match=message):
            base.load_adapter(folder)


def test_adapters_of_another_base_are_refused(base, tmp_path):
    wide = {each: np.pad(tensor, [(0, 0), (0, 2)]) for each, tensor in tensors_of("lora").items()}
    with pytest.raises(WeightsError, match=r"has shape \[4, 34\]; \[4, 32\] follows from .* made for another base"):
        base.load_adapter(write_adapters(tmp_path / "wide", "lora", wide))
    deep = {each.replace("layers.1", "layers.2"): tensor for each, tensor in tensors_of("lora").items()}
    with pytest.raises(WeightsError, match=r"4 missing .*layers\.1.*4 unexpected .*layers\.2.* another base"):
        base.load_adapter(write_adapters(tmp_path / "deep", "lora", deep))
    more = tensors_of("lora") | {"base_model.model.lm_head.weight": np.ones((49, 32), np.float32)}
    with pytest.raises(WeightsError, match=r"1 unexpected \(base_model\.model\.lm_head\.weight\)\. PEFT writes whole"):
        base.load_adapter(write_adapters(tmp_path / "more", "lora", more))
    with pytest.raises(ConfigError, match=r"adapter_config\.json: .*'qkv_proj' is not a module .* for another base"):
        base.load_adapter(write_adapters(tmp_path / "fused", "fused"))
    with pytest.warns(UserWarning, match="were made for 'org/other' and are put on .*llama-gqa'"):
        base.load_adapter(write_adapters(tmp_path / "named", "lora", base_model_name_or_path="org/other"))


def test_a_folder_that_does_not_name_its_base_is_loaded_onto_a_model_only(base, tmp_path):
    folder = write_adapters(tmp_path / "adapters", "lora")
    with pytest.raises(ConfigError, match=r"does not say which model .* model\.load_adapter\(folder\)"):
        load(folder)
    with pytest.raises(ConfigError, match="has adapters already, of rank 4"):
        base.load_adapter(folder).load_adapter(folder)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.filterwarnings("ignore")  # of torch, transformers and peft, about themselves
def test_peft_loads_what_we_save_and_computes_the_same(name, tmp_path):
    torch, transformers, peft = map(pytest.importorskip, ("torch", "transformers", "peft"))
    folder = write_model(tmp_path / "base", CASES[ADAPTERS[name][0]])
    model = load(write_adapters(tmp_path / "adapters", name, base_model_name_or_path=str(folder)))
    model.save_pretrained(tmp_path / "out")
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["base_model_name_or_path"] == str(folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "out").eval()
        np.testing.assert_allclose(model(TOKENS).logits[0], adapted(torch.from_numpy(TOKENS)).logits[0], atol=1e-5)


def test_a_model_and_adapters_in_one_folder_are_loaded_together_as_transformers_does(tmp_path):
    base, _ = ADAPTERS["lora"]
    folder = write_model(tmp_path / "both", CASES[base])
    adapters = write_adapters(tmp_path / "adapters", "lora", base_model_name_or_path="both")
    for file in adapters.iterdir():
        file.rename(folder / file.name)
    with pytest.warns(UserWarning, match="holds a whole model and adapters"):
        model = load(folder)
    np.testing.assert_allclose(model(TOKENS).logits[0], expected("lora"), atol=1e-4)


def test_a_config_json_beside_adapters_makes_no_model_of_them(tmp_path):
    base, _ = ADAPTERS["lora"]
    whole = write_model(tmp_path / "base", CASES[base])
    adapters = write_adapters(tmp_path / "adapters", "lora", base_model_name_or_path=str(whole))
    (adapters / "config.json").write_text((whole / "config.json").read_text())
    np.testing.assert_allclose(load(adapters)(TOKENS).logits[0], expected("lora"), atol=1e-4)
