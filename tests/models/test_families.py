"""The families against transformers in training, and how their configurations are read."""

from pathlib import Path

import jax
import numpy as np
import pytest

import easydel as ed
from easydel.data.pack import Shape, pack, stack
from easydel.data.pair import Pair
from easydel.models import families
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.config import ModelConfig
from easydel.trainers.objective import make_objective
from easydel.trainers.step_functions import Forward, loss_and_gradient
from oracles.cases import BETA, CASES, FAMILIES, PAIRS, REFERENCE
from oracles.folders import expected, write_model

ROOT = Path(__file__).parents[2]


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


def test_the_readme_counts_what_is_compared():
    counts = f"{len(CASES)} small models of {len(FAMILIES)} families"
    assert counts in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.oracle
@pytest.mark.parametrize("name", families.FAMILIES)
@pytest.mark.filterwarnings("ignore")  # of transformers, about itself
def test_absent_keys_mean_what_they_mean_to_transformers(name):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoConfig.for_model(name)
    if not hasattr(theirs, "head_dim") and theirs.hidden_size % theirs.num_attention_heads:
        theirs.num_attention_heads = 64  # GLM 4.5 by its default has 96 heads of 42 2/3 channels
    sizes = {key: getattr(theirs, key) for key in ("vocab_size", "hidden_size", "intermediate_size")}
    sizes |= {key: getattr(theirs, key) for key in ("num_hidden_layers", "num_attention_heads")}
    ours = ModelConfig.from_hf({"model_type": name, **sizes})
    written = ModelConfig.from_hf(theirs.to_dict())
    names = ("num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "hidden_act", "layers")
    for field in (*names, "tie_word_embeddings", "attention_scale", "score_cap", "logit_cap", "experts"):
        assert getattr(ours, field) == getattr(written, field), field
