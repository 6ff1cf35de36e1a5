#!/usr/bin/env bash
# Mixed precision in Flax is `dtype=jnp.bfloat16` with weights in `param_dtype=jnp.float32`. The gradient of `Embed` then comes out in
# float32, but it was accumulated in bfloat16, one token after another, and such a sum stops growing at about 256 times its
# terms. A token that occurs 4,096 times in a batch, with a gradient of 1 each time, gets 256; with gradients that vary it gets
# about a quarter of the sum. So the most frequent tokens (line breaks, ends of turns, headers of a chat template) learn too
# slowly in large batches, and rare tokens are unaffected. `Linear` accumulates the same 4,096 terms correctly.
# The cause is the order of operations: the table is cast to bfloat16 before the look-up, so the gradient of the look-up is a
# scatter-add in bfloat16. Looking up in float32 and casting the result gives the same vectors and the right gradient; the
# script does so with `promote_dtype=lambda arrays, **_: arrays`.
# Expected from flax.readthedocs.io, `nnx.Embed` (`dtype` is that of the embedding vectors, `param_dtype` that of the weights): a
# gradient within the rounding of its terms, 0.4 %. jax-ml/jax issue 39949 asks for better sums in scatter-add and does not
# mention embeddings.
# Seen with flax 0.12.8 and jax 0.10.2 on Python 3.11. Exits with 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet flax==0.12.8 jax==0.10.2
cd "$folder"
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PY'
import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

print("flax", flax.__version__, "jax", jax.__version__)
settings = {"dtype": jnp.bfloat16, "param_dtype": jnp.float32, "rngs": nnx.Rngs(0)}
embed = nnx.Embed(8, 1, **settings)
late = nnx.Embed(8, 1, promote_dtype=lambda arrays, **_: arrays, **settings)
dense = nnx.Linear(1, 1, use_bias=False, **settings)


@nnx.jit
def gradients(embed, late, dense, ids, by_token):
    """The gradient of one row of the table, plain and looked up before the cast, and of a dense weight with inputs of 1."""

    def total(out):
        return jnp.sum(out.astype(jnp.float32)[:, 0] * by_token)

    ones = jnp.ones((ids.size, 1))
    return (
        nnx.grad(lambda layer: total(layer(ids)))(embed)["embedding"][...][0, 0],
        nnx.grad(lambda layer: total(layer(ids).astype(jnp.bfloat16)))(late)["embedding"][...][0, 0],
        nnx.grad(lambda layer: total(layer(ones)))(dense)["kernel"][...][0, 0],
    )


random = np.random.default_rng(0)
for count, terms, stops in (
    (200, np.ones(200), False),
    (4_096, np.ones(4_096), True),
    (20_000, random.normal(0.1, 0.5, 20_000), True),
):
    exact = terms.sum()
    plain, cast_late, by_dense = map(
        float, gradients(embed, late, dense, jnp.zeros(count, int), jnp.asarray(terms, jnp.float32))
    )
    print(
        f"a token {count} times, terms of mean {terms.mean():.2f}: expected {exact:.1f}, seen {plain:.1f}; "
        f"cast behind the look-up {cast_late:.1f}, dense {by_dense:.1f}"
    )
    assert abs(cast_late / exact - 1) < 0.01 and abs(by_dense / exact - 1) < 0.01, (cast_late, by_dense)
    assert plain < 0.4 * exact if stops else abs(plain / exact - 1) < 0.01, plain
assert embed.embedding[...].dtype == jnp.float32
PY
echo "as described"
