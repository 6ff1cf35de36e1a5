"""What a run will need of memory: arithmetic done before anything is compiled."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from easydel.data.pack import Shape
from easydel.errors import warn
from easydel.memory import available_bytes, in_one_line, require
from easydel.models.causal_lm import CausalLM
from easydel.ops.dense import COPIES, room_on, step_of
from easydel.sharding import length_shards, parts_of, row_shards
from easydel.trainers.config import DPOConfig
from easydel.trainers.head_plan import HeadPlan
from easydel.trainers.optimizer import optimizer_of
from easydel.trainers.trainable import ALL_TRAINED, Partition


def check_memory(
    config: DPOConfig,
    model: CausalLM,
    shapes: Sequence[Shape],
    *,
    head: HeadPlan,
    reference: CausalLM | None = None,
    partition: Partition = ALL_TRAINED,
    own: optax.GradientTransformation | None = None,
) -> dict[str, int]:
    """Returns the bytes that training needs by purpose, at its largest compiled shape.

    What is counted is what must be there whatever the compiler does: weights, moments, gradients, a chunk of logits
    and the layers' inputs that the backward pass starts from. A reference counts where it is a copy made for training
    and held all along: one that was given, or that shares the policy's first weights, is in memory already, as are
    frozen weights.

    Args:
        reference: the model given as one; None takes the policy.
        partition: which of its weights are trained.
        own: an optimizer of the user's.

    With `check_memory = False` it warns instead.

    Raises:
        ConfigError: it is more than there is.
    """
    trained = jax.eval_shape(lambda: partition.trained_part(model.params))
    leaves = jax.tree.leaves(trained)
    weights, given = sum(x.size for x in leaves), leaves[0].dtype
    moments = jax.eval_shape(
        optimizer_of(config, optax.constant_schedule(config.learning_rate), model, partition, own).init, trained
    )
    width = jnp.finfo(config.param_dtype or given).bits // 8
    computed = jnp.finfo(model.decoder.dtype).bits // 8
    tokens = max((shape.rows * shape.length for shape in shapes), default=0)
    at_the_head = min(head.alive * row_shards(model.decoder.mesh), 3 * tokens)  # every shard has a chunk of its own
    copies = model.decoder.mesh.shape["dp"]  # the other axes split the weights, this one repeats them
    needs = {
        "weights": copies * weights * width,
        "optimizer": copies * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(moments)),
        # Those of a part, and their sum in float32, see `step_functions.loss_and_gradient`.
        "gradients": copies * weights * (width + (4 if config.gradient_accumulation_steps > 1 else 0)),
        "activations": tokens * model.config.hidden_size * model.config.num_hidden_layers * computed,
        "logits": at_the_head * model.config.vocab_size * 4,
    }
    if model.decoder.has_dense_mask:
        needs["attention scores"] = max((_scores(model, shape) for shape in shapes), default=0)
    rounded = reference is None and config.param_dtype not in (None, given.name)  # see `reference.make_reference`
    held = config.needs_reference and not config.precompute_ref_log_probs
    if config.sync_ref_model or (rounded and held):
        needs["reference"] = copies * weights * width
    available = available_bytes(list(model.decoder.mesh.devices.flat))
    if not config.check_memory:
        if available is not None and sum(needs.values()) > available:
            said = in_one_line(needs, available)
            warn(f"training may not fit: it needs {said}, and goes on as check_memory = False.")
        return needs
    require(
        needs,
        available,
        hint="Raise gradient_accumulation_steps, lower max_length or total_batch_size, take mu_dtype and nu_dtype "
        "'bfloat16' or optimizer 'adafactor' or 'lion', or spread the model over more devices (sharding_axis_dims). "
        "check_memory = False goes on all the same.",
    )
    return needs


def _scores(model: CausalLM, shape: Shape) -> int:
    """Returns the bytes of what dense attention has alive at once on all devices while it computes a gradient."""
    mesh = model.decoder.mesh
    rows, queries = shape.rows // row_shards(mesh), shape.length // length_shards(mesh)
    heads = -(-model.config.num_attention_heads // parts_of("heads", mesh))
    step = step_of(rows, queries, shape.length, heads, room_on(mesh.devices.flat[0].platform))
    return COPIES * mesh.size * step.scores(heads, shape.length)
