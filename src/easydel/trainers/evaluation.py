"""Evaluation on eval pairs: every metric a mean over all pairs, or all tokens, not over batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from easydel.data.pack import Batch
from easydel.data.prefetch import prefetch
from easydel.display.display import SILENT, Display
from easydel.losses import Scalar
from easydel.processes import on_host
from easydel.trainers.batch_placement import PER_PAIR, on_mesh
from easydel.trainers.config import DPOConfig
from easydel.trainers.datasets import EvalSet
from easydel.trainers.extensions import NOTHING, Extensions, PairValues, computed_metrics
from easydel.trainers.metrics import AUXILIARY, add, means
from easydel.trainers.objective import Objective, mean_chosen_length, pair_facts
from easydel.trainers.reference import Reference
from easydel.trainers.signals import wait_for
from easydel.trainers.step_functions import EvaluationStep, flat


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Evaluates weights on sets of pairs.

    How many pairs there are to a batch changes memory and time, not the result: the loss is computed once, over all
    pairs of a set, as it may compare them with one another.

    Attributes:
        step: the compiled evaluation step, of the same `beta` as `objective`.
        mesh: where batches are put.
        display: shows how far it is.
        extensions: what the user measures besides.
    """

    step: EvaluationStep
    objective: Objective
    reference: Reference
    config: DPOConfig
    mesh: Mesh
    display: Display = SILENT
    extensions: Extensions = NOTHING

    def prepare(self, sets: Mapping[str, EvalSet]) -> None:
        """Computes what must be known of the sets before they are evaluated on, see `Reference.prepare`.

        Raises:
            ConfigError: the log-probabilities of some pairs are not known, and the reference was released.
        """
        for each in sets.values():
            self.reference.prepare(each.name, each.loader, max_batches=self.config.max_evaluation_steps)

    def metrics(self, sets: Mapping[str, EvalSet], params: PyTree, reward_shift: Scalar) -> dict[str, float]:
        """Returns the metrics of the weights `params` on prepared sets, each with the name of its set before it.

        Args:
            reward_shift: delta of `losses.bco_pair`.

        Raises:
            Interrupted: the run was asked to end.
        """
        return {
            f"{name}_{metric}": value
            for name, each in sets.items()
            for metric, value in self._metrics_of(each, params, reward_shift).items()
        }

    def _metrics_of(self, data: EvalSet, params: PyTree, reward_shift: Scalar) -> dict[str, float]:
        batches = min(data.loader.steps_per_epoch, self.config.max_evaluation_steps or data.loader.steps_per_epoch)
        total: dict[str, float] = {}
        seen = []
        with (
            prefetch(data.loader.batches(), wait_for=wait_for) as ahead,
            self.display.work(f"evaluate {data.name}", unit="batches", total=batches) as work,
        ):
            for _ in range(batches):
                on_host = next(ahead)[1]
                batch = on_mesh(on_host, self.mesh)
                reference_logps = self.reference.logprobs(data.name, on_host, batch)
                sums, out = self.step(params, batch, reference_logps)
                total = add(total, sums)
                per_pair = batch._replace(**{name: None for name in batch._fields if name not in PER_PAIR})
                seen.append((out, flat(reference_logps), flat(per_pair)))
                work.advance()
        out, reference_logps, pairs = jax.tree.map(lambda *parts: jnp.concatenate(parts), *seen)
        losses = self.objective(out, reference_logps, pair_facts(pairs, mean_chosen_length(pairs), reward_shift))
        total["loss"] = float(jnp.sum(jnp.where(pairs.lengths[:, 0] > 0, losses, 0.0)))
        if self.objective.balance is not None:
            total[AUXILIARY] = total["pairs"] * float(self.objective.auxiliary(out))
        found = means(total, logit_metrics=self.config.log_logit_metrics)
        compute = self.extensions.compute_metrics
        if compute is None:
            return found
        return found | computed_metrics(compute, self._pair_values(out.logps, reference_logps, losses, pairs), found)

    def _pair_values(self, policy: Array, reference: Array, losses: Array, pairs: Batch) -> PairValues:
        of_pairs: tuple[Any, ...] = (pairs.index, pairs.lengths, policy, reference, losses)
        index, lengths, own, other, loss = map(on_host, of_pairs)
        values = PairValues(index, lengths, own, other, self.objective.beta * (own - other), loss)
        return PairValues(*(each[lengths[:, 0] > 0] for each in values))
