"""The families against transformers in training, and how their configurations are read."""

import jax
import numpy as np
import pytest

import easydel as ed
from easydel.data.pack import Shape, pack, stack
from easydel.data.pair import Pair
from easydel.errors import ConfigError
from easydel.models import families
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.config import ModelConfig
from easydel.trainers.objective import make_objective
from easydel.trainers.step_functions import Forward, loss_and_gradient
from oracles.cases import BETA, CASES, FAMILIES, PAIRS, REFERENCE
from oracles.folders import expected, write_model


@pytest.mark.parametrize("name", FAMILIES.values())
def test_a_step_of_dpo_is_that_of_torch(name, tmp_path):
    """Both pairs share a row and their prompts here; there, each of the four sequences is computed alone."""
    model = AutoEasyDeLModelForCausalLM.from_pretrained(
        write_model(tmp_path, CASES[name]), dtype="float32", sharding_axis_dims=(1, 1, 1, 1, 1)
    )
    pairs = [Pair(*ids, index=index) for index, ids in enumerate(PAIRS)]
    batch = stack([pack(pairs, shape=Shape(rows=1, length=32, slots=24), pad_pairs_to=2)])
    objective = make_objective(ed.DPOConfig(beta=BETA), model.config.experts)
    routing = model.config.experts is not None
    forward = Forward(model.decoder, chunk=16, routing=routing)
    gradient, _, losses = jax.jit(
        lambda params, batch, reference: loss_and_gradient(forward, objective, params, batch, reference)
    )(model.params, batch, np.array([REFERENCE], np.float32))
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
    np.testing.assert_allclose([losses.mean(), norm], expected(name).step, rtol=1e-4)


@pytest.mark.oracle
@pytest.mark.parametrize("name", families.FAMILIES)
@pytest.mark.filterwarnings("ignore")  # of transformers, about itself
def test_absent_keys_mean_what_they_mean_to_transformers(name):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoConfig.for_model(name)
    sizes = {key: getattr(theirs, key) for key in ("vocab_size", "hidden_size", "intermediate_size")}
    sizes |= {key: getattr(theirs, key) for key in ("num_hidden_layers", "num_attention_heads")}
    ours = ModelConfig.from_hf({"model_type": name, **sizes})
    written = ModelConfig.from_hf(theirs.to_dict())
    names = ("num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "hidden_act", "layers")
    for field in (*names, "tie_word_embeddings", "attention_scale", "score_cap", "logit_cap", "experts"):
        assert getattr(ours, field) == getattr(written, field), field


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("qwen2", {"layer_types": ["sliding_attention"] * 2}, "sliding_window, or use_sliding_window, is off"),
        ("qwen2", {"layer_types": ["full_attention"]}, "layer_types has 1 entries; num_hidden_layers is 2"),
        ("qwen2", {"layer_types": ["full_atention"] * 2}, "Did you mean 'full_attention'"),
        ("mistral", {"sliding_window": 0}, r"sliding_window \(0\) must be at least 1"),
        ("smollm3", {"no_rope_layers": [1]}, "no_rope_layers has 1 entries"),
        ("gemma2", {"attn_logit_softcapping": -1.0}, r"attn_logit_softcapping \(-1.0\) must be above 0"),
        ("gemma3", {"use_bidirectional_attention": True}, "attention to later tokens is not supported"),
        ("phi3", {"resid_pdrop": 0.1}, "resid_pdrop is 0.1: dropout of the residual stream"),
        ("phi3-long", {"partial_rotary_factor": 0.9}, "is 7 channels; rotary angles turn pairs"),
        ("phi3-long", {"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, "lacks long_factor"),
        (
            "phi3-long",
            {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0] * 3}},
            "short_factor has 1 numbers; 6 rotated channels need 3",
        ),
    ],
)
def test_settings_of_a_family_that_cannot_be_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_hf(CASES[name] | changes)
