"""The memory that a run is said to need, by hand and against what its state takes."""

import jax
import optax
import pytest

from easydel.data.pack import Shape
from easydel.errors import ConfigError
from easydel.trainers import memory_estimate
from easydel.trainers.config import DPOConfig
from easydel.trainers.head_plan import HeadPlan
from easydel.trainers.memory_estimate import check_memory
from easydel.trainers.optimizer import optimizer_of
from easydel.trainers.train_state import initial_state
from oracles.tiny import VOCAB, tiny_model

SHAPES = (Shape(rows=2, length=16, slots=8), Shape(rows=4, length=16, slots=32))
COUNTS = 2 * 4  # bytes of the two int32 counts that an optimizer with moments keeps besides


def test_the_memory_needed_is_that_of_the_largest_shape(monkeypatch):
    monkeypatch.setattr(memory_estimate, "available_bytes", lambda devices: None)
    model = tiny_model()
    weights = sum(x.size for x in jax.tree.leaves(model.params))
    assert check_memory(DPOConfig(), model, SHAPES, head=HeadPlan(10)) == {
        "weights": 4 * weights,
        "optimizer": 2 * 4 * weights + COUNTS,  # two moments
        "gradients": 4 * weights,
        "activations": 4 * 16 * (16 * 2 * 4),  # the input of each of two layers of 16 channels, in float32
        "logits": 3 * 10 * VOCAB * 4,
    }
    config = DPOConfig(optimizer="lion", param_dtype="bfloat16", gradient_accumulation_steps=2, sync_ref_model=True)
    found = check_memory(config, model, SHAPES, head=HeadPlan(1000))
    assert found["weights"] == found["reference"] == 2 * weights
    assert found["optimizer"] == 4 * weights + COUNTS  # one moment, float32 whatever the weights are
    assert found["gradients"] == (4 + 2) * weights  # the sum, and that of one part
    assert found["logits"] == 3 * 64 * VOCAB * 4  # there are no more tokens than that
    spread = tiny_model(dims=(4, 1, 1, 1, 1))
    assert check_memory(DPOConfig(), spread, SHAPES, head=HeadPlan(10))["logits"] == 3 * 40 * VOCAB * 4


def test_a_reference_counts_where_a_copy_is_made_for_it(monkeypatch):
    monkeypatch.setattr(memory_estimate, "available_bytes", lambda devices: None)
    model = tiny_model()
    weights = sum(x.size for x in jax.tree.leaves(model.params))
    rounded = {"optimizer": "lion", "param_dtype": "bfloat16"}  # so that the policy as it starts must be kept apart
    assert check_memory(DPOConfig(**rounded), model, SHAPES, head=HeadPlan(10))["reference"] == 2 * weights
    for config, given in (
        (DPOConfig(**rounded), model),
        (DPOConfig(**rounded, precompute_ref_log_probs=True), None),
        (DPOConfig(**rounded, reference_free=True), None),
    ):
        assert "reference" not in check_memory(config, model, SHAPES, head=HeadPlan(10), reference=given)


@pytest.mark.parametrize(
    ("settings", "per_weight"),
    [
        ({}, 8),
        ({"mu_dtype": "bfloat16"}, 6),
        ({"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}, 4),
        ({"optimizer": "lion", "mu_dtype": "bfloat16"}, 2),
        ({"optimizer": "rmsprop", "nu_dtype": "bfloat16"}, 2),
    ],
)
def test_moments_take_the_bytes_of_their_dtypes(settings, per_weight):
    config, model = DPOConfig(**settings), tiny_model()
    optimizer = optimizer_of(config, optax.constant_schedule(1.0), model)
    state = initial_state(model.params, optimizer, 0, model.decoder.mesh)
    taken = sum(x.nbytes for x in jax.tree.leaves(state.opt_state))
    weights = sum(x.size for x in jax.tree.leaves(model.params))
    assert check_memory(config, model, SHAPES, head=HeadPlan(10))["optimizer"] == taken
    assert per_weight * weights < taken < per_weight * weights + 16


def test_too_little_memory_is_an_error_with_both_numbers_and_ways_out(monkeypatch):
    monkeypatch.setattr(memory_estimate, "available_bytes", lambda devices: 3 * 1024**3)
    model = tiny_model()
    check_memory(DPOConfig(), model, SHAPES, head=HeadPlan(1024))
    long = (Shape(rows=64, length=2**20, slots=64),)
    with pytest.raises(ConfigError, match=r"not enough memory: 8\.0 GiB needed .*, 3\.0 GiB available\.") as error:
        check_memory(DPOConfig(), model, long, head=HeadPlan(1024))
    assert "(weights 0.0, optimizer 0.0, gradients 0.0, activations 8.0, logits 0.0)" in str(error.value)
    assert "gradient_accumulation_steps" in str(error.value)


def test_a_run_goes_on_with_too_little_memory_where_it_is_asked_to(monkeypatch):
    monkeypatch.setattr(memory_estimate, "available_bytes", lambda devices: 1024)
    with pytest.warns(UserWarning, match=r"may not fit: it needs at least .* and goes on as check_memory = False"):
        found = check_memory(DPOConfig(check_memory=False), tiny_model(), SHAPES, head=HeadPlan(10))
    assert sum(found.values()) > 1024
