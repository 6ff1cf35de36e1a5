"""What is settled before the first step: models that fit each other, memory that is there, weights in their place."""

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from easydel import processes
from easydel.data.endings import check_ending
from easydel.data.loader import Loader
from easydel.data.pack import Batch
from easydel.data.pair import Pair
from easydel.data.stream import StreamLoader
from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.processes import on_host
from easydel.sharding import RULES
from easydel.trainers.config import DPOConfig
from easydel.trainers.loss_settings import WITH_MARGIN

# The fields of a batch that have one value per pair and not per row or slot.
PER_PAIR = ("lengths", "index", "weight", "margin")
# Those that have one value per token of a row.
PER_TOKEN = ("tokens", "segment", "branch", "position")


def check_loaded(model: object, reference_model: object) -> None:
    """Raises ConfigError for a model that is none of ours: a name, as TRL takes it, or a model of torch."""
    for given, value in (("model", model), ("reference_model", reference_model)):
        if not isinstance(value, CausalLM) and not (value is None and given == "reference_model"):
            raise ConfigError(
                f"{given} is {value!r:.80} ({type(value).__name__}): give what "
                "AutoEasyDeLModelForCausalLM.from_pretrained returns for a folder or a name on the hub."
            )


def check_models(config: DPOConfig, model: CausalLM, reference: CausalLM | None) -> None:
    """Raises ConfigError where policy, reference and settings contradict each other."""
    if reference is None:
        return
    if not config.needs_reference:
        why = "reference_free = True" if config.reference_free else f"loss_type {config.loss_type!r}"
        raise ConfigError(f"{why} trains without a reference, but a reference_model was given: drop one.")
    if reference.config.vocab_size != model.config.vocab_size:
        raise ConfigError(
            f"the reference model has {reference.config.vocab_size} token ids and the policy "
            f"{model.config.vocab_size}: their log-probabilities cannot be compared. Take models of one family."
        )
    if reference.decoder.mesh != model.decoder.mesh:
        raise ConfigError(
            f"the reference model lies on a mesh of {_sizes(reference)} devices and the policy on one of "
            f"{_sizes(model)} (dp, fsdp, ep, tp, sp): load both with the same sharding_axis_dims."
        )
    if config.sync_ref_model and weight_shapes(reference) != weight_shapes(model):
        raise ConfigError(
            "sync_ref_model = True mixes the weights of policy and reference, but their shapes differ: "
            "take a reference of the same architecture, or leave sync_ref_model off."
        )


def _sizes(model: CausalLM) -> str:
    return " x ".join(str(size) for size in model.decoder.mesh.devices.shape)


def weight_shapes(model: CausalLM) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight by its place in the tree."""
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(model.params)}


def check_tokenizer(tokenizer: Any, model: ModelConfig) -> None:
    """Raises ConfigError for a tokenizer that cannot end an answer, or that has ids the model has no embedding for."""
    if tokenizer is None:
        return
    check_ending(tokenizer)
    if len(tokenizer) > model.vocab_size:
        raise ConfigError(
            f"the tokenizer has {len(tokenizer)} ids, but the model's embedding has {model.vocab_size} rows. "
            "Take the tokenizer that belongs to the model."
        )


def check_evaluation(config: DPOConfig, *, has_rows: bool, has_tokenizer: bool) -> None:
    """Raises ConfigError for settings of evaluation that nothing could come of."""
    if config.test_split_size is not None and has_rows:
        raise ConfigError(
            f"test_split_size = {config.test_split_size:g} holds rows out of the training rows to evaluate on, and "
            "eval_dataset gives others: drop one of the two."
        )
    for name in ("evaluation_steps", "best_metric"):
        value = getattr(config, name)
        if value and not (has_rows or config.test_split_size is not None):
            raise ConfigError(
                f"{name} = {value!r} needs held-out rows: give eval_dataset= or test_split_size, or leave {name} out."
            )
    if config.generation_prompts and not has_tokenizer:
        raise ConfigError(
            f"generation_prompts = {config.generation_prompts} needs a tokenizer to show the answers as text: give "
            "processing_class=, or leave generation_prompts out."
        )


def check_run(config: DPOConfig, model: CausalLM, loader: Loader | StreamLoader) -> None:
    """Warns about what will work, but hardly as it was meant: positions or columns not seen."""
    known = model.config.max_position_embeddings
    longest = max(len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) for pair in loader.pairs)
    if longest > known:
        warnings.warn(
            f"the longest row has {longest} tokens, but the model was made for {known} (max_position_embeddings): set "
            f"max_length = {known} unless you know that it reads further.",
            stacklevel=3,
        )
    asking = next((pair for pair in loader.pairs if pair.margin), None)
    if asking is not None and not config.uses_margin:
        warnings.warn(
            f"the rows have a 'margin' (row {asking.index}: {asking.margin:g}), which loss_type {config.loss_type!r} "
            f"does not look at: it is left out. These do: {', '.join(WITH_MARGIN)}.",
            stacklevel=3,
        )


def cast(params: PyTree, dtype: str | None) -> PyTree:
    """Returns the weights in `dtype`, those that have it already as they are; None changes nothing."""
    return params if dtype is None else jax.tree.map(lambda x: x.astype(dtype), params)


def trained_copy(params: PyTree, dtype: str | None) -> PyTree:
    """Returns the weights to train, in `dtype` (None keeps theirs): always a copy, as the step consumes its state."""
    return jax.tree.map(lambda x: jnp.array(x, dtype=dtype or x.dtype, copy=True), params)


def fingerprint(pairs: Sequence[Pair]) -> str:
    """Returns 16 hex digits that tell one list of tokenised pairs from another."""
    digest = hashlib.sha256()
    for pair in pairs:
        for ids in (
            pair.prompt,
            pair.chosen,
            pair.rejected,
            [pair.chosen_context, pair.rejected_context, pair.index],
            *pair.masks,
        ):
            digest.update(np.asarray([len(ids), *ids], np.int64).tobytes())
        digest.update(np.asarray([pair.weight, pair.margin], np.float64).tobytes())
    return digest.hexdigest()[:16]


def weights_fingerprint(params: PyTree) -> str:
    """Returns 16 hex digits that tell one set of weights from another, whatever devices they lie on.

    It reads two vectors of each array, its first and one from the middle, bit for bit: training changes all of them.
    No weights at all give "".
    """
    digest = hashlib.sha256()
    leaves = jax.tree.leaves(params)
    if not leaves:
        return ""
    for leaf in leaves:
        leading = leaf.shape[:-1]
        for place in ((0,) * len(leading), tuple(size // 2 for size in leading)):
            digest.update(on_host(leaf[place]).tobytes())
    return digest.hexdigest()[:16]


def on_mesh(batch: Batch, mesh: Mesh) -> Batch:
    """Returns a stacked batch on the devices: rows and slots split over the mesh, what is per pair on each."""
    return jax.tree.unflatten(jax.tree.structure(batch), placed(list(batch), _batch_shardings(mesh)))


def placed(arrays: Sequence[np.ndarray], shardings: Sequence[NamedSharding]) -> list[jax.Array]:
    """Returns arrays on the devices; each process has them whole, and puts its part of them on its own devices."""
    if processes.count() == 1:
        return jax.device_put(list(arrays), list(shardings))
    return [
        jax.make_array_from_callback(x.shape, place, x.__getitem__) for x, place in zip(arrays, shardings, strict=True)
    ]


def form_on_mesh(batch: Batch, mesh: Mesh) -> Batch:
    """Returns shape, dtype and place of each array of `on_mesh(batch, mesh)`."""
    forms = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in batch]
    with_place = [form.update(sharding=place) for form, place in zip(forms, _batch_shardings(mesh), strict=True)]
    return jax.tree.unflatten(jax.tree.structure(batch), with_place)


def whole_on_mesh(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what is on every device."""
    return NamedSharding(mesh, PartitionSpec())


def _batch_shardings(mesh: Mesh) -> list[NamedSharding]:
    by_row = NamedSharding(mesh, PartitionSpec(None, RULES["rows"]))
    by_token = NamedSharding(mesh, PartitionSpec(None, RULES["rows"], RULES["length"]))
    places: dict[str, NamedSharding] = {
        **dict.fromkeys(PER_PAIR, whole_on_mesh(mesh)),
        **dict.fromkeys(PER_TOKEN, by_token),
    }
    return [places.get(name, by_row) for name in Batch._fields]
