"""One DPO update, written out: from rows to new weights, with a line for each value on the way.

    python scripts/one_update.py

`DPOTrainer` does the same, bit for bit, and decides in addition what to check, show, evaluate and keep.
`scripts/newcomer_way.py` lists the files that these calls go through.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import easydel as ed
from easydel import quickstart
from easydel.data.format import Dropped
from easydel.data.pack import Batch, Shape, pack, stack
from easydel.data.pair import Limits, Pair, truncate
from easydel.data.render import Preference, to_preference
from easydel.data.source import load_rows
from easydel.data.tokenize import tokenize
from easydel.models.causal_lm import CausalLM
from easydel.scripts.loading import load_tokenizer
from easydel.trainers.objective import make_objective
from easydel.trainers.optimizer import optimizer_of
from easydel.trainers.step_functions import Forward, ReferenceLogps, make_reference_step, make_train_step
from easydel.trainers.train_state import TrainState, initial_state, trained_copy

CHUNK = 256  # completion tokens that meet the LM head at a time
SETTINGS: Mapping[str, Any] = {"total_batch_size": 16, "learning_rate": 1e-3, "scheduler": "none"}


class Way(NamedTuple):
    """Every value on the way from rows to an update."""

    texts: list[Preference]  # prompt, prompt + chosen, prompt + rejected
    pairs: list[Pair]  # token ids, cut to length
    batch: Batch  # packed, with a leading micro axis of 1
    reference: ReferenceLogps  # [micro pairs 2], of the initial policy
    state: TrainState  # after the update
    loss: float


def one_update(
    rows: Sequence[Mapping[str, Any]],
    model: CausalLM,
    tokenizer: Any,
    config: ed.DPOConfig,
    *,
    shape: Shape | None = None,
) -> Way:
    """Returns the values on the way; `shape` is that of the batch, None takes the smallest that holds the pairs."""
    read = [to_preference(row, number, tokenizer) for number, row in enumerate(rows)]
    texts = [text for text in read if not isinstance(text, Dropped)]
    joined = tokenize(texts, tokenizer)
    limits = Limits(config.max_length, config.max_prompt_length, config.max_completion_length, config.truncation_mode)
    cut = [truncate(Pair(*ids[:3], index=number), limits).pair for number, ids in enumerate(joined)]
    pairs = [pair for pair in cut if pair is not None]
    batch = stack([pack(pairs, shape=shape)])

    reference = make_reference_step(model.decoder, chunk=CHUNK)(model.params, batch)
    forward = Forward(model.decoder, chunk=CHUNK, logit_metrics=True, longest=int(batch.lengths.sum(axis=-1).max()))
    optimizer = optimizer_of(config, optax.constant_schedule(config.learning_rate), model)
    state = initial_state(trained_copy(model.params, config.param_dtype), optimizer, config.seed, model.decoder.mesh)
    step = make_train_step(forward, make_objective(config), optimizer, state, dropout=False)
    state, sums = step(state, batch, reference)
    return Way(texts, pairs, batch, reference, state, float(sums["loss"] / sums["pairs"]))


def main() -> None:
    folder = quickstart.model_folder()
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, sharding_axis_dims=(1, 1, 1, 1, 1))
    rows = load_rows(str(quickstart.train_file()))[:16]
    way = one_update(rows, model, load_tokenizer(str(folder), None), ed.DPOConfig(**SETTINGS))
    print("row       ", rows[0])
    print("text      ", tuple(way.texts[0][:3]))
    print("pair      ", way.pairs[0])
    print("batch     ", {name: x.shape for name, x in way.batch._asdict().items()})
    print("reference ", np.round(way.reference[0, 0], 3), "log p of chosen and rejected of the first pair")
    print("loss      ", round(way.loss, 6), "before the update: ln 2, as policy and reference are the same")
    print("state     ", f"step {way.state.step}, {sum(x.size for x in jax.tree.leaves(way.state.params)):,} parameters")


if __name__ == "__main__":
    main()
