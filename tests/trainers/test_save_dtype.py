"""The dtype of what a run saves: that of the base as it came, or the one that was asked for."""

import json
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import easydel as ed
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.trainers.model_export import export_model
from easydel.weights.load import OutOfRange
from easydel.weights.model_files import read_folder
from easydel.weights.safetensors import read_file
from oracles.cases import CASES, TOKENS
from oracles.folders import tensors_of, write_model, write_tensors

ONE = (1, 1, 1, 1, 1)


def base(folder, dtype, **tensors):
    """A model whose file has that dtype, loaded as the command line does: kept in float32."""
    write_model(folder, CASES["llama-gqa"])
    named = tensors_of(CASES["llama-gqa"]) | tensors
    write_tensors(folder, {name: tensor.astype(dtype) for name, tensor in named.items()})
    return AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=ONE, dtype="float32")


def saved(model, folder, **settings):
    """What the summary says, and the dtypes of the files."""
    said = export_model(model, None, ed.DPOConfig(**settings), folder, run=None, dataset_names=(), place="")
    return said, {stored.dtype.name for stored in read_folder(folder).values()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_comes_back_in_the_dtype_of_its_base(dtype, tmp_path):
    model = base(tmp_path / "in", np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype))
    said, found = saved(model, tmp_path / "out")
    assert found == {dtype}
    assert json.loads((tmp_path / "out/config.json").read_text())["torch_dtype"] == dtype
    one, two = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("in", "out"))
    assert one == two
    for name, stored in read_folder(tmp_path / "in").items():
        np.testing.assert_array_equal(read_folder(tmp_path / "out")[name].array(), stored.array())
    rest = (
        ""
        if dtype == "float32"
        else ", as the base came; save_dtype = 'float32' writes the weights as they were trained"
    )
    assert said == dtype + rest


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_another_dtype_may_be_asked_for(dtype, tmp_path):
    model = base(tmp_path / "in", np.dtype(ml_dtypes.bfloat16))
    said, found = saved(model, tmp_path / "out", save_dtype=dtype)
    assert (said.split(",")[0], found) == (dtype, {dtype})
    assert json.loads((tmp_path / "out/config.json").read_text())["torch_dtype"] == dtype


def test_a_file_of_several_dtypes_has_that_of_most_of_its_bytes(tmp_path):
    model = base(tmp_path / "in", np.dtype(ml_dtypes.bfloat16))
    assert model.origin.dtype == "bfloat16"
    named = tensors_of(CASES["llama-gqa"])
    mixed = {n: t if t.ndim == 1 else t.astype(ml_dtypes.bfloat16) for n, t in named.items()}
    write_tensors(tmp_path / "in", mixed)
    again = AutoEasyDeLModelForCausalLM.from_pretrained(tmp_path / "in", sharding_axis_dims=ONE)
    assert again.origin.dtype == "bfloat16"


def test_a_save_in_python_without_a_dtype_keeps_every_bit(tmp_path):
    model = base(tmp_path / "in", np.dtype(ml_dtypes.bfloat16))
    model.save_pretrained(tmp_path / "out")
    assert {stored.dtype.name for stored in read_folder(tmp_path / "out").values()} == {"float32"}


def test_adapters_alone_keep_their_dtype_unless_one_is_asked_for(tmp_path):
    model = base(tmp_path / "in", np.dtype(ml_dtypes.bfloat16)).apply_lora(rank=2)
    for settings, dtype in (({}, "float32"), ({"save_dtype": "bfloat16"}, "bfloat16")):
        said = export_model(
            model, None, ed.DPOConfig(**settings), tmp_path / "out", run=None, dataset_names=(), place=""
        )
        found = read_file(tmp_path / "out/adapter_model.safetensors")
        assert {stored.dtype.name for stored in found.values()} == {dtype}
        assert said.split(",")[0] == dtype
    again = AutoEasyDeLModelForCausalLM.from_pretrained(tmp_path / "out", sharding_axis_dims=ONE, dtype="float32")
    np.testing.assert_allclose(again(TOKENS).logits, model(TOKENS).logits, atol=1e-6)  # B is zero


def test_weights_that_float16_cannot_hold_are_written_in_float32_and_this_is_said(tmp_path):
    model = base(tmp_path / "in", np.dtype(np.float16))
    norm = model.params["norm"]
    model = replace(model, params={**model.params, "norm": norm * 1e6})
    with pytest.raises(OutOfRange, match=r"model\.norm\.weight has values that float16"):
        model.save_pretrained(tmp_path / "python", dtype="float16")
    with pytest.warns(UserWarning, match=r"ends at 65504.* written in float32"):
        said, found = saved(model, tmp_path / "out")
    assert (said, found) == ("float32", {"float32"})


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")  # of torch and transformers, about themselves
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_transformers_loads_what_was_saved_in_its_dtype_and_computes_the_same(dtype, tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    saved(base(tmp_path / "in", np.dtype(ml_dtypes.bfloat16)), tmp_path / "out", save_dtype=dtype)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == getattr(torch, dtype)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ours = AutoEasyDeLModelForCausalLM.from_pretrained(tmp_path / "out", sharding_axis_dims=ONE, dtype="float32")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(TOKENS)).logits
    np.testing.assert_allclose(ours(TOKENS).logits, expected, atol=1e-5, rtol=1e-5)
