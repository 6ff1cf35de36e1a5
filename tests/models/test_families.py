"""The families against transformers in training, and how their configurations are read."""

import jax
import numpy as np
import pytest

import easydel as ed
from easydel.data.pack import Shape, pack, stack
from easydel.data.pair import Pair
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.trainers.objective import make_objective
from easydel.trainers.step import loss_and_gradient, make_logprobs
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
    logprobs = make_logprobs(model.decoder, chunk=16, logit_metrics=False, routing=routing)
    gradient, _, losses = jax.jit(
        lambda params, batch, reference: loss_and_gradient(logprobs, objective, params, batch, reference)
    )(model.params, batch, np.array([REFERENCE], np.float32))
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
    np.testing.assert_allclose([losses.mean(), norm], expected(name).step, rtol=1e-4)
