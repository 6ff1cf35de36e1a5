"""What decides the numbers of a run besides its settings, by the names of `record.same_run.FACTS`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.decoder import Decoder
from easydel.models.lora import adds_nothing, without_adapters
from easydel.models.quantize import quantization_of
from easydel.trainers.config import DPOConfig
from easydel.trainers.datasets import EvalSet
from easydel.trainers.fingerprints import pairs_fingerprint, weights_fingerprints
from easydel.trainers.function_fingerprint import function_parts
from easydel.trainers.reference_precompute import NUMBERS_VERSION
from easydel.trainers.trainable import Partition
from easydel.weights.table import nest, unnest

FROZEN = "frozen weights"

_JAX = ("jax_enable_x64", "jax_default_prng_impl", "jax_threefry_partitionable")
# What of a configuration says how many tokens there are, how weights begin or lie in files, and not what is computed.
_NOT_COMPUTED = (
    *(
        "model_type",
        "architecture",
        "layers",
        "max_position_embeddings",
        "fused_projections",
        "fused_mlp",
        "norm_names",
        "initializer_range",
    ),
    *("bos_token_id", "eos_token_id", "pad_token_id", "source"),
)


def program_facts(config: DPOConfig, model: CausalLM, reference_model: CausalLM | None) -> dict[str, str]:
    """Returns what is computed, whatever the weights and rows: nothing is compiled or read for it.

    Args:
        model: as it was given, before it gets the adapters that the settings ask for.
    """
    facts = {name: str(getattr(jax.config, name)) for name in _JAX} | {"numbers version": str(NUMBERS_VERSION)}
    functions = [(at, loss) for at, (loss, _) in enumerate(config.losses, 1) if not isinstance(loss, str)]
    for at, loss in functions:
        parts = function_parts(loss)._asdict()
        facts |= {f"loss {part}{f' of loss {at}' if config.losses[1:] else ''}": said for part, said in parts.items()}
    facts |= _model_facts(model)
    if config.needs_reference:
        named = _model_facts(model if reference_model is None else reference_model)
        facts |= {f"reference_model {name}": fact for name, fact in named.items() if "adapters" not in name}
    return facts


def weight_facts(
    config: DPOConfig, model: CausalLM, reference_model: CausalLM | None, partition: Partition, frozen: PyTree
) -> dict[str, str]:
    """Returns fingerprints of the weights that stay as they are given; those that are trained are in checkpoints.

    Args:
        model: with the adapters that the settings ask for.
        frozen: those of its weights that are not trained.
    """
    reference, adapters = {}, {"adapters": "none"}
    if config.needs_reference:
        reference, adapters = _reference(config, model, reference_model, partition)
    found = weights_fingerprints(_given(frozen), _given(reference))
    facts = {FROZEN: found[0] or "none", "reference weights": found[1] or "none"}
    return facts | {f"reference_model {name}": fact for name, fact in adapters.items()}


def frozen_fingerprint(frozen: PyTree) -> str:
    """Returns the fact about weights that are not trained."""
    return weights_fingerprints(_given(frozen))[0] or "none"


def _given(weights: PyTree) -> PyTree:
    """Returns weights without what follows from the others: the norms of DoRA are rounded as the devices add."""
    return nest({path: x for path, x in unnest(weights).items() if path[-1] not in ("lora_norm", "lora_scale")})


def _reference(
    config: DPOConfig, model: CausalLM, reference_model: CausalLM | None, partition: Partition
) -> tuple[PyTree, dict[str, str]]:
    """Returns the weights of a reference that never move, and its adapters where they change what it computes."""
    source = model if reference_model is None else reference_model
    if config.sync_ref_model:
        return partition.frozen_part(source.params), _adapter_facts(source)
    if source.lora is not None and adds_nothing(source.params):
        return without_adapters(source.params), _adapter_facts(source, count=False)
    return source.params, _adapter_facts(source)


def eval_facts(config: DPOConfig, eval_sets: Mapping[str, EvalSet]) -> dict[str, str]:
    """Returns fingerprints of the pairs that are evaluated on."""
    limit, facts = config.max_evaluation_steps, {}
    for name, each in eval_sets.items():
        size = None if limit is None else limit * each.loader.layout.total_batch_size
        facts[f"eval pairs of {name}"] = pairs_fingerprint(each.loader.pairs[:size])
    return facts


def can_have(decoder: Decoder, name: str, value: str) -> bool:
    """Returns whether a fact could be `value` here: not a mechanism of attention that these devices do not have."""
    if not name.endswith("attn_mechanism"):
        return True
    try:
        return bool(replace(decoder, attn_mechanism=value))
    except ConfigError:
        return False


def precision_name(given: str | None) -> str:
    """Returns the precision of matrix products, under one of the names that jax has for it; None is that of jax."""
    named = given or jax.default_matmul_precision.value or "default"
    try:
        return jax.lax.Precision(named).name.lower()
    except ValueError:
        return str(named)


def _model_facts(model: CausalLM) -> dict[str, str]:
    dtypes = sorted({leaf.dtype.name for leaf in jax.tree.leaves(model.params)})
    facts = {
        "dtype": np.dtype(model.decoder.dtype).name,
        "precision": precision_name(model.decoder.precision),
        "attn_mechanism": model.decoder.attn_mechanism,
        "param_dtype": " and ".join(dtypes),
        "quantization": quantization_of(model.params) or "none",
    }
    return facts | _adapter_facts(model) | {f"model.{name}": value for name, value in _computed(model.config).items()}


def _adapter_facts(model: CausalLM, *, count: bool = True) -> dict[str, str]:
    """Returns the adapters of a model, "none" where it has none or they do not count."""
    if model.lora is None or not count:
        return {"adapters": "none"}
    made = {f"adapters.{name}": repr(value) for name, value in asdict(model.lora).items()}
    return {"adapters": f"of rank {model.lora.rank}"} | made


def _computed(config: ModelConfig) -> dict[str, str]:
    """Returns what a configuration says of the computation; of the layers, how many in a row have the same."""
    named = {name: repr(getattr(config, name)) for name in config.__dataclass_fields__ if name not in _NOT_COMPUTED}
    by_layer = {name: [getattr(layer, name) for layer in config.layers] for name in config.layers[0]._fields}
    return named | {f"layers.{name}": _runs(values) for name, values in by_layer.items()}


def _runs(values: Sequence[Any]) -> str:
    runs = [(value, len(list(same))) for value, same in groupby(values)]
    return repr(values[0]) if len(runs) == 1 else ", ".join(f"{count} of {value!r}" for value, count in runs)
