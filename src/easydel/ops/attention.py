"""Attention: one entry, several mechanisms behind it. `vanilla` (a dense mask) is the oracle of the others.

| mechanism   | where        | how                                                                           |
|-------------|--------------|-------------------------------------------------------------------------------|
| `vanilla`   | everywhere   | all scores of a row and a mask, some rows at a time; dropout too (`dense.py`) |
| `sdpa`      | everywhere   | the same through `jax.nn.dot_product_attention`, as XLA likes it              |
| `blockwise` | made for CPU | blocks of the scores that somebody sees (`blockwise.py`)                      |
| `cudnn`     | NVIDIA GPUs  | cuDNN on unpacked sequences (`cudnn.py`)                                      |
| `splash`    | TPUs         | jax's kernel, which skips blocks that nobody sees (`splash.py`)               |

A mechanism is one file, which ends in its `Mechanism`, and one row of `MECHANISMS`.
"""

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from easydel.errors import ConfigError, nearest
from easydel.ops.blockwise import BLOCKWISE
from easydel.ops.cudnn import CUDNN
from easydel.ops.dense import SDPA, VANILLA, masked_softmax
from easydel.ops.mechanism import LayerAttention, Mechanism, Needs, Scores
from easydel.ops.splash import SPLASH

MECHANISMS: dict[str, Mechanism] = {
    "vanilla": VANILLA,
    "blockwise": BLOCKWISE,
    "sdpa": SDPA,
    "cudnn": CUDNN,
    "splash": SPLASH,
}
# What `auto` takes, by platform: the first that has what the model needs.
FASTEST = {"cpu": ("blockwise", "vanilla"), "gpu": ("cudnn", "sdpa", "vanilla"), "tpu": ("splash", "sdpa", "vanilla")}


def attend(
    query: Float[Array, "rows q_len heads head_dim"],
    key: Float[Array, "rows k_len kv_heads head_dim"],
    value: Float[Array, "rows k_len kv_heads head_dim"],
    mask: Bool[Array, "rows q_len k_len"],
    *,
    scale: float,
    mechanism: str,
    score_cap: float | None = None,
) -> Float[Array, "rows q_len heads head_dim"]:
    """Returns softmax(scale * query key^T) value over the keys that `mask` allows, in the dtype of `query`.

    With `score_cap` the softmax is of c * tanh(scale * query key^T / c).

    Heads share keys in groups: head h uses key-value head h // (heads / kv_heads). The softmax is float32.
    A query with no allowed key gets finite numbers of no meaning. `blockwise` and `splash` are `vanilla` here, and
    `cudnn` is `sdpa`: what they leave out is told by the layout of packed rows, not by a mask.

    Raises:
        ConfigError: a mechanism that does not exist, or a cap with one that has none.
    """
    if not _named(mechanism).jax_kernel:
        return masked_softmax(query, key, value, mask, scale=scale, score_cap=score_cap)
    if score_cap is not None:
        raise ConfigError(f"attn_mechanism {mechanism!r} has no cap of scores; use 'vanilla'.")
    return jax.nn.dot_product_attention(query, key, value, mask=mask[:, None], scale=scale)


def packed_attention(
    mechanism: str,
    segment: Int[Array, "rows length"],
    branch: Int[Array, "rows length"],
    position: Int[Array, "rows length"],
    *,
    scale: float,
    mesh: Mesh,
    sequences: int | None = None,
    window: int | None = None,
    score_cap: float | None = None,
    precision: str | None = None,
) -> LayerAttention:
    """Returns the attention that every layer with this window applies to rows of this layout in one forward pass.

    What depends on the layout alone is computed here, once per forward pass and not once per layer. Outputs at padding
    mean nothing. All but `vanilla` and `sdpa` ask for segments that each lie as [prompt chosen rejected], with the
    positions that go with that.

    Args:
        sequences: at most so many answers there are in all rows, or segments without one; None is no bound. For
            `cudnn` alone: the memory it takes grows with it.
        precision: for `blockwise` and the dense ones; the others go by `jax.default_matmul_precision`, where they have
            a choice.
    """
    scores = Scores(scale, window, score_cap, precision)
    return MECHANISMS[mechanism].make((segment, branch, position), scores, mesh, sequences)


def resolve_mechanism(name: str, needs: Needs) -> str:
    """Returns the mechanism that `name` stands for; `auto` is the first of `FASTEST` that has what the model needs.

    Nothing is tried out.

    Raises:
        ConfigError: a name that does not exist, or a mechanism that cannot serve the model, or not on these devices.
    """
    if name == "auto":
        choices = FASTEST.get(needs.platform, ("sdpa", "vanilla"))
        return next(choice for choice in choices if MECHANISMS[choice].refusal(needs) is None)
    why = _named(name).refusal(needs)
    if why is not None:
        able = [repr(other) for other, mechanism in MECHANISMS.items() if mechanism.refusal(needs) is None]
        raise ConfigError(f"attn_mechanism {name!r} {why}. Use {' or '.join(able)}, or 'auto'.")
    return name


def _named(name: str) -> Mechanism:
    if name not in MECHANISMS:
        choices = ["auto", *MECHANISMS]
        raise ConfigError(
            f"attn_mechanism {name!r} is not supported.{nearest(name, choices)} Supported: {', '.join(choices)}."
        )
    return MECHANISMS[name]
