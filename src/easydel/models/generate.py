"""Text generation with a key-value cache: one compiled prefill and loop per bucket of shapes."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from easydel.models.decoder import COMPILER_OPTIONS, Decoder, Params
from easydel.models.kinds import Layer
from easydel.models.mixers import MIXERS
from easydel.models.mixing import Mix
from easydel.models.sampling import Sampling, check_sampling, penalized, sample
from easydel.ops.attention import attend
from easydel.processes import on_host
from easydel.sharding import length_shards, row_shards


class _LoopConfig(NamedTuple):
    """What a compilation depends on besides shapes."""

    room: int  # tokens in the cache for new ones
    sampled: bool
    penalized: bool


class _Progress(NamedTuple):
    """What the loop carries. `last` holds the logits that choose the next token."""

    step: Int[Array, ""]
    last: Float[Array, "batch vocab"]
    out: Int[Array, "batch new"]
    finished: Bool[Array, "batch"]
    used: Bool[Array, "batch vocab"]  # the tokens that a repetition penalty is for
    cache: Any
    key: Key[Array, ""]


def generate_tokens(
    decoder: Decoder, params: Params, tokens: np.ndarray, mask: np.ndarray, sampling: Sampling, eos: Sequence[int]
) -> Int[np.ndarray, "batch total"]:
    """Returns `tokens` [batch length] followed by the new ones; see `CausalLM.generate`.

    The numbers of rows and of new tokens and the length of the prompts are rounded up to powers of two, so a handful of
    compilations serve all.

    Raises:
        ConfigError: settings out of range, or a row without any token.
    """
    check_sampling(sampling, mask)
    batch, rows = tokens.shape[0], _rounded(tokens.shape[0])
    padding = rows - batch + -rows % row_shards(decoder.mesh)
    # Rows of padding repeat the first one, and have finished from the start.
    texts = [tokens[row][mask[row] == 1] for row in [*range(batch), *[0] * padding]]
    key, finished = jax.random.key(sampling.seed), np.arange(len(texts)) >= batch
    parts, left = [tokens], sampling.max_new_tokens
    while left and not finished.all():
        steps = _steps(decoder, [len(text) for text in texts], left)
        config = _LoopConfig(_bucket(steps), sampling.temperature > 0, sampling.repetition_penalty != 1)
        settings = sampling._replace(max_new_tokens=steps)
        prompt, real = _left_padded(texts, length_shards(decoder.mesh))
        end = _generate(decoder, config, params, prompt, real, np.asarray(eos, np.int32), settings, finished, key)
        new, finished, key = on_host(end.out)[:, : int(end.step)], on_host(end.finished), end.key
        texts = [np.concatenate(both) for both in zip(texts, new, strict=True)]
        parts.append(new[:batch])
        left -= steps
    return np.concatenate(parts, axis=1)


def _left_padded(texts: Sequence[np.ndarray], multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (tokens, 1 where they are real) of rows that end at the same place, in the width of a bucket."""
    width = math.ceil(_bucket(max(map(len, texts))) / multiple) * multiple
    prompt, real = np.zeros((2, len(texts), width), np.int32)
    for row, text in enumerate(texts):
        prompt[row, len(prompt[row]) - len(text) :] = text
        real[row, len(prompt[row]) - len(text) :] = 1
    return prompt, real


def _steps(decoder: Decoder, lengths: Sequence[int], left: int) -> int:
    """How many tokens can follow before a cache has to be made anew.

    Past its original length `longrope` turns the tokens of a sequence otherwise, also those that are in the cache.
    """
    ropes = (rope for rope in decoder.config.ropes if rope.rope_type == "longrope")
    limits = [rope.original_max_position_embeddings for rope in ropes]
    return min([left, *(limit + 1 - length for limit in limits for length in lengths if length <= limit)])


@partial(jax.jit, static_argnums=(0, 1), compiler_options=COMPILER_OPTIONS)
def _generate(
    decoder: Decoder,
    config: _LoopConfig,
    params: Params,
    prompt: jax.Array,
    real: jax.Array,
    eos: jax.Array,
    sampling: Sampling,
    finished: jax.Array,
    key: Key[Array, ""],
) -> _Progress:
    """Returns what the loop ended with, without its cache: `step` new tokens in `out`."""
    rows, length = prompt.shape
    hidden, cache = _prefill(decoder, params, prompt, real, config.room)
    lengths = jnp.sum(real, axis=1)

    def body(at: _Progress) -> _Progress:
        key, draw = jax.random.split(at.key)
        logits = penalized(at.last, at.used, sampling.repetition_penalty) if config.penalized else at.last
        chosen = sample(logits, draw, sampling) if config.sampled else jnp.argmax(logits, axis=-1)
        token = jnp.where(at.finished, sampling.pad, chosen.astype(jnp.int32))
        out = jax.lax.dynamic_update_slice(at.out, token[:, None], (0, at.step))
        finished = at.finished | jnp.isin(token, eos)
        used = at.used.at[jnp.arange(rows), token].set(True) if config.penalized else at.used
        hidden, cache = _next(decoder, params, token, lengths + at.step, at.cache, length + at.step)
        return _Progress(at.step + 1, decoder.logits(params, hidden)[:, 0], out, finished, used, cache, key)

    last = decoder.logits(params, hidden[:, -1:])[:, 0]
    used = jnp.zeros(last.shape if config.penalized else (), bool)
    start = _Progress(
        step=jnp.int32(0),
        last=last,
        out=jnp.full((rows, config.room), sampling.pad, jnp.int32),
        finished=finished,
        used=used.at[jnp.arange(rows)[:, None], prompt].max(real == 1) if config.penalized else used,
        cache=cache,
        key=key,
    )
    end = jax.lax.while_loop(lambda at: (at.step < sampling.max_new_tokens) & ~jnp.all(at.finished), body, start)
    return end._replace(cache=None)


def _prefill(decoder: Decoder, params: Params, prompt: jax.Array, real: jax.Array, room: int) -> tuple[jax.Array, Any]:
    """Returns the hidden states of the prompts, and what their layers go on with, by mixer.

    Of attention keys and values [layers rows slots kv_heads head_dim]: a cache has a slot for every place of a row or,
    where all its layers have a window, for those of the widest: then it is a ring, and place p lies in slot p modulo
    the slots. Other mixers have a state behind the last token, see `mixers.Mixer`.
    """
    position = jnp.maximum(jnp.cumsum(real, axis=1) - 1, 0)
    mixing = decoder.row_mixing(real, jnp.zeros_like(real), position, sequences=real.shape[0], with_state=True)
    hidden, kept = decoder.run_layers(params, prompt, decoder.angles(position, real), mixing)
    kept.pop("routed")
    length = prompt.shape[1]
    attending = [layer for layer in decoder.config.layers if layer.mixer == "attention"]
    slots = min(length + room, max((layer.window or length + room for layer in attending), default=0))

    def laid_out(x: jax.Array) -> jax.Array:
        if slots < length:
            return jnp.roll(x[:, :, length - slots :], length % slots, axis=2)
        return jnp.pad(x, ((0, 0), (0, 0), (0, slots - length), (0, 0), (0, 0)))

    return hidden, kept | ({"attention": jax.tree.map(laid_out, kept["attention"])} if attending else {})


def _next(
    decoder: Decoder, params: Params, token: jax.Array, position: jax.Array, cache: Any, place: jax.Array
) -> tuple[jax.Array, Any]:
    """Returns the hidden states after one more token per row, and the cache with that token at `place`."""
    attention = partial(_next_attention, decoder, position, place)

    def mixing(kind: Layer, layer_cache: Any) -> Mix:
        if kind.mixer == "attention":
            return attention(kind.window, layer_cache)
        step = MIXERS[kind.mixer].step
        return lambda weights, inputs: step(decoder.config, weights, inputs, layer_cache)

    angles = decoder.angles(position[:, None], jnp.ones_like(position)[:, None])
    hidden, kept = decoder.run_layers(params, token[:, None], angles, mixing, cache=cache)
    kept.pop("routed")
    return hidden, kept


def _next_attention(
    decoder: Decoder, position: jax.Array, place: jax.Array, window: int | None, cache: tuple[jax.Array, jax.Array]
) -> Mix:
    """Returns the attention of one more token per row, at `place`, over what the cache of a layer holds and itself."""
    slots = cache[0].shape[1]
    held = place - (place - jnp.arange(slots)) % slots  # the place that each slot holds; below 0 where none yet
    first = place - position  # of each row, whose tokens stand without a gap
    mask = held >= first[:, None]
    seen = mask if window is None else mask & (place - held < window)

    def with_cache(query: jax.Array, key: jax.Array, value: jax.Array, _: Any) -> tuple[jax.Array, Any]:
        keys, values = (
            jax.lax.dynamic_update_slice(old, new, (0, place % slots, 0, 0))
            for old, new in zip(cache, (key, value), strict=True)
        )
        mixed = attend(
            query,
            keys,
            values,
            seen[:, None],
            scale=decoder.config.attention_scale,
            mechanism=decoder.attn_mechanism,
            score_cap=decoder.config.score_cap,
        )
        return mixed, (keys, values)

    return with_cache


def _rounded(size: int) -> int:
    """Returns the next power of two."""
    return 1 << (size - 1).bit_length()


def _bucket(tokens: int) -> int:
    """Returns the next power of two, at least 16."""
    return max(16, _rounded(tokens))
