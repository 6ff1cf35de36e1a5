"""Known answers made with TRL 1.16.0: loss, gradient norm and metrics, through packing, log-probs and gradient."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from easydel.data.pack import Batch, pack, pad, stack
from easydel.data.pair import Pair
from easydel.losses import LOSSES, looks_across_pairs, select_loss
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.causal_lm import CausalLM
from easydel.trainers.metrics import add, means, pair_sums, unshared_tokens
from easydel.trainers.step import Objective, loss_and_gradient, make_logprobs, make_reference_step

CASES = [
    *(
        "sigmoid",
        "sigmoid/beta0.5",
        "hinge",
        "ipo",
        "ipo/beta0.5",
        "exo_pair",
        "nca_pair",
        "nca_pair/beta0.5",
        "robust",
    ),
    *("sigmoid_norm", "sigmoid_norm/beta5", "bco_pair", "sppo_hard", "apo_zero", "apo_down", "apo_down/beta0.5"),
    "discopop",
    *("aot", "aot/beta0.5", "aot_unpaired", "aot_unpaired/beta0.5", "robust/ls0.2", "aot/ls0.2", "aot_unpaired/ls0.2"),
]


class Golden(NamedTuple):
    """The known answers, the two checkpoints they were made with, and the four pairs."""

    answers: dict[str, Any]
    policy: CausalLM
    reference: CausalLM
    pairs: list[Pair]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    answers = json.loads((shared / "golden" / "golden.json").read_text())
    policy, reference = (
        AutoEasyDeLModelForCausalLM.from_pretrained(
            shared / "golden" / name, dtype=jnp.float32, sharding_axis_dims=(1, 1, 1, 1, 1)
        )
        for name in ("policy", "reference")
    )
    pairs = [
        Pair(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"], index=index)
        for index, row in enumerate(answers["examples"])
    ]
    return Golden(answers, policy, reference, pairs)


def compute(golden: Golden, case: dict[str, Any], batch: Batch) -> dict[str, float]:
    """Returns loss, grad_norm and metrics of one case through the training path."""
    options = {name: case["config"][name] for name in ("beta", "label_smoothing", "discopop_tau")}
    loss_type = case["config"]["loss_types"][0]
    objective = Objective(select_loss(loss_type, **options), looks_across_pairs(loss_type), options["beta"])
    logprobs = make_logprobs(golden.policy.decoder, chunk=8, logit_metrics=True)
    reference = make_reference_step(golden.reference.decoder, chunk=8)(golden.reference.params, batch)
    gradient, out, losses = jax.jit(loss_and_gradient, static_argnums=(0, 1))(
        logprobs, objective, golden.policy.params, batch, reference
    )
    flat_out, flat_reference, lengths = jax.tree.map(
        lambda x: jnp.asarray(x).reshape(-1, *x.shape[2:]), (out, reference, batch.lengths)
    )
    sums = pair_sums(flat_out, flat_reference, lengths, losses, beta=options["beta"])
    found = means(add({}, sums), logit_metrics=True)
    return found | {"grad_norm": float(optax.tree.norm(gradient)), "num_tokens": unshared_tokens(batch)}


def float32_noise(metric: str, beta: float) -> float:
    """What float32 leaves of numbers that cancel, in the known answers too; loss and gradient norm have none of it."""
    if metric.startswith("rewards/"):
        return 8e-6 * beta  # differences of sums of about 30, each known to 2e-6
    return 2e-7 if metric.startswith("logits/") else 0.0


@pytest.mark.parametrize("name", CASES)
def test_every_loss_gives_the_known_answer_through_packing_logprobs_and_gradient(golden: Golden, name: str) -> None:
    case = next(case for case in golden.answers["cases"] if case["name"] == name)
    found = compute(golden, case, stack([pack(golden.pairs)]))
    expected = {"loss": case["loss"], "grad_norm": case["grad_norm"], **case["metrics"]}
    for metric, value in expected.items():
        assert found[metric] == pytest.approx(value, rel=1e-5, abs=float32_noise(metric, case["config"]["beta"])), (
            metric
        )


def test_the_cases_are_all_those_of_the_losses_there_are(golden: Golden) -> None:
    plain = {"ld_alpha": None, "f_divergence_type": "reverse_kl", "use_weighting": False}
    ours = [
        case["name"]
        for case in golden.answers["cases"]
        if len(case["config"]["loss_types"]) == 1
        and case["config"]["loss_types"][0] in LOSSES
        and all(case["config"][key] == value for key, value in plain.items())
    ]
    assert sorted(ours) == sorted(CASES)


def test_the_log_probability_of_every_sequence_is_the_known_one(golden: Golden) -> None:
    logprobs = make_logprobs(golden.policy.decoder, chunk=8, logit_metrics=False)
    found = jax.jit(logprobs)(golden.policy.params, pack(golden.pairs), None).logps
    expected = np.array(golden.answers["policy_logps"]).reshape(2, -1).T  # all chosen first, then all rejected
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "ipo", "aot", "aot_unpaired/ls0.2"])
@pytest.mark.parametrize("layout", ["padded", "unshared", "micro 2", "micro 4"])
def test_the_layout_of_a_batch_does_not_change_loss_or_gradient(golden: Golden, name: str, layout: str) -> None:
    case = next(case for case in golden.answers["cases"] if case["name"] == name)
    batches = {
        "padded": [pad(golden.pairs)],
        "unshared": [pad(golden.pairs, share_prompt=False)],
        "micro 2": [pad(golden.pairs[:2], length=32), pad(golden.pairs[2:], length=32)],
        "micro 4": [pad([pair], length=32) for pair in golden.pairs],
    }[layout]
    slots = max(batch.source.shape[1] for batch in batches)
    batches = [with_slots(batch, slots) for batch in batches]
    found = compute(golden, case, stack(batches))
    assert found["loss"] == pytest.approx(case["loss"], rel=1e-5)
    assert found["grad_norm"] == pytest.approx(case["grad_norm"], rel=1e-5)


def with_slots(batch: Batch, slots: int) -> Batch:
    """Returns the batch with filler slots up to `slots`, so that micro-batches stack."""
    more = ((0, 0), (0, slots - batch.source.shape[1]))
    filler = 2 * batch.lengths.shape[0]
    return batch._replace(
        source=np.pad(batch.source, more),
        target=np.pad(batch.target, more),
        sequence=np.pad(batch.sequence, more, constant_values=filler),
    )
