"""What a loop over layers keeps for the backward pass."""

import jax
import jax.numpy as jnp
import pytest

from oracles.tiny import tiny_config, tiny_model


@pytest.mark.parametrize("checkpointing", ["", "nothing_saveable"])
def test_the_backward_pass_of_layers_in_a_loop_reads_the_weights_where_they_are(checkpointing):
    """Twenty tokens and eight layers: a copy of the weights would be most of the memory."""
    config = tiny_config(hidden_size=64, intermediate_size=256, num_hidden_layers=8)
    model = tiny_model(config=config, gradient_checkpointing=checkpointing)
    assert model.decoder.scan_layers
    tokens = jax.ShapeDtypeStruct((1, 20), jnp.int32)

    def total(params, *rows):
        return jnp.sum(model.decoder(params, *rows)[0])

    compiled = jax.jit(jax.grad(total)).lower(model.params, *[tokens] * 4).compile()
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params["layers"]))
    assert compiled.memory_analysis().temp_size_in_bytes < 0.7 * weights
