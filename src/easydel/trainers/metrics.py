"""Metrics of preference training: sums that add over micro-batches, steps and evaluation batches, and their means.

A mean of means is wrong as soon as one batch is smaller than the others, so everything that leaves the device is a sum
over pairs or tokens, and `means` divides once.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from easydel.data.pack import Batch
from easydel.logprobs import CompletionLogprobs

Sums = dict[str, Float[Array, ""]]

LOGIT_METRICS = ("entropy", "logits/chosen", "logits/rejected", "mean_token_accuracy")
"""Those that need every logit of a completion token, not only the target's."""

# name of a mean -> (name of the sum, name of the count)
_DENOMINATORS = {
    **dict.fromkeys(("loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"), "pairs"),
    **dict.fromkeys(("logps/chosen", "logps/rejected", "logps/accuracies"), "pairs"),
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
    `logps/accuracies` counts those whose chosen completion is more likely under the policy than the rejected one.
    `logps/*` are those that the rewards are made of: with `ld_alpha` its weights are in them, as in TRL's.
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


def add(total: Mapping[str, float], sums: Mapping[str, Float[Array, ""]]) -> dict[str, float]:
    """Returns `total + sums`, as Python floats on the host; an empty total is zero."""
    return {**total} | {name: total.get(name, 0.0) + float(value) for name, value in jax.device_get(dict(sums)).items()}


def metric_names(*, logit_metrics: bool, auxiliary: bool) -> list[str]:
    """Returns the names of the metrics that `means` makes, with and without those that not every run has."""
    left_out = (*(() if logit_metrics else LOGIT_METRICS), *(() if auxiliary else (AUXILIARY,)))
    return [name for name in _DENOMINATORS if name not in left_out]


def means(total: Mapping[str, float], *, logit_metrics: bool) -> dict[str, float]:
    """Returns the metrics of `total`, each sum divided by its own count of pairs or tokens."""
    made = metric_names(logit_metrics=logit_metrics, auxiliary=AUXILIARY in total)
    return {name: total[name] / max(total[_DENOMINATORS[name]], 1.0) for name in made}


class Counted(NamedTuple):
    """What the host knows of the steps of a window, skipped ones too."""

    steps: int = 0
    pairs: int = 0
    row_positions: int = 0
    row_tokens: int = 0
    num_tokens: int = 0
    flops: float = 0.0  # by formula
    seconds: float = 0.0


class MetricsWindow:
    """What happened since the last logged step: the device's sums, fetched only when asked for, and the clock.

    Args:
        saved: what `plain` gave, to go on from.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        saved = saved or {"sums": {}, "counted": {}}
        self._waiting: list[Sums] = []
        self._sums: dict[str, float] = dict(saved["sums"])
        self._counted = Counted(**saved["counted"])
        self._since: float | None = time.perf_counter()  # None while the clock stands

    @property
    def steps(self) -> int:
        """Steps in the window."""
        return self._counted.steps

    def add(self, batch: Batch, sums: Sums, flops: float, chunk: int | None = None) -> None:
        """Takes the packed batch of a step, the sums that the step returned, and its arithmetic by formula.

        `chunk` is that of the decoder, see `positions_computed`.
        """
        self._waiting.append(sums)
        so_far = self._counted
        self._counted = so_far._replace(
            steps=so_far.steps + 1,
            pairs=so_far.pairs + pairs_of(batch),
            row_positions=so_far.row_positions + positions_computed(batch, chunk),
            row_tokens=so_far.row_tokens + int((batch.segment > 0).sum()),
            num_tokens=so_far.num_tokens + sequence_tokens(batch),
            flops=so_far.flops + flops,
        )

    def pause(self) -> None:
        """Stops the clock, once the steps so far are done, while something else than training goes on."""
        jax.block_until_ready(self._waiting)
        self._counted, self._since = self._counted._replace(seconds=self._seconds()), None

    def resume(self) -> None:
        """Starts the clock again after `pause`."""
        self._since = time.perf_counter()

    def plain(self) -> dict[str, Any]:
        """Returns the window as plain numbers, to store and to go on from; waits for the device."""
        self._fetch()
        return {"sums": self._sums, "counted": self._counted._replace(seconds=self._seconds())._asdict()}

    def metrics(self, *, logit_metrics: bool, peak_flops: float | None = None) -> dict[str, float]:
        """Returns the means over the pairs of the window, and how fast it went; waits for the device.

        The means are over the steps that were not skipped, and not finite where all were. `mfu`, the share of
        `peak_flops` (per second) that was used, is there only where the peak is known.
        """
        self._fetch()
        counted, seconds, skipped = self._counted, self._seconds(), self._sums.get("skipped", 0.0)
        good = counted.steps - skipped
        measured = dict.fromkeys([*metric_names(logit_metrics=logit_metrics, auxiliary=False), "grad_norm"], math.nan)
        if good:
            measured = means(self._sums, logit_metrics=logit_metrics) | {"grad_norm": self._sums["grad_norm"] / good}
        if peak_flops is not None:
            measured["mfu"] = counted.flops / seconds / peak_flops
        return measured | {
            "skipped_steps": skipped,
            "step_time": seconds / counted.steps,
            "pairs_per_second": counted.pairs / seconds,
            "tokens_per_second": counted.num_tokens / seconds,
            "flops_per_second": counted.flops / seconds,
            "padding_fraction": 1.0 - counted.row_tokens / counted.row_positions,
            "prefix_shared_fraction": 1.0 - counted.row_tokens / counted.num_tokens,
        }

    def _seconds(self) -> float:
        return self._counted.seconds + (0.0 if self._since is None else time.perf_counter() - self._since)

    def _fetch(self) -> None:
        """Adds what the steps returned, one after another: a window that was stored in between is the same bits."""
        for sums in self._waiting:
            skipped = float(sums["skipped"])
            self._sums = add(self._sums, {"skipped": sums["skipped"]} if skipped else sums)
        self._waiting = []


def pairs_of(batch: Batch) -> int:
    """Returns the number of pairs in a batch, without padding."""
    return int((batch.lengths[..., 0] > 0).sum())


def positions_computed(batch: Batch, chunk: int | None) -> int:
    """Returns the positions that go through the blocks: all, or with a `chunk` those of chunks with a token."""
    if chunk is None:
        return batch.segment.size
    flat = batch.segment.reshape(-1, batch.segment.shape[-2] * batch.segment.shape[-1]) > 0  # of each micro-batch
    ends = np.max(flat * np.arange(1, flat.shape[1] + 1), axis=1)
    return int(np.minimum(-(-ends // chunk) * chunk, flat.shape[1]).sum())


def sequence_tokens(batch: Batch) -> int:
    """Returns the tokens of prompt + chosen and prompt + rejected together: the prompt counts twice."""
    real = batch.segment > 0
    return int(real.sum() + (real & (batch.branch == 0)).sum())
