"""Log-probabilities of packed completions against the full logits of each sequence on its own."""

import dataclasses
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.data.pack import Batch, pack, pad
from easydel.data.pair import Pair
from easydel.logprobs import completion_logprobs
from easydel.models.causal_lm import CausalLM
from easydel.models.decoder import COMPILER_OPTIONS
from easydel.ops.attention import MECHANISMS
from easydel.ops.head import token_statistics
from easydel.sharding import make_mesh, sharding_for
from oracles.pairs import trained_places
from oracles.products import precisions
from oracles.tiny import VOCAB, tiny_model, tiny_pairs

LENGTH = 16


@pytest.fixture(scope="module")
def model() -> CausalLM:
    return tiny_model()


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """Seven pairs; three have been cut by keep_end, so that each side carries the context it kept. Two are masked."""
    cut = [Pair([], [3, 1, 4, 1, 5], [9, 2, 6], 3, 1), Pair([], [5, 3], [5, 8, 9, 7, 9, 3], 1, 4)]
    masked = Pair([7, 1], [2, 9, 4, 4], [8, 3, 3], chosen_trained=[False, True, False, True])
    both = Pair([], [6, 2, 8, 5, 1], [6, 1, 8], 2, 1)
    both = both._replace(chosen_trained=[False, False, False, True, True], rejected_trained=[False, True, False])
    return [*tiny_pairs(3), *cut, masked, both]


class Sequences(NamedTuple):
    """Both sides of each pair unpacked, chosen before rejected: the ids, and which of them bear loss."""

    ids: np.ndarray  # [2 * pairs, LENGTH]
    mask: np.ndarray
    completion: np.ndarray


def unpacked(pairs: list[Pair]) -> Sequences:
    ids, mask, completion = (np.zeros((2 * len(pairs), LENGTH), np.int32) for _ in range(3))
    for number, pair in enumerate(pairs):
        for side, own in enumerate((pair.chosen, pair.rejected)):
            row, whole = 2 * number + side, [*pair.prompt, *own]
            ids[row, : len(whole)] = whole
            mask[row, : len(whole)] = 1
            completion[row, [len(pair.prompt) + place for place in trained_places(pair, side)]] = 1
    return Sequences(ids, mask, completion)


@pytest.fixture(scope="module")
def expected(model: CausalLM, pairs: list[Pair]) -> dict[str, np.ndarray]:
    """The sums per side [pairs, 2], from the logits of the model in float64."""
    sequences = unpacked(pairs)
    logits = np.asarray(model(sequences.ids, sequences.mask).logits, np.float64)[:, :-1]
    target, counts = sequences.ids[:, 1:], sequences.completion[:, 1:]
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    per_token = {
        "logps": np.take_along_axis(logp, target[..., None], -1)[..., 0],
        "entropy": -(np.exp(logp) * logp).sum(-1),
        "mean_logit": logits.mean(-1),
        "correct": (logits.argmax(-1) == target).astype(float),
        "collision": np.log((np.exp(logp) ** 2).sum(-1)),
    }
    per_token["full_logps"] = per_token["logps"]
    return {name: (values * counts).sum(1).reshape(-1, 2) for name, values in per_token.items()}


def layout(name: str, pairs: list[Pair]) -> Batch:
    return {
        "packed": lambda: pack(pairs),
        "packed with filler pairs": lambda: pack(pairs, pad_pairs_to=8),
        "packed on two shards": lambda: pack(pairs, shards=2),
        "packed unshared": lambda: pack(pairs, share_prompt=False),
        "padded": lambda: pad(pairs),
        "padded unshared": lambda: pad(pairs, share_prompt=False),
    }[name]()


LAYOUTS = ("packed", "packed with filler pairs", "packed on two shards", "packed unshared", "padded", "padded unshared")


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_each_completion_what_its_sequence_has_alone(model, pairs, expected, name):
    found = compiled(model, chunk=5, logit_metrics=True, collision=True)(model.params, layout(name, pairs))
    for field, values in expected.items():
        sums = getattr(found, field)
        assert sums.dtype == jnp.float32
        np.testing.assert_allclose(sums[: len(pairs)], values, atol=2e-5, err_msg=field)
        np.testing.assert_array_equal(sums[len(pairs) :], 0, err_msg=field)


@pytest.mark.parametrize("name", LAYOUTS)
def test_ld_alpha_weighs_the_tokens_beyond_the_length_of_the_shorter_answer(model, pairs, name):
    sequences, alpha = unpacked(pairs), 0.3
    logits = np.asarray(model(sequences.ids, sequences.mask).logits, np.float64)[:, :-1]
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    per_token = np.take_along_axis(logp, sequences.ids[:, 1:, None], -1)[..., 0]
    wanted = np.zeros((len(pairs), 2))
    for pair in range(len(pairs)):
        sides = [per_token[2 * pair + side][sequences.completion[2 * pair + side, 1:] == 1] for side in (0, 1)]
        shared = min(map(len, sides))
        wanted[pair] = [side[:shared].sum() + alpha * side[shared:].sum() for side in sides]
    batch = layout(name, pairs)
    found = compiled(model, chunk=5, ld_alpha=alpha)(model.params, batch)
    np.testing.assert_allclose(found.logps[: len(pairs)], wanted, atol=2e-5)
    assert not np.allclose(found.logps, found.full_logps)
    whole = compiled(model, chunk=5, ld_alpha=1.0)(model.params, batch)
    np.testing.assert_array_equal(whole.logps, whole.full_logps)


def compiled(model: CausalLM, **options):
    return jax.jit(
        lambda params, batch: completion_logprobs(model.decoder, params, batch, **options),
        compiler_options=COMPILER_OPTIONS,
    )


def test_the_gradient_is_that_of_the_full_logits(model, pairs):
    sequences, batch = unpacked(pairs), pack(pairs)
    weights = jnp.asarray(np.random.default_rng(0).standard_normal((len(pairs), 2)), jnp.float32)

    def fused(params):
        return jnp.sum(weights * completion_logprobs(model.decoder, params, batch, chunk=5, logit_metrics=True).logps)

    def naive(params):
        position = np.maximum(sequences.mask.cumsum(1) - 1, 0)
        hidden, _ = model.decoder(params, sequences.ids, sequences.mask, 0 * sequences.mask, position)
        logp = jax.nn.log_softmax(model.decoder.logits(params, hidden))[:, :-1]
        taken = jnp.take_along_axis(logp, sequences.ids[:, 1:, None], axis=-1)[..., 0]
        return jnp.sum(weights * (taken * sequences.completion[:, 1:].astype(jnp.float32)).sum(1).reshape(-1, 2))

    found, wanted = (jax.jit(jax.grad(function))(model.params) for function in (fused, naive))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, wanted)


@pytest.mark.parametrize("name", LAYOUTS)
def test_masking_takes_the_log_probabilities_of_the_masked_tokens_away_and_no_more(model, name):
    whole = Pair([7, 1], [2, 9, 4, 4], [8, 3, 3])
    masks = {"chosen_trained": [True, False, False, True], "rejected_trained": [True, True, False]}
    others = {"chosen_trained": [False, True, True, False], "rejected_trained": [False, False, True]}
    sums = [
        compiled(model, chunk=5)(model.params, layout(name, [*tiny_pairs(2), pair])).logps[2]
        for pair in (whole, whole._replace(**masks), whole._replace(**others))
    ]
    np.testing.assert_allclose(sums[0], sums[1] + sums[2], atol=2e-5)
    assert (np.asarray(sums[1]) > np.asarray(sums[0])).all()


@pytest.mark.parametrize("mechanism", [name for name, each in MECHANISMS.items() if each.platform is None])
@pytest.mark.parametrize("checkpointing", ["", "nothing_saveable"])
def test_the_precision_asked_for_is_that_of_every_product_forward_and_backward(pairs, mechanism, checkpointing):
    model, batch = tiny_model(gradient_checkpointing=checkpointing), pack(pairs)
    highest = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
    for precision, expected in (("highest", highest), (None, None)):
        decoder = dataclasses.replace(model.decoder, precision=precision, attn_mechanism=mechanism)

        def total(params, decoder=decoder):
            return jnp.sum(completion_logprobs(decoder, params, batch, chunk=5).logps)

        # In each layer, traced once: four projections, scores, mixture and three of the MLP. Then the head.
        assert precisions(total, model.params) == [expected] * (4 + 2 + 3 + 1)
        backward = precisions(jax.grad(total), model.params)
        assert len(backward) >= 3 * 10  # each factor of a product has one of its own
        assert set(backward) == {expected}


class Table:
    """A decoder whose hidden state of a token is a row of a table."""

    precision = None
    logit_cap = None
    platform = "cpu"

    def __call__(self, params, tokens, segment, branch, position, dropout_key=None, sequences=None):
        return params["table"].astype(params["head"].dtype)[tokens], None

    def head(self, params):
        return params["head"]


def test_bfloat16_states_are_summed_in_float32():
    # One completion of 600 tokens, each with the log-probability -ln 32: a bfloat16 sum would stop growing at -1024.
    tokens = [1] * 600
    batch = pack([Pair([1], tokens, [1, 2], index=0)])
    params = {"table": jnp.zeros((VOCAB, 4), jnp.bfloat16), "head": jnp.ones((VOCAB, 4), jnp.bfloat16)}
    found = completion_logprobs(Table(), params, batch, chunk=64)
    assert found.logps.dtype == jnp.float32
    np.testing.assert_allclose(found.logps, [[-600 * np.log(VOCAB), -2 * np.log(VOCAB)]], rtol=1e-5)


def test_filler_slots_contribute_nothing_whatever_they_point_at():
    batch = pack([Pair([1, 2], [3, 4, 5], [6], index=0)], pad_pairs_to=2)
    random = np.random.default_rng(5)
    params = {name: jnp.asarray(random.standard_normal((VOCAB, 4)), jnp.float32) for name in ("table", "head")}
    filler = batch.sequence == 2 * 2
    assert filler.any()
    other = batch._replace(target=np.where(filler, 7, batch.target), source=np.where(filler, 4, batch.source))

    def total(params, batch):
        return jnp.sum(completion_logprobs(Table(), params, batch, chunk=2).logps)

    found, wanted = (jax.value_and_grad(total)(params, each) for each in (other, batch))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_the_logits_of_a_vocabulary_split_over_devices_are_never_in_one_place():
    """Each of eight devices of `tp` has an eighth of a chunk of them; they exchange sums over the vocabulary."""
    embed, vocab, chunk, slots = 8, 4096, 64, 256
    mesh = make_mesh((1, 1, 1, 8, 1))
    random = np.random.default_rng(0)
    states, head = (random.standard_normal(size).astype(np.float32) for size in ((1, slots, embed), (vocab, embed)))
    target = random.integers(0, vocab, (1, slots)).astype(np.int32)

    def total(states, head, target):
        return jnp.sum(token_statistics(states, target, head, chunk=chunk, logit_metrics=True).logp)

    gradient = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    split = jax.device_put(head, sharding_for(("vocab", "embed"), head.shape, mesh))
    compiled = gradient.lower(states, split, target).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.5 * chunk * vocab * 4
    exchanged = re.findall(r"f32\[([\d,]+)\]\S* (?:all-|collective)", compiled.as_text())
    assert exchanged
    assert all(np.prod([int(size) for size in shape.split(",")]) <= chunk * embed for shape in exchanged)
    for found, expected in zip(
        jax.tree.leaves(compiled(states, split, target)), jax.tree.leaves(gradient(states, head, target)), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
