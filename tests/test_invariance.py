"""However a batch is laid out, split or spread, every loss has one value and one gradient.

All losses share the programs that compute them: an objective is a weighted sum, so one program with the weights as an
argument gives each loss in turn. Those that look across pairs have a program of their own where they are accumulated.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, PyTree

from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import make_loader
from easydel.data.pack import Batch, Shape, pack, pad, stack
from easydel.data.pair import Pair
from easydel.losses import LOSSES
from easydel.models.causal_lm import CausalLM
from easydel.sharding import row_shards
from easydel.trainers.batch_placement import on_mesh
from easydel.trainers.config import DPOConfig
from easydel.trainers.objective import Objective, Term, make_objective
from easydel.trainers.options.losses import TRAITS
from easydel.trainers.reference import Reference
from easydel.trainers.reference_precompute import Precompute
from easydel.trainers.step_functions import Forward, loss_and_gradient
from oracles.tiny import ONE_DEVICE, tiny_config, tiny_model, tiny_pairs

NAMES = [name for name in LOSSES if name != "aot_pair"]  # another name of aot_unpaired
CHUNK = 16
ONE_LAYER = tiny_config(num_hidden_layers=1)  # half the time to compile; depth is for the tests of the decoder
SHAPE = Shape(rows=8, length=24, slots=96)
# Everything that a loss may depend on besides the log-probabilities.
EVERYTHING = {"use_weighting": True, "ld_alpha": 0.5}
REWARD_SHIFT = 0.3


class Layout(NamedTuple):
    """One way to compute a batch: how its pairs are laid out, on which devices, with how many micro-batches."""

    lay_out: Callable[[list[Pair]], Batch]
    micro: int = 1
    dims: tuple[int, ...] = ONE_DEVICE
    cached: bool = False  # the reference is read from a table that was computed in other batches


def packed(pairs: list[Pair], *, shape: Shape = SHAPE, shards: int = 1, filler: int = 0) -> Batch:
    return pack(pairs, shape=shape, shards=shards, pad_pairs_to=len(pairs) + filler)


def padded(pairs: list[Pair], *, share_prompt: bool = True) -> Batch:
    batch = pad(pairs, length=24, share_prompt=share_prompt)
    more = ((0, 0), (0, SHAPE.slots - batch.source.shape[1]))  # so that micro-batches stack
    per_slot = {name: np.pad(getattr(batch, name), more) for name in ("source", "target", "offset")}
    sequence = np.pad(batch.sequence, more, constant_values=2 * len(pairs))
    return batch._replace(**per_slot, sequence=sequence)


def on(dims: tuple[int, ...]) -> Layout:
    shards = dims[0] * dims[1]
    return Layout(partial(packed, shape=Shape(8, 24, 96 // shards + 16), shards=shards), dims=dims)


LAYOUTS = {
    "padded": Layout(padded),
    "padded, prompt stored twice": Layout(partial(padded, share_prompt=False)),
    "accumulated over 2": Layout(partial(packed, filler=1), micro=2),
    "accumulated over 4": Layout(padded, micro=4),
    "8 devices (1, 8, 1, 1, 1)": on((1, 8, 1, 1, 1)),
    "8 devices (2, 2, 1, 2, 1)": on((2, 2, 1, 2, 1)),
    "4 devices (4, 1, 1, 1, 1)": on((4, 1, 1, 1, 1)),
    "cached reference": Layout(packed, cached=True),
    "cached reference, accumulated over 2, on 8 devices": on((1, 4, 1, 2, 1))._replace(micro=2, cached=True),
}


def pairs() -> list[Pair]:
    """Eight pairs, each with its own numbers; of every other one some tokens bear no loss."""
    return [
        pair._replace(
            weight=0.5 + 0.25 * at,
            margin=0.1 * at,
            preference=1 - 0.1 * at,
            score_gap=1.5 - 0.3 * at,
            chosen_trained=mask(pair.chosen, every=2) if at % 2 else None,
            rejected_trained=mask(pair.rejected, every=3) if at % 4 == 1 else None,
        )
        for at, pair in enumerate(tiny_pairs(8))
    ]


def mask(ids: list[int], *, every: int) -> list[bool]:
    """The last token bears loss, and before it all but every so many."""
    return [at == len(ids) - 1 or at % every > 0 for at in range(len(ids))]


def objective(weights: Array, names: tuple[str, ...], settings: dict) -> Objective:
    """The losses of these names, each with its weight; a weight of 0 leaves one out."""
    made = [make_objective(DPOConfig(loss_type=name, **{**settings, **OWN.get(name, {})})) for name in names]
    terms = tuple(Term(weight, *one.terms[0][1:]) for weight, one in zip(weights, made, strict=True))
    return replace(
        made[0],
        terms=terms,
        across_pairs=any(one.across_pairs for one in made),
        ld_alpha=settings.get("ld_alpha"),
    )


# Settings that a loss has to have, or that have no effect on it.
OWN = {"exo_pair": {"label_smoothing": 0.1}, "robust": {"label_smoothing": 0.2}}


class Values(NamedTuple):
    """Of each loss: its mean over the pairs, and the gradient."""

    loss: dict[str, float]
    gradient: dict[str, PyTree]


def compute(layout: Layout, settings: dict) -> Values:
    policy, reference_model = model(layout.dims), model(layout.dims, moved=0.05)
    size = 8 // layout.micro
    members = pairs()
    on_host = stack([layout.lay_out(members[start : start + size]) for start in range(0, 8, size)])
    batch = on_mesh(on_host, policy.decoder.mesh)
    forward = Forward(
        policy.decoder,
        chunk=CHUNK,
        logit_metrics=False,
        collision="use_weighting" in settings,
        ld_alpha=settings.get("ld_alpha"),
    )
    mesh = policy.decoder.mesh
    reference = Reference(
        reference_model.decoder,
        reference_model.params,
        chunk=CHUNK,
        ld_alpha=settings.get("ld_alpha"),
        precompute=Precompute(None, mesh) if layout.cached else None,
    )
    reference.prepare("pairs", make_loader(members, BatchLayout(3, row_shards=row_shards(mesh))))
    reference_logps = reference.logprobs("pairs", on_host, batch)
    found = Values({}, {})
    for names in groups(layout.micro):

        @jax.jit
        def value_and_gradient(weights, params, batch, reference, names=names):
            gradient, _, losses = loss_and_gradient(
                forward, objective(weights, names, settings), params, batch, reference, REWARD_SHIFT
            )
            return jnp.sum(jnp.where(batch.lengths[..., 0].reshape(-1) > 0, losses, 0.0)) / 8, gradient

        for name, weights in zip(names, np.eye(len(names), dtype=np.float32), strict=True):
            loss, gradient = value_and_gradient(weights, policy.params, batch, reference_logps)
            found.loss[name], found.gradient[name] = float(loss), jax.tree.map(np.asarray, gradient)
    return found


def groups(micro: int) -> list[tuple[str, ...]]:
    """Losses that can share a program: with several micro-batches, those across pairs take another way."""
    if micro == 1:
        return [tuple(NAMES)]
    across = tuple(name for name in NAMES if TRAITS[name].across_pairs)
    return [across, tuple(name for name in NAMES if not TRAITS[name].across_pairs)]


def model(dims: tuple[int, ...], *, moved: float = 0.0) -> CausalLM:
    tiny = tiny_model(config=ONE_LAYER, dims=dims)
    return replace(tiny, params=jax.tree.map(lambda x: x + moved * jnp.cos(7 * x), tiny.params)) if moved else tiny


@cache
def plain(everything: bool) -> Values:
    return compute(Layout(packed), EVERYTHING if everything else {})


@pytest.mark.parametrize("everything", [False, True], ids=["plain", "with weights, ld_alpha and WPO"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_loss_and_its_gradient_are_the_same_in_every_layout(name, everything):
    expected, found = plain(everything), compute(LAYOUTS[name], EVERYTHING if everything else {})
    for loss in NAMES:
        assert found.loss[loss] == pytest.approx(expected.loss[loss], rel=1e-5), loss
        assert_gradients_agree(found.gradient[loss], expected.gradient[loss], loss)


def assert_gradients_agree(found: PyTree, expected: PyTree, loss: str) -> None:
    """To 1e-4 of the largest entry."""
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    assert scale > 0, loss
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * scale, err_msg=loss), found, expected)
