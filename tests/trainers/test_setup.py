"""What is refused before the first step, and where weights and batches are put."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easydel.data.pack import Batch
from easydel.data.pair import Pair
from easydel.errors import ConfigError
from easydel.sharding import make_mesh
from easydel.trainers.config import DPOConfig
from easydel.trainers.setup import (
    check_models,
    check_tokenizer,
    fingerprint,
    on_mesh,
    trained_copy,
)
from oracles.tiny import micro_batches, tiny_config, tiny_model, tiny_pairs

PAIR = Pair([1, 2], [3, 4], [5], index=0)


@pytest.mark.parametrize(
    "other",
    [
        [PAIR._replace(prompt=[1, 3])],
        [PAIR._replace(prompt=[1], chosen=[2, 3, 4])],  # the same ids, cut elsewhere
        [PAIR._replace(chosen=[5], rejected=[3, 4])],
        [PAIR._replace(weight=0.5)],
        [PAIR._replace(index=1)],
        [PAIR._replace(chosen_context=1)],
        [PAIR._replace(chosen_trained=[True, False])],
        [PAIR._replace(chosen_trained=[False, True])],
        [PAIR, PAIR],
        [],
    ],
)
def test_other_pairs_have_another_fingerprint(other):
    assert fingerprint(other) != fingerprint([PAIR])


def test_equal_pairs_have_equal_fingerprints_and_their_order_counts():
    pairs = tiny_pairs(4)
    assert fingerprint(pairs) == fingerprint([Pair(*map(_copied, pair)) for pair in pairs])
    assert fingerprint(pairs) != fingerprint(pairs[::-1])
    assert len(fingerprint(pairs)) == 16


def _copied(value):
    return list(value) if isinstance(value, list) else value


@pytest.mark.parametrize("dims", [(1, 1, 1, 1, 1), (2, 2, 1, 2, 1), (1, 8, 1, 1, 1)], ids=str)
def test_a_batch_is_split_by_rows_and_keeps_its_values(dims):
    mesh = make_mesh(dims)
    shards = dims[0] * dims[1]
    batch = micro_batches(tiny_pairs(16), 2, filler=1)
    # One slot row per shard, as packing for this mesh gives.
    per_slot = ("source", "target", "sequence", "offset")
    batch = batch._replace(**{name: np.repeat(getattr(batch, name), shards, 1) for name in per_slot})
    placed = on_mesh(batch, mesh)
    assert isinstance(placed, Batch)
    jax.tree.map(np.testing.assert_array_equal, placed, batch)
    for name, array in placed._asdict().items():
        parts = 1 if name in ("lengths", "index", "weight", "margin") else shards
        assert array.addressable_shards[0].data.shape[1] * parts == array.shape[1], name
        assert array.addressable_shards[0].data.shape[0] == 2, name  # every device has every micro-batch


def test_the_trained_weights_are_a_copy_in_the_dtype_asked_for():
    params = {"a": jnp.arange(3.0), "b": jnp.ones(2, jnp.bfloat16)}
    kept, narrow = trained_copy(params, None), trained_copy(params, "bfloat16")
    assert (kept["a"].dtype, kept["b"].dtype) == (jnp.float32, jnp.bfloat16)
    assert {x.dtype for x in jax.tree.leaves(narrow)} == {jnp.dtype(jnp.bfloat16)}
    jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)(kept)
    assert not any(x.is_deleted() for x in jax.tree.leaves(params))
    np.testing.assert_array_equal(params["a"], [0, 1, 2])


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_models_that_fit_each_other_are_accepted(model):
    check_models(DPOConfig(reference_free=True), model, None)
    check_models(DPOConfig(sync_ref_model=True), model, model)
    deeper = tiny_model(config=tiny_config(num_hidden_layers=3))
    check_models(DPOConfig(), model, deeper)  # only its vocabulary must be the same


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        ({"reference_free": True}, {}, "reference_free = True .* but a reference_model was given"),
        ({}, {"vocab_size": 40}, "the reference model has 40 token ids and the policy 32"),
        ({"sync_ref_model": True}, {"num_hidden_layers": 1}, "their shapes differ"),
    ],
)
def test_models_that_contradict_each_other_are_refused(model, settings, changes, message):
    reference = tiny_model(config=dataclasses.replace(tiny_config(), **changes))
    with pytest.raises(ConfigError, match=message):
        check_models(DPOConfig(**settings), model, reference)


class Tokenizer(SimpleNamespace):
    """What is asked of a tokenizer before training."""

    def __len__(self):
        return self.size


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eos_token": None, "chat_template": None, "size": 10}, "no eos_token, so a completion could not end"),
        ({"eos_token": "</s>", "chat_template": None, "size": 33}, "has 33 ids, but the model's embedding has 32 rows"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        check_tokenizer(Tokenizer(**values), tiny_config())


def test_a_tokenizer_that_fits_or_none_at_all_is_accepted():
    check_tokenizer(None, tiny_config())
    check_tokenizer(Tokenizer(eos_token="</s>", chat_template=None, size=32), tiny_config())
    check_tokenizer(Tokenizer(eos_token=None, chat_template="{{ messages }}", size=20), tiny_config())
