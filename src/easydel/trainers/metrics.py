"""Metrics of preference training: sums that add over micro-batches, steps and evaluation batches, and their means.

A mean of means is wrong as soon as one batch is smaller than the others, so everything that leaves the device is a sum
over pairs or tokens, and `means` divides once.
"""

import time
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from easydel.data.pack import Batch
from easydel.logprobs import CompletionLogprobs

Sums = dict[str, Float[Array, ""]]

LOGIT_METRICS = ("entropy", "logits/chosen", "logits/rejected", "mean_token_accuracy")
"""Those that need every logit of a completion token, not only the target's."""

# name of a mean -> (name of the sum, name of the count)
_DENOMINATORS = {
    "loss": "pairs",
    "rewards/chosen": "pairs",
    "rewards/rejected": "pairs",
    "rewards/accuracies": "pairs",
    "rewards/margins": "pairs",
    "logps/chosen": "pairs",
    "logps/rejected": "pairs",
    "logps/accuracies": "pairs",
    "entropy": "completion_tokens",
    "logits/chosen": "chosen_tokens",
    "logits/rejected": "rejected_tokens",
    "mean_token_accuracy": "chosen_tokens",
    "aux_loss": "pairs",
}
AUXILIARY = "aux_loss"  # of models with experts only


def pair_sums(
    out: CompletionLogprobs,
    reference: Float[Array, "pairs 2"],
    lengths: Int[Array, "pairs 2"],
    losses: Float[Array, "pairs"],
    *,
    beta: float,
) -> Sums:
    """Returns the sums over the real pairs of a batch from which `means` makes the metrics.

    The reward of a completion is `beta * (log policy - log reference)` (Rafailov et al. 2023, section 5.1). An accuracy
    counts the pairs whose chosen reward is strictly greater, so it is 0 while policy and reference are equal;
    `logps/accuracies` counts those whose chosen answer the policy itself finds likelier than the rejected one.
    """
    real = (lengths[:, 0] > 0).astype(jnp.float32)
    rewards = beta * (out.logps - reference)
    chosen, rejected = rewards[:, 0], rewards[:, 1]
    tokens = lengths.astype(jnp.float32).sum(axis=0)

    def over_pairs(values: Float[Array, "pairs"]) -> Float[Array, ""]:
        return jnp.sum(jnp.where(real > 0, values, 0.0))

    return {
        "pairs": jnp.sum(real),
        "chosen_tokens": tokens[0],
        "rejected_tokens": tokens[1],
        "completion_tokens": tokens[0] + tokens[1],
        "loss": over_pairs(losses),
        "rewards/chosen": over_pairs(chosen),
        "rewards/rejected": over_pairs(rejected),
        "rewards/accuracies": over_pairs((chosen > rejected).astype(jnp.float32)),
        "rewards/margins": over_pairs(chosen - rejected),
        "logps/chosen": over_pairs(out.logps[:, 0]),
        "logps/rejected": over_pairs(out.logps[:, 1]),
        "logps/accuracies": over_pairs((out.logps[:, 0] > out.logps[:, 1]).astype(jnp.float32)),
        "entropy": jnp.sum(out.entropy),
        "logits/chosen": jnp.sum(out.mean_logit[:, 0]),
        "logits/rejected": jnp.sum(out.mean_logit[:, 1]),
        "mean_token_accuracy": jnp.sum(out.correct[:, 0]),
    }


def add(total: Mapping[str, float], sums: Mapping[str, Array]) -> dict[str, float]:
    """Returns `total + sums`, as Python floats on the host; an empty total is zero."""
    return {name: total.get(name, 0.0) + float(value) for name, value in jax.device_get(dict(sums)).items()}


def names(*, logit_metrics: bool, auxiliary: bool) -> list[str]:
    """Returns the names of the metrics that `means` makes, with and without those that not every run has."""
    left_out = (*(() if logit_metrics else LOGIT_METRICS), *(() if auxiliary else (AUXILIARY,)))
    return [name for name in _DENOMINATORS if name not in left_out]


def means(total: Mapping[str, float], *, logit_metrics: bool) -> dict[str, float]:
    """Returns the metrics of `total`, each sum divided by its own count of pairs or tokens."""
    made = names(logit_metrics=logit_metrics, auxiliary=AUXILIARY in total)
    return {name: total[name] / max(total[_DENOMINATORS[name]], 1.0) for name in made}


class Window:
    """What happened since the last logged step: the device's sums, fetched only when asked for, and the clock."""

    def __init__(self) -> None:
        self._sums: list[Sums] = []
        self._row_positions = self._row_tokens = self._num_tokens = 0
        self._flops = 0.0
        self._seconds = 0.0
        self._since = time.perf_counter()

    def add(self, batch: Batch, sums: Sums, flops: float) -> None:
        """Takes the packed batch of a step, the sums that the step returned, and the arithmetic it was by formula."""
        self._flops += flops
        self._sums.append(sums)
        self._row_positions += batch.segment.size
        self._row_tokens += int((batch.segment > 0).sum())
        self._num_tokens += unshared_tokens(batch)

    def pause(self) -> None:
        """Stops the clock, once the steps so far are done, while something else than training goes on."""
        jax.block_until_ready(self._sums)
        self._seconds += time.perf_counter() - self._since

    def resume(self) -> None:
        """Starts the clock again after `pause`."""
        self._since = time.perf_counter()

    def metrics(self, *, logit_metrics: bool, peak_flops: float | None = None) -> dict[str, float]:
        """Returns the means over the pairs of the window, and how fast it went; waits for the device.

        `mfu`, the share of `peak_flops` (per second) that was used, is there only where the peak is known.
        """
        total: dict[str, float] = {}
        for sums in self._sums:
            total = add(total, sums)
        steps = len(self._sums)
        seconds = self._seconds + time.perf_counter() - self._since
        mfu = {} if peak_flops is None else {"mfu": self._flops / seconds / peak_flops}
        return (
            means(total, logit_metrics=logit_metrics)
            | mfu
            | {
                "grad_norm": total["grad_norm"] / steps,
                "skipped_steps": total["skipped"],
                "step_time": seconds / steps,
                "pairs_per_second": total["pairs"] / seconds,
                "tokens_per_second": self._num_tokens / seconds,
                "flops_per_second": self._flops / seconds,
                "padding_fraction": 1.0 - self._row_tokens / self._row_positions,
                "prefix_shared_fraction": 1.0 - self._row_tokens / self._num_tokens,
            }
        )


def unshared_tokens(batch: Batch) -> int:
    """Returns the tokens of prompt + chosen and prompt + rejected together: the prompt counts once for each side."""
    real = batch.segment > 0
    return int(real.sum() + (real & (batch.branch == 0)).sum())
