"""The weight table of each case: every tensor once, and the parameters that a decoder asks for."""

import jax
import numpy as np
import pytest

from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.rows import axis_sizes, tensors, tied_head, weight_rows
from easydel.sharding import make_mesh
from easydel.weights.table import unnest
from oracles.cases import CASES
from oracles.tiny import ONE_DEVICE


@pytest.mark.parametrize("name", CASES)
def test_parts_of_a_tensor_cover_it_and_no_two_rows_hold_one_parameter(name):
    config = ModelConfig.from_hf(CASES[name])
    rows, sizes = weight_rows(config), axis_sizes(config)
    assert len({row.path for row in rows}) == len(rows)
    held: dict[str, int] = {}
    whole = {}
    for row in rows:
        for tensor in row.names(sizes):
            shape = row.file_shape(sizes)
            whole[tensor] = shape[0]
            places = slice(0, shape[0]) if row.part is None else row.part.places(sizes)
            assert places.start == held.get(tensor, 0)  # one part behind the other
            held[tensor] = places.stop
    assert held == whole
    assert ("lm_head.weight" in whole) == (not config.tie_word_embeddings) == (not tied_head(config))


@pytest.mark.parametrize("name", CASES)
def test_random_parameters_have_the_shapes_of_the_table(name):
    config = ModelConfig.from_hf(CASES[name])
    sizes, rows = axis_sizes(config), weight_rows(config)
    params = CausalLM.from_config(config, mesh=make_mesh(ONE_DEVICE)).params
    assert {path: x.shape for path, x in unnest(params).items()} == {row.path: row.shape(sizes) for row in rows}
    assert jax.tree.structure(params) == jax.tree.structure(tensors(rows), is_leaf=lambda x: hasattr(x, "groups"))
    assert sum(np.prod(row.shape(sizes)) for row in rows) == sum(x.size for x in jax.tree.leaves(params))
