"""Evaluation on held-out pairs: every metric a mean over all pairs, or all tokens, not over batches."""

from collections.abc import Callable, Sequence

from jax.sharding import Mesh
from jaxtyping import PyTree

from easydel.data.loader import make_loader, prefetch
from easydel.data.pack import Batch
from easydel.data.pair import Pair
from easydel.sharding import row_shards
from easydel.trainers.metrics import Sums, add, means
from easydel.trainers.reference import Reference
from easydel.trainers.setup import on_mesh
from easydel.trainers.step import ReferenceLogps


def evaluate(
    step: Callable[[PyTree, Batch, ReferenceLogps], Sums],
    params: PyTree,
    reference: Reference,
    pairs: Sequence[Pair],
    *,
    batch_size: int,
    most_batches: int | None,
    length_cost: float,
    logit_metrics: bool,
    mesh: Mesh,
) -> dict[str, float]:
    """Returns the metrics of the weights `params` on the pairs, in their order, each named `eval_*`.

    Args:
        step: a compiled evaluation step.
        batch_size: pairs at a time; it changes memory and time, not the result.
        most_batches: stop after so many; None takes all pairs.
        length_cost: see `easydel.data.shapes.plan_shapes`.
    """
    loader = make_loader(
        pairs, total_batch_size=batch_size, shuffle=False, shards=row_shards(mesh), length_cost=length_cost
    )
    batches = min(loader.steps_per_epoch, most_batches or loader.steps_per_epoch)
    total: dict[str, float] = {}
    with prefetch(loader.batches()) as ahead:
        for _ in range(batches):
            batch = on_mesh(next(ahead)[1], mesh)
            total = add(total, step(params, batch, reference.logprobs(batch)))
    return {f"eval_{name}": value for name, value in means(total, logit_metrics=logit_metrics).items()}
