"""Metrics are means over pairs and tokens, whatever the batches they came in."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from easydel.data.pack import pack, pad
from easydel.data.pair import Pair
from easydel.logprobs import CompletionLogprobs
from easydel.trainers import metrics as module
from easydel.trainers.metrics import (
    LOGIT_METRICS,
    MetricsWindow,
    Sums,
    add,
    means,
    metric_names,
    pair_sums,
    sequence_tokens,
)

pytestmark = pytest.mark.quick

BETA = 0.2


class Numbers:
    """What a model might have said about nine pairs."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.lengths = random.integers(1, 9, (9, 2))
        self.reference, self.logps = random.normal(-20, 5, (2, 9, 2)).astype(np.float32)
        self.reference[4] = self.logps[4]  # equal: neither is preferred
        # Of all tokens, without `ld_alpha`, which may rank them otherwise: no metric is made of them.
        self.full_logps = 1.5 * self.logps[:, ::-1]
        self.losses = random.normal(size=9).astype(np.float32)
        self.entropy, self.mean_logit = random.normal(size=(2, 9, 2)).astype(np.float32)
        self.correct = (self.lengths * random.uniform(size=(9, 2))).astype(int).astype(np.float32)

    def sums(self, start: int, stop: int, filler: int = 0):
        """The sums over a batch of some of the pairs, with filler pairs whose numbers are not zero."""

        def part(values, fill):
            padded = np.full((stop - start + filler, *values.shape[1:]), fill, values.dtype)
            padded[: stop - start] = values[start:stop]
            return jnp.asarray(padded)

        logps, full, entropy, mean_logit, correct = (
            part(x, 0) for x in (self.logps, self.full_logps, self.entropy, self.mean_logit, self.correct)
        )
        seen = CompletionLogprobs(logps, full, entropy, mean_logit, correct, jnp.zeros_like(logps))
        return pair_sums(seen, part(self.reference, 3), part(self.lengths, 0), part(self.losses, np.nan), beta=BETA)


def test_metrics_of_uneven_batches_are_means_over_all_pairs_and_tokens():
    numbers, total = Numbers(), {}
    for start, stop, filler in ((0, 4, 0), (4, 8, 2), (8, 9, 3)):
        total = add(total, numbers.sums(start, stop, filler))
    rewards = BETA * (numbers.logps - numbers.reference)
    chosen, rejected = numbers.lengths.sum(axis=0)
    expected = {
        "loss": numbers.losses.mean(),
        "rewards/chosen": rewards[:, 0].mean(),
        "rewards/rejected": rewards[:, 1].mean(),
        "rewards/accuracies": sum(c > r for c, r in rewards) / 9,
        "rewards/margins": (rewards[:, 0] - rewards[:, 1]).mean(),
        "logps/chosen": numbers.logps[:, 0].mean(),
        "logps/rejected": numbers.logps[:, 1].mean(),
        "logps/accuracies": sum(c > r for c, r in numbers.logps) / 9,
        "entropy": numbers.entropy.sum() / (chosen + rejected),
        "logits/chosen": numbers.mean_logit[:, 0].sum() / chosen,
        "logits/rejected": numbers.mean_logit[:, 1].sum() / rejected,
        "mean_token_accuracy": numbers.correct[:, 0].sum() / chosen,
    }
    assert means(total, logit_metrics=True) == pytest.approx(expected, rel=1e-5)
    assert total["pairs"] == 9
    assert set(expected) - set(means(total, logit_metrics=False)) == set(LOGIT_METRICS)


def test_equal_rewards_count_as_wrong():
    assert float(Numbers().sums(4, 5)["rewards/accuracies"]) == 0


def test_nothing_measured_gives_zeros_not_an_error():
    empty = add({}, Numbers().sums(0, 0, filler=2))
    assert set(means(empty, logit_metrics=True).values()) == {0.0}


# Two pairs: 3 prompt + 2 chosen + 1 rejected tokens, and 2 + 1 + 1.
PAIRS = [Pair([1, 2, 3], [4, 5], [6], index=0), Pair([1, 2], [3], [4], index=1)]


def test_a_prompt_counts_once_for_each_side():
    for batch in (pack(PAIRS), pad(PAIRS), pad(PAIRS, pad_pairs_to=5)):
        assert sequence_tokens(batch) == (3 + 2) + (3 + 1) + (2 + 1) + (2 + 1)
    own_context = Pair([], [1, 2, 3], [4, 5], chosen_context=2, rejected_context=1)
    assert sequence_tokens(pack([own_context])) == 3 + 2


def a_step(start: int, stop: int, *, skipped: bool = False) -> Sums:
    """What a step returns on some of the pairs; nothing of it is a number where it was skipped."""
    sums = Numbers().sums(start, stop) | {"grad_norm": jnp.float32(start + 1)}
    broken = {name: value * jnp.nan for name, value in sums.items()}
    return (broken if skipped else sums) | {"skipped": jnp.float32(skipped)}


def test_a_window_is_the_steps_since_the_last_one_and_its_clock_can_be_stopped(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    numbers, window = Numbers(), MetricsWindow()
    batch = pad(PAIRS, length=8)  # 10 tokens in 16 places
    for start, stop in ((0, 6), (6, 9)):
        window.add(batch, a_step(start, stop), flops=1000.0)
        now[0] += 1.5
    window.pause()
    now[0] += 60.0  # an evaluation, and a checkpoint
    stored = json.loads(json.dumps(window.plain()))
    now[0] += 1000.0
    for each in (window, MetricsWindow(stored)):
        each.resume()
        now[0] += 1.0
        found = each.metrics(logit_metrics=False, peak_flops=5000.0)
        assert found["loss"] == pytest.approx(numbers.losses.mean(), rel=1e-5)
        expected = {
            "grad_norm": (1 + 7) / 2,
            "skipped_steps": 0.0,
            "step_time": 4.0 / 2,
            "pairs_per_second": 2 * 2 / 4.0,
            "tokens_per_second": 2 * 15 / 4.0,
            "flops_per_second": 2000 / 4.0,
            "mfu": 500 / 5000,
            "padding_fraction": 6 / 16,
            "prefix_shared_fraction": 5 / 15,
        }
        assert {name: found[name] for name in expected} == pytest.approx(expected)
        assert "mfu" not in each.metrics(logit_metrics=False)


def test_the_means_of_a_window_are_over_the_steps_that_were_not_skipped():
    window, good = MetricsWindow(), MetricsWindow()
    for start, skipped in ((0, False), (2, True), (4, False)):
        window.add(pad(PAIRS), a_step(start, start + 2, skipped=skipped), flops=1.0)
        if not skipped:
            good.add(pad(PAIRS), a_step(start, start + 2), flops=1.0)
    found, expected = (each.metrics(logit_metrics=True) for each in (window, good))
    assert found["skipped_steps"] == 1.0
    for name in (*metric_names(logit_metrics=True, auxiliary=False), "grad_norm"):
        assert found[name] == expected[name], name


def test_a_window_of_skipped_steps_measured_nothing():
    window = MetricsWindow()
    window.add(pad(PAIRS), a_step(0, 2, skipped=True), flops=1.0)
    found = window.metrics(logit_metrics=False)
    assert math.isnan(found["loss"])
    assert math.isnan(found["grad_norm"])
    assert found["skipped_steps"] == 1.0


def test_a_window_that_was_stored_goes_on_to_the_same_bits():
    straight, stored = MetricsWindow(), MetricsWindow()
    for start in range(0, 8, 2):
        for window in (straight, stored):
            window.add(pad(PAIRS), a_step(start, start + 2), flops=1.0)
        stored = MetricsWindow(json.loads(json.dumps(stored.plain())))
    found, expected = (each.metrics(logit_metrics=True) for each in (stored, straight))
    assert {name: found[name] for name in metric_names(logit_metrics=True, auxiliary=False)} == {
        name: expected[name] for name in metric_names(logit_metrics=True, auxiliary=False)
    }
