"""What the compiler says a training step takes of memory, for models of any size: no weight is made.

    python -m benchmarks.memory --shape llama-3.1-8b --rows 1 --length 4096 --pairs 4

The real step of the trainer is compiled for forms alone (shape, dtype, place) and asked for its `memory_analysis()`.
The devices are those that jax finds, or ones that need not be there: `--gpu FILE` takes what XLA wants to know of a GPU
(such as h200.txtpb of its xla/backends/gpu/target_config/specs) and needs jax with CUDA; `--tpu v5p:2x2x1` takes the
name of a topology and needs libtpu. On CPU temporaries differ from an accelerator's: layers go chunk by chunk, weights
are copied into another layout, and products of bfloat16 are computed in float32.
"""

import argparse
import datetime
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from benchmarks.machine import commit
from benchmarks.shapes import SHAPES, shape_config
from benchmarks.tables import table
from easydel.data.pack import Batch, Shape, pack, stack
from easydel.data.pair import Pair
from easydel.models.causal_lm import CausalLM
from easydel.models.decoder import CHECKPOINT_POLICIES, Decoder
from easydel.models.export import Origin
from easydel.models.rows import axis_sizes, weight_rows
from easydel.sharding import make_mesh, row_shards, sharding_for
from easydel.trainers.batch_placement import abstract_batch, replicated
from easydel.trainers.config import DPOConfig
from easydel.trainers.head_plan import plan_head
from easydel.trainers.intervals import resolve_intervals
from easydel.trainers.objective import make_objective
from easydel.trainers.optimizer import optimizer_of, schedule_of
from easydel.trainers.step_functions import Forward, make_train_step
from easydel.trainers.train_state import abstract_state
from easydel.trainers.trainable import make_partition
from easydel.weights.table import nest, unnest

CHOICES: dict[str, dict[str, Any]] = {
    "float32": {},
    "first moment bfloat16": {"mu_dtype": "bfloat16"},
    "both moments bfloat16": {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"},
    "lion, moment bfloat16": {"optimizer": "lion", "mu_dtype": "bfloat16"},
}


class Taken(NamedTuple):
    """Bytes on each device: `peak` is all there is at once, outputs lie where the donated arguments did."""

    arguments: int
    outputs: int
    temporary: int
    peak: int


def model_form(shape: str, mesh: Mesh, *, dtype: str, param_dtype: str, gradient_checkpointing: str) -> CausalLM:
    """Returns a model whose weights are forms: nothing is allocated."""
    config = shape_config(shape)
    sizes = axis_sizes(config)
    decoder = Decoder(config, mesh, dtype, gradient_checkpointing=gradient_checkpointing)
    weights = {
        row.path: jax.ShapeDtypeStruct(
            row.shape(sizes), param_dtype, sharding=sharding_for(row.axes, row.shape(sizes), mesh)
        )
        for row in weight_rows(config)
    }
    return CausalLM(decoder, nest(weights), Origin(shape))


def batch_form(shape: Shape, pairs: int, mesh: Mesh) -> Batch:
    """Returns the form of a batch of `pairs` pairs packed into rows of this shape."""
    one = pack([Pair([1], [1], [1])], shape=shape, shards=row_shards(mesh), pad_pairs_to=pairs)
    return abstract_batch(stack([one]), mesh)


def step_memory(model: CausalLM, batch: Batch, settings: DPOConfig) -> Taken:
    """Returns what one update with these settings takes on each device, its reference known beforehand."""
    return taken(compiled_step(model, batch, settings))


def compiled_step(model: CausalLM, batch: Batch, settings: DPOConfig) -> jax.stages.Compiled:
    """Returns the program of one update with these settings, its reference known beforehand."""
    mesh, partition = model.decoder.mesh, make_partition(settings, model)
    optimizer = optimizer_of(settings, schedule_of(settings, resolve_intervals(settings, 1, None)), model, partition)
    trained, frozen = (_placed(part, model) for part in (partition.trained_part, partition.frozen_part))
    state = abstract_state(trained, optimizer, mesh)
    forward = Forward(model.decoder, chunk=plan_head(mesh).chunk, logit_metrics=settings.log_logit_metrics)
    step = make_train_step(forward, make_objective(settings), optimizer, state, dropout=False, partition=partition)
    reference = jax.ShapeDtypeStruct(batch.lengths.shape, np.float32, sharding=replicated(mesh))
    return step.lower(state, batch, reference, frozen).compile()


def _placed(part: Callable[[Any], Any], model: CausalLM) -> Any:
    """Returns the forms of a part of the weights: some layers of a stack lie as all of them do."""
    places = {path: x.sharding for path, x in unnest(model.params).items()}
    forms = unnest(jax.eval_shape(part, model.params))
    return nest({path: form.update(sharding=places[path]) for path, form in forms.items()})


def taken(program: jax.stages.Compiled) -> Taken:
    """Returns what XLA says that a program takes on each device."""
    said = program.memory_analysis()
    assert said is not None, "XLA on this platform does not say what a program takes"
    arguments, outputs = said.argument_size_in_bytes, said.output_size_in_bytes
    temporary = said.temp_size_in_bytes
    return Taken(arguments, outputs, temporary, arguments + outputs - said.alias_size_in_bytes + temporary)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one row for each choice of moments, and returns the exit status."""
    options = parse(sys.argv[1:] if argv is None else argv)
    mesh = make_mesh(options.mesh, devices_of(options.gpu, options.tpu))
    model = model_form(
        options.shape,
        mesh,
        dtype=options.dtype,
        param_dtype=options.param_dtype,
        gradient_checkpointing=options.gradient_checkpointing,
    )
    shape = Shape(options.rows, options.length, options.rows * options.length // row_shards(mesh))
    rows = []
    for name in options.choices:
        began = time.perf_counter()
        settings = DPOConfig(precompute_ref_log_probs=True, **CHOICES[name])
        taken = step_memory(model, batch_form(shape, options.pairs, mesh), settings)
        rows.append([name, *(f"{size / 1e9:.2f}" for size in taken), f"{time.perf_counter() - began:.0f}"])
    weights = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    device = mesh.devices.flat[0]
    print(
        f"{options.shape}, {weights:,} weights in {options.param_dtype}, computed in {options.dtype}, "
        f"gradient_checkpointing {options.gradient_checkpointing!r}; {shape.rows} rows of {shape.length} tokens, "
        f"{options.pairs} pairs; mesh {tuple(mesh.shape.values())} of {device.device_kind} ({device.platform}); "
        f"jax {jax.__version__}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit()}.\n\nGB per device:\n"
    )
    print(table(["moments", "arguments", "outputs", "temporary", "together", "seconds to compile"], rows))
    return 0


def devices_of(gpu: Path | None, tpu: str | None) -> Sequence[Any]:
    """Returns the devices to compile for: those that are here, or ones that are only described."""
    from jax.experimental import topologies

    if gpu is not None:
        words = gpu.read_text(encoding="utf-8")
        return topologies.get_topology_desc(gpu.stem, "cuda", target_config=words, topology="1x1x1").devices
    return jax.devices() if tpu is None else topologies.get_topology_desc(tpu, "tpu").devices


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the options; wrong ones end the program with a message."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.1-8b", help="sizes of the model")
    parser.add_argument("--rows", type=int, default=1, help="rows of a batch")
    parser.add_argument("--length", type=int, default=4096, help="tokens of a row")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of a batch")
    parser.add_argument("--choices", type=lambda text: text.split(","), default=list(CHOICES), help="with commas")
    parser.add_argument("--dtype", default="bfloat16", help="of the computation")
    parser.add_argument("--param_dtype", default="float32", help="of the weights")
    parser.add_argument("--gradient_checkpointing", choices=("", *CHECKPOINT_POLICIES), default="nothing_saveable")
    parser.add_argument("--mesh", type=lambda text: tuple(map(int, text.split(","))), default=(1, 1, 1, 1, 1))
    parser.add_argument("--gpu", type=Path, help="description of a GPU that need not be here")
    parser.add_argument("--tpu", help="topology of TPUs that need not be here, such as v5p:2x2x1")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
