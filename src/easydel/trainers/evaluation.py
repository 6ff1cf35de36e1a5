"""Evaluation on held-out pairs: every metric a mean over all pairs, or all tokens, not over batches."""

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import PyTree

from easydel.data.loader import Loader, prefetch
from easydel.trainers.metrics import add, means
from easydel.trainers.reference import Reference
from easydel.trainers.setup import on_mesh
from easydel.trainers.step import EvaluationStep, Objective


def evaluate(
    step: EvaluationStep,
    objective: Objective,
    params: PyTree,
    reference: Reference,
    loader: Loader,
    *,
    most_batches: int | None,
    logit_metrics: bool,
    mesh: Mesh,
) -> dict[str, float]:
    """Returns the metrics of the weights `params` on the pairs of a loader, each named `eval_*`.

    How many pairs there are to a batch changes memory and time, not the result: a loss that compares pairs with one
    another is computed once, over all of them.

    Args:
        step: the compiled evaluation step of `objective`.
        most_batches: stop after so many; None takes all pairs.
    """
    batches = min(loader.steps_per_epoch, most_batches or loader.steps_per_epoch)
    total: dict[str, float] = {}
    seen = []
    with prefetch(loader.batches()) as ahead:
        for _ in range(batches):
            batch = on_mesh(next(ahead)[1], mesh)
            reference_logps = reference.logprobs(batch)
            sums, logps = step(params, batch, reference_logps)
            total = add(total, sums)
            if objective.across_pairs:
                seen.append((logps, reference_logps.reshape(logps.shape), jnp.reshape(batch.lengths, logps.shape)))
    if objective.across_pairs:
        policy, other, lengths = (jnp.concatenate(parts) for parts in zip(*seen, strict=True))
        losses = objective.loss(policy, other, lengths)
        total["loss"] = float(jnp.sum(jnp.where(lengths[:, 0] > 0, losses, 0.0)))
    return {f"eval_{name}": value for name, value in means(total, logit_metrics=logit_metrics).items()}
