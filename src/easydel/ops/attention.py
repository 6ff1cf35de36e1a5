"""Attention: one entry, several mechanisms behind it. `vanilla` (a dense mask) is the oracle of the others.

| mechanism   | where        | how                                                               |
|-------------|--------------|-------------------------------------------------------------------|
| `vanilla`   | everywhere   | all scores of a row and a mask, some rows at a time; dropout too  |
| `sdpa`      | everywhere   | the same through `jax.nn.dot_product_attention`, as XLA likes it  |
| `blockwise` | made for CPU | the blocks of scores that some query sees                         |
| `cudnn`     | NVIDIA GPUs  | cuDNN on unpacked sequences                                       |
| `splash`    | TPUs         | jax's kernel on plain sequences; it skips blocks that nobody sees |

A mechanism is a file of its name, which ends in its `Mechanism`, and a row of `MECHANISMS`.
"""

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from easydel.errors import ConfigError, unsupported
from easydel.ops.blockwise import BLOCKWISE
from easydel.ops.cudnn import CUDNN
from easydel.ops.mechanism import LayerAttention, Mechanism, Needs, Scores
from easydel.ops.sdpa import SDPA
from easydel.ops.splash import SPLASH
from easydel.ops.vanilla import VANILLA, masked_softmax

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
    A query with no allowed key gets finite, undefined numbers. `blockwise` and `splash` are `vanilla` here, and
    `cudnn` is `sdpa`: what they skip follows from the layout of packed rows, not from a mask.

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
        sequences: the maximum number of completions in all rows, or segments without one; None: no bound. For
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
        raise unsupported("attn_mechanism", name, ["auto", *MECHANISMS])
    return MECHANISMS[name]
