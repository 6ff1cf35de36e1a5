"""Text generation with a key-value cache: one compiled prefill and loop per bucket of shapes."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from easydel.attention import attend
from easydel.errors import ConfigError
from easydel.models.decoder import COMPILER_OPTIONS, Decoder, Params
from easydel.models.rope import rotary
from easydel.sharding import row_shards


class Sampling(NamedTuple):
    """How to choose new tokens, and when to stop. Temperature 0 takes the most likely token."""

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    pad: int


class _Progress(NamedTuple):
    """What the loop carries. `last` holds the logits that choose the next token."""

    step: Int[Array, ""]
    last: Float[Array, "batch vocab"]
    out: Int[Array, "batch new"]
    finished: Any
    cache: Any
    key: Key[Array, ""]


def generate_tokens(
    decoder: Decoder, params: Params, tokens: np.ndarray, mask: np.ndarray, sampling: Sampling, eos: tuple[int, ...]
) -> Int[np.ndarray, "batch total"]:
    """Returns `tokens` followed by the new ones; see `CausalLM.generate`.

    Prompt length and number of new tokens are rounded up to powers of two, so a handful of compilations serve
    all.
    """
    _check(sampling, mask)
    batch = tokens.shape[0]
    rows = batch + -batch % row_shards(decoder.mesh)
    bucket = _bucket(int(mask.sum(axis=1).max()))
    prompt, real = np.zeros((2, rows, bucket), np.int32)
    for row in range(rows):
        # Filler rows repeat the first one: they finish when it does.
        ids = tokens[row if row < batch else 0][mask[row if row < batch else 0] == 1]
        prompt[row, bucket - len(ids) :] = ids
        real[row, bucket - len(ids) :] = 1
    count, new = _generate(
        decoder,
        _bucket(sampling.max_new_tokens),
        sampling.temperature > 0,
        params,
        prompt,
        real,
        np.asarray(eos, np.int32),
        sampling,
    )
    return np.concatenate([tokens, np.asarray(new)[:batch, : int(count)]], axis=1)


@partial(jax.jit, static_argnums=(0, 1, 2), compiler_options=COMPILER_OPTIONS)
def _generate(
    decoder: Decoder,
    room: int,
    sampled: bool,
    params: Params,
    prompt: jax.Array,
    real: jax.Array,
    eos: jax.Array,
    sampling: Sampling,
) -> tuple[jax.Array, jax.Array]:
    """Returns (number of new tokens, the new tokens [rows room])."""
    rows, length = prompt.shape
    hidden, cache = _prefill(decoder, params, prompt, real, room)
    seen = jnp.pad(real, ((0, 0), (0, room))) == 1
    lengths = jnp.sum(real, axis=1)

    def body(at: _Progress) -> _Progress:
        key, draw = jax.random.split(at.key)
        chosen = _choose(at.last, draw, sampling) if sampled else jnp.argmax(at.last, axis=-1)
        token = jnp.where(at.finished, sampling.pad, chosen.astype(jnp.int32))
        out = jax.lax.dynamic_update_slice(at.out, token[:, None], (0, at.step))
        finished = at.finished | jnp.isin(token, eos)
        place = length + at.step
        mask = seen | ((jnp.arange(length + room) >= length) & (jnp.arange(length + room) <= place))
        hidden, cache = _next(decoder, params, token, lengths + at.step, mask, at.cache, place)
        return _Progress(at.step + 1, decoder.logits(params, hidden)[:, 0], out, finished, cache, key)

    start = _Progress(
        step=jnp.int32(0),
        last=decoder.logits(params, hidden[:, -1:])[:, 0],
        out=jnp.full((rows, room), sampling.pad, jnp.int32),
        finished=jnp.zeros(rows, bool),
        cache=cache,
        key=jax.random.key(sampling.seed),
    )
    end = jax.lax.while_loop(lambda at: (at.step < sampling.max_new_tokens) & ~jnp.all(at.finished), body, start)
    return end.step, end.out


def _prefill(decoder: Decoder, params: Params, prompt: jax.Array, real: jax.Array, room: int) -> tuple[jax.Array, Any]:
    """Returns the hidden states of the prompts, and keys and values [layers rows length+room kv_heads head_dim]."""
    position = jnp.maximum(jnp.cumsum(real, axis=1) - 1, 0)
    mix = decoder.row_attention(real, jnp.zeros_like(real))
    hidden, kept = decoder.run_layers(
        params,
        prompt,
        rotary(decoder.config, position, real),
        lambda _: lambda query, key, value, dropout: (mix(query, key, value, dropout), (key, value)),
    )
    return hidden, jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, room), (0, 0), (0, 0))), kept)


def _next(
    decoder: Decoder,
    params: Params,
    token: jax.Array,
    position: jax.Array,
    mask: jax.Array,
    cache: Any,
    place: jax.Array,
) -> tuple[jax.Array, Any]:
    """Returns the hidden states after one more token per row, and the cache with that token at `place`."""

    def attention(layer_cache: Any) -> Any:
        def with_cache(query: jax.Array, key: jax.Array, value: jax.Array, _: Any) -> tuple[jax.Array, Any]:
            keys, values = (
                jax.lax.dynamic_update_slice(old, new, (0, place, 0, 0))
                for old, new in zip(layer_cache, (key, value), strict=True)
            )
            scale = decoder.config.head_dim**-0.5
            mixed = attend(query, keys, values, mask[:, None], scale=scale, mechanism=decoder.attn_mechanism)
            return mixed, (keys, values)

        return with_cache

    angles = rotary(decoder.config, position[:, None], jnp.ones_like(position)[:, None])
    return decoder.run_layers(params, token[:, None], angles, attention, cache=cache)


def _choose(logits: Float[Array, "batch vocab"], key: Key[Array, ""], sampling: Sampling) -> Int[Array, "batch"]:
    """Returns one sample per row, after temperature, then top_k, then top_p as in `transformers`."""
    vocab = logits.shape[-1]
    logits = logits / sampling.temperature
    ordered = jnp.sort(logits, axis=-1, descending=True)
    kept = jnp.where(sampling.top_k > 0, jnp.minimum(sampling.top_k, vocab), vocab)
    ordered = jnp.where(jnp.arange(vocab) < kept, ordered, -jnp.inf)
    chances = jax.nn.softmax(ordered, axis=-1)
    # A token stays while those before it sum to less than top_p, so the most likely one always does.
    inside = jnp.cumsum(chances, axis=-1) - chances < sampling.top_p
    least = jnp.min(jnp.where(inside & (chances > 0), ordered, jnp.inf), axis=-1, keepdims=True)
    return jax.random.categorical(key, jnp.where(logits >= least, logits, -jnp.inf), axis=-1)


def _bucket(size: int) -> int:
    """Returns the next power of two, at least 16."""
    return max(16, 1 << (size - 1).bit_length())


def _check(sampling: Sampling, mask: np.ndarray) -> None:
    if sampling.max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens ({sampling.max_new_tokens}) must be at least 1.")
    if sampling.temperature < 0:
        raise ConfigError(f"temperature ({sampling.temperature}) must be at least 0.")
    if not 0 < sampling.top_p <= 1:
        raise ConfigError(f"top_p ({sampling.top_p}) must be in (0, 1].")
    if sampling.top_k < 0:
        raise ConfigError(f"top_k ({sampling.top_k}) must be at least 0; 0 takes all tokens.")
    empty = np.flatnonzero(mask.sum(axis=1) == 0)
    if mask.shape[0] == 0 or len(empty):
        raise ConfigError(f"Nothing to continue: rows {empty[:5].tolist()} of input_ids have no real token.")
