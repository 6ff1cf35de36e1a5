"""Loading a folder into arrays: exact bits, and errors that name the tensor."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from easydel.errors import WeightsError
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from oracles.cases import CASES
from oracles.folders import tensors_of, write_model, write_tensors


def load(folder, **options):
    return AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=(1, 1, 1, 1, 1), **options)


def changed(tmp_path, name, change):
    """Returns the folder of a case whose tensors went through `change`, which edits the dict in place."""
    folder = write_model(tmp_path, CASES[name])
    tensors = tensors_of(CASES[name])
    change(tensors)
    write_tensors(folder, tensors)
    return folder


@pytest.mark.parametrize("stored", [np.float32, ml_dtypes.bfloat16, np.float16])
def test_masters_have_the_exact_values_of_the_file_whatever_the_compute_dtype(stored, tmp_path):
    def cast(tensors):
        tensors.update({name: tensor.astype(stored) for name, tensor in tensors.items()})

    model = load(changed(tmp_path, "llama-gqa", cast), dtype="bfloat16")
    tensors = {name: tensor.astype(stored) for name, tensor in tensors_of(CASES["llama-gqa"]).items()}
    head, query = model.params["head"], model.params["layers"]["query"]["kernel"]
    assert head.dtype == query.dtype == jnp.float32
    np.testing.assert_array_equal(head, tensors["lm_head.weight"].astype(np.float32))
    for layer in range(2):
        ours = np.asarray(query[layer]).reshape(32, 32).T
        np.testing.assert_array_equal(ours, tensors[f"model.layers.{layer}.self_attn.q_proj.weight"].astype(np.float32))


def test_param_dtype_rounds_once(tmp_path):
    model = load(write_model(tmp_path, CASES["llama-gqa"]), param_dtype="bfloat16")
    expected = tensors_of(CASES["llama-gqa"])["model.norm.weight"].astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(model.params["norm"], expected)


def test_several_files_load_as_one_does(tmp_path):
    one = load(write_model(tmp_path / "one", CASES["qwen2"]))
    several = load(write_model(tmp_path / "several", CASES["qwen2"], max_shard_size=5000))
    assert len(list((tmp_path / "several").glob("*.safetensors"))) > 3
    jax.tree.map(np.testing.assert_array_equal, one.params, several.params)


def test_buffers_of_old_checkpoints_and_a_repeated_tied_head_are_ignored(tmp_path):
    def add(tensors):
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]

    assert "head" not in load(changed(tmp_path, "llama-mqa-tied", add)).params


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("llama", lambda t: t.pop("model.norm.weight"), r"config.json: 1 missing \(model.norm.weight\)\."),
        ("llama", lambda t: t.update(extra=t["model.norm.weight"]), r"config.json: 1 unexpected \(extra\)\."),
        ("llama", lambda t: [t.pop(n) for n in list(t) if "mlp" in n], r"6 missing \(.*and 1 more\)"),
        (
            "llama",
            lambda t: t.update({"model.norm.weight": np.ones(31, np.float32)}),
            r"model.norm.weight has shape \[31\]; \[32\] follows from config.json",
        ),
        (
            "llama",
            lambda t: t.update({"model.norm.weight": np.ones(32, np.int8)}),
            "model.norm.weight has dtype int8; weights must be floating point",
        ),
        (
            "llama-mqa-tied",
            lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}),
            "lm_head.weight differs from model.embed_tokens.weight, but config.json says they are tied",
        ),
    ],
)
def test_weights_that_do_not_fit_their_configuration_are_named(name, change, message, tmp_path):
    with pytest.raises(WeightsError, match=message):
        load(changed(tmp_path, name, change))


def test_a_folder_without_configuration_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_configuration_that_is_no_json_object_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_path_that_is_not_there_is_not_taken_for_a_hub_id(name):
    with pytest.raises(WeightsError, match="does not exist"):
        load(name)


def test_a_hub_id_that_cannot_be_fetched_says_so():
    # The tests run with HF_HUB_OFFLINE=1.
    with pytest.raises(WeightsError, match="neither a folder here nor a model"):
        load("nobody/nothing")
