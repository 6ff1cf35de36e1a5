"""Saving: what comes back is bit for bit what was saved, transformers reads it, and a crash harms nothing."""

import json

import jax
import numpy as np
import pytest

from easydel.errors import ConfigError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.weights.folder import replace_folder
from easydel.weights.model_files import read_folder
from oracles.cases import CASES, TOKENS
from oracles.folders import tensors_of, write_model, write_tensors

ONE = (1, 1, 1, 1, 1)


def load(folder, **options):
    return AutoEasyDeLModelForCausalLM.from_pretrained(
        folder, **{"sharding_axis_dims": ONE, "dtype": "float32"} | options
    )


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


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


def test_generation_settings_travel_and_are_obeyed(tmp_path):
    folder = write_model(tmp_path / "in", CASES["llama-gqa"])
    free = load(folder).generate(TOKENS[:, :4], max_new_tokens=4)[0, 4:]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [int(free[0])]}))
    load(folder).save_pretrained(tmp_path / "out")
    assert load(tmp_path / "out").generate(TOKENS[:, :4], max_new_tokens=4)[0, 4:].tolist() == [free[0]]


def test_ends_of_answers_that_are_no_token_ids_are_an_error_that_names_the_file(tmp_path):
    folder = write_model(tmp_path, CASES["llama-gqa"])
    for wrong in ("</s>", True, [1.5], {"id": 2}):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": wrong}))
        with pytest.raises(ConfigError, match=r"generation_config\.json: eos_token_id is .* a whole number, or a list"):
            load(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [-1, 2, 10**6]}))
    assert load(folder).eos_token_ids == (2,)


def test_saving_again_replaces_old_weights_and_keeps_other_files(tmp_path):
    model = load(write_model(tmp_path / "in", CASES["llama-gqa"]))
    out = tmp_path / "out"
    model.save_pretrained(out, max_shard_size=5000)
    (out / "tokenizer.json").write_text("{}")
    (out / "notes").mkdir()
    model.save_pretrained(out)
    assert entries(out) == ["config.json", "model.safetensors", "notes", "tokenizer.json"]
    assert entries(tmp_path) == ["in", "out"]


def test_an_error_while_saving_leaves_the_previous_folder_whole(tmp_path):
    def good(folder):
        (folder / "model.safetensors").write_text("good")

    def bad(folder):
        (folder / "model.safetensors").write_text("half")
        raise OSError("disk full")

    replace_folder(tmp_path / "out", good)
    with pytest.raises(OSError, match="disk full"):
        replace_folder(tmp_path / "out", bad)
    assert (tmp_path / "out" / "model.safetensors").read_text() == "good"
    assert entries(tmp_path) == ["out"]


def test_what_is_saved_also_appears_together_with_the_model_or_not_at_all(tmp_path):
    model = load(write_model(tmp_path / "in", CASES["llama-gqa"]))

    def also(folder):
        assert folder != tmp_path / "out"
        (folder / "tokenizer.json").write_text("{}")

    def fail(folder):
        (folder / "tokenizer.json").write_text("half")
        raise ValueError("not a tokenizer")

    with pytest.raises(ValueError, match="not a tokenizer"):
        model.save_pretrained(tmp_path / "out", also=fail)
    assert entries(tmp_path) == ["in"]
    model.save_pretrained(tmp_path / "out", also=also)
    assert entries(tmp_path / "out") == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_real_model_tells_its_story(shared, tmp_path):
    model = load(shared / "models" / "stories260k")
    model.save_pretrained(tmp_path / "out")
    again = load(tmp_path / "out")
    ids = np.array([[1, 403, 407, 261, 378]])
    np.testing.assert_array_equal(model(ids).logits, again(ids).logits)
    # A trained model finds its own greedy continuation far likelier than chance.
    story = model.generate(ids, max_new_tokens=40)
    chances = jax.nn.log_softmax(model(story).logits[0, :-1])
    assert float(np.mean(np.take_along_axis(np.asarray(chances), story[0, 1:, None], 1)[4:])) > -1.0


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")  # of torch and transformers, about themselves
def test_transformers_loads_what_we_save_and_computes_the_same(name, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = load(write_model(tmp_path / "in", CASES[name]))
    model.save_pretrained(tmp_path / "out")
    logits = np.asarray(model(TOKENS).logits[0])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_allclose(logits, theirs(torch.from_numpy(TOKENS)).logits[0], atol=1e-5, rtol=1e-5)


def test_a_configuration_says_the_dtype_under_each_name_it_has_and_names_no_file_that_is_not_there(tmp_path):
    extra = {"dtype": "bfloat16", "torch_dtype": "float16", "auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}
    folder = write_model(tmp_path / "in", CASES["llama-gqa"] | extra | {"transformers_weights": "model.safetensors"})
    load(folder).save_pretrained(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written == CASES["llama-gqa"] | {"dtype": "float32", "torch_dtype": "float32"}


def test_the_head_alone_is_the_embedding_of_a_model_that_ties_them(tmp_path):
    folder = write_model(tmp_path / "in", CASES["gemma3"])
    tensors = tensors_of(CASES["gemma3"])
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    before = load(folder)(TOKENS).logits
    write_tensors(folder, tensors)
    np.testing.assert_array_equal(load(folder)(TOKENS).logits, before)
