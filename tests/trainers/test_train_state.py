"""The state that a run starts from."""

import jax
import jax.numpy as jnp
import numpy as np

from easydel.trainers.train_state import trained_copy


def test_the_trained_weights_are_a_copy_in_the_dtype_asked_for():
    params = {"a": jnp.arange(3.0), "b": jnp.ones(2, jnp.bfloat16)}
    kept, narrow = trained_copy(params, None), trained_copy(params, "bfloat16")
    assert (kept["a"].dtype, kept["b"].dtype) == (jnp.float32, jnp.bfloat16)
    assert {x.dtype for x in jax.tree.leaves(narrow)} == {jnp.dtype(jnp.bfloat16)}
    jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)(kept)
    assert not any(x.is_deleted() for x in jax.tree.leaves(params))
    np.testing.assert_array_equal(params["a"], [0, 1, 2])
