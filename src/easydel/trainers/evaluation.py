"""Evaluation on held-out pairs: every metric a mean over all pairs, or all tokens, not over batches."""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import PyTree

from easydel.data.loader import Loader, prefetch
from easydel.display.display import SILENT, Display
from easydel.losses import Scalar
from easydel.trainers.interrupt import wait_for
from easydel.trainers.metrics import AUXILIARY, add, means
from easydel.trainers.objective import Objective, mean_chosen_length, pair_facts
from easydel.trainers.reference import Reference
from easydel.trainers.setup import PER_PAIR, on_mesh
from easydel.trainers.step import EvaluationStep, flat


def evaluate(
    step: EvaluationStep,
    objective: Objective,
    params: PyTree,
    reference: Reference,
    loader: Loader,
    *,
    name: str,
    most_batches: int | None,
    logit_metrics: bool,
    mesh: Mesh,
    reward_shift: Scalar = 0.0,
    display: Display = SILENT,
) -> dict[str, float]:
    """Returns the metrics of the weights `params` on the pairs of a loader.

    How many pairs there are to a batch changes memory and time, not the result: the loss is computed once, over all
    pairs, as it may compare them with one another.

    Args:
        step: the compiled evaluation step of the same `beta`.
        name: of the set of pairs, which `reference` was prepared for.
        most_batches: stop after so many; None takes all pairs.
        reward_shift: delta of `losses.bco_pair`.
        display: shows how far it is.
    """
    batches = min(loader.steps_per_epoch, most_batches or loader.steps_per_epoch)
    total: dict[str, float] = {}
    seen = []
    with (
        prefetch(loader.batches(), wait_for=wait_for) as ahead,
        display.work(f"evaluate {name}", unit="batches", total=batches) as work,
    ):
        for _ in range(batches):
            on_host = next(ahead)[1]
            batch = on_mesh(on_host, mesh)
            reference_logps = reference.logprobs(name, on_host, batch)
            sums, out = step(params, batch, reference_logps)
            total = add(total, sums)
            per_pair = batch._replace(**{name: None for name in batch._fields if name not in PER_PAIR})
            seen.append((out, flat(reference_logps), flat(per_pair)))
            work.advance()
    out, reference_logps, pairs = jax.tree.map(lambda *parts: jnp.concatenate(parts), *seen)
    losses = objective(out, reference_logps, pair_facts(pairs, mean_chosen_length(pairs), reward_shift))
    total["loss"] = float(jnp.sum(jnp.where(pairs.lengths[:, 0] > 0, losses, 0.0)))
    if objective.balance is not None:
        total[AUXILIARY] = total["pairs"] * float(objective.auxiliary(out))
    return means(total, logit_metrics=logit_metrics)
