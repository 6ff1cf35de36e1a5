"""Which weights are trained. The others are frozen: a step is given them, and neither changes nor stores them."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from easydel.errors import ConfigError, some
from easydel.models.causal_lm import CausalLM
from easydel.models.lora import TRAINED
from easydel.models.quantize import quantization_of
from easydel.models.rows import weight_rows
from easydel.models.stack import SideBySide
from easydel.trainers.config import DPOConfig
from easydel.weights.table import get, nest, unnest

Path = tuple[str, ...]
Layers = tuple[int, ...]


class Partition(NamedTuple):
    """A partition of the weights of one model.

    Attributes:
        frozen: the path of each array with something frozen in it, and which of its layers are; None is all of it.
    """

    frozen: Mapping[Path, Layers | None]

    def trained_part(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the trained weights, nested as `params` are; of a stack of layers those that are trained."""
        trained = {}
        for path, array in unnest(params).items():
            layers = self.frozen.get(path, ())
            if layers is not None:
                trained[path] = _halves(array, layers)[1] if layers else array
        return nest(trained)

    def frozen_part(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the frozen weights: whole arrays are those of `params` themselves, not copies."""
        arrays = unnest(params)
        return nest(
            {path: arrays[path] if at is None else _halves(arrays[path], at)[0] for path, at in self.frozen.items()}
        )

    def trained_entries(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the entries of `facts`, nested as the weights are, for the arrays of which something is trained."""
        return nest({path: x for path, x in unnest(facts).items() if self.frozen.get(path, ()) is not None})

    def combine(self, trained: Mapping[str, Any], frozen: Mapping[str, Any]) -> dict[str, Any]:
        """Returns all weights, from those that `trained_part` and `frozen_part` gave."""
        beside = unnest(self.beside(trained, frozen))
        return nest({path: _restacked(x) if isinstance(x, SideBySide) else x for path, x in beside.items()})

    def beside(self, trained: Mapping[str, Any], frozen: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the same for a decoder to compute with: nothing is copied, as `SideBySide` holds both parts."""
        whole = unnest(trained) | unnest(frozen)
        for path, layers in self.frozen.items():
            if layers is not None:
                whole[path] = SideBySide(get(frozen, path), get(trained, path), layers)
        return nest(whole)


ALL_TRAINED = Partition({})
# No gradient comes to these: correction biases of routers, which pretraining moves by a rule of its own.
BUFFERS = ("correction",)


def _others(layers: Layers, count: int) -> list[int]:
    return [layer for layer in range(count) if layer not in layers]


def _halves(stack: Any, layers: Layers) -> tuple[Any, Any]:
    """Returns of a stack of layers those that are frozen and those that are trained."""
    if isinstance(stack, SideBySide):
        return stack.frozen, stack.others
    return stack[np.asarray(layers)], stack[np.asarray(_others(layers, len(stack)))]


def _restacked(parts: SideBySide) -> Any:
    """Returns the stack of all layers, in order."""
    order = [*parts.layers, *_others(parts.layers, len(parts))]
    return jnp.concatenate([parts.frozen, parts.others])[np.argsort(order)]


def make_policy(config: DPOConfig, model: CausalLM) -> CausalLM:
    """Returns the model that a run trains: with new adapters where `lora_rank` asks for them.

    Raises:
        ConfigError: settings of adapters that do not fit the model, or quantized weights without adapters.
    """
    if config.lora_rank is not None:
        return model.apply_lora(
            config.lora_rank,
            alpha=config.lora_alpha,
            target_modules=config.lora_target_modules,
            dropout=config.lora_dropout,
            use_dora=config.use_dora,
            use_rslora=config.use_rslora,
            seed=config.seed,
        )
    quantized = quantization_of(model.params)
    if model.lora is None and quantized is not None:
        raise ConfigError(
            f"the weights of the model are quantized to {quantized} and cannot be trained themselves: train adapters "
            "beside them (lora_rank = 16, for instance), or load the model without quantization."
        )
    if model.lora is None and config.merge_lora_before_save:
        raise ConfigError(
            "merge_lora_before_save = True has nothing to merge, as the model has no adapters: set lora_rank, load "
            "adapters, or leave it out."
        )
    return model


def make_partition(config: DPOConfig, model: CausalLM) -> Partition:
    """Returns what a run trains: all weights, or of a model with adapters these; not what `frozen_parameters` finds.

    Raises:
        ConfigError: it finds nothing, or leaves nothing to train.
    """
    buffers = {row.path: None for row in weight_rows(model.config) if row.path[-1] in BUFFERS}
    base = buffers if model.lora is None else {path: None for path in unnest(model.params) if path[-1] not in TRAINED}
    if config.frozen_parameters is None:
        return Partition(base)
    # The names that each array has in the checkpoint: one for each layer of a stack, or one.
    names = {row.path: row.names(model.sizes) for row in model.rows if row.path not in base}
    return Partition(base | _found(config.frozen_parameters, names))


def _found(pattern: str, names: Mapping[Path, list[str]]) -> dict[Path, Layers | None]:
    """Returns the paths, and of a stack of layers those layers, in whose names the pattern is found.

    One that says what is not frozen, by `(?!`, is found in all names of the other kind, which say it in other words: it
    is searched for in those of the checkpoint, or where it is found in all of these, in ours.
    """
    expression = re.compile(pattern)
    ours: dict[Path, Layers | None] = {path: None for path in names if expression.search(".".join(path))}
    theirs: dict[Path, Layers | None] = {}
    for path, of_layers in names.items():
        layers = tuple(layer for layer, name in enumerate(of_layers) if expression.search(name))
        if layers:
            theirs[path] = None if len(layers) == len(of_layers) else layers
    frozen = theirs | ours
    if "(?!" in pattern or "(?<!" in pattern:
        frozen = theirs if theirs and not (ours and _is_all(theirs, names)) else ours
    option = f"frozen_parameters = {pattern!r}"
    if not frozen:
        theirs_shown = some(sorted({of_layers[0] for of_layers in names.values()}), 40)
        ours_shown = some(sorted(".".join(path) for path in names), 40)
        raise ConfigError(
            f"{option} matches the name of no weight that is trained. It is a regular expression, searched for in "
            f"names as in the checkpoint ({theirs_shown}) and in ours ({ours_shown})."
        )
    if _is_all(frozen, names):
        raise ConfigError(f"{option} matches the names of all weights that are trained, which leaves nothing to train.")
    return frozen


def _is_all(frozen: Mapping[Path, Layers | None], names: Mapping[Path, list[str]]) -> bool:
    return len(frozen) == len(names) and all(layers is None for layers in frozen.values())


def trained_share(partition: Partition, model: CausalLM) -> float:
    """Returns how many of the weights in matrices are trained, from 0 to 1; adapters do not count."""
    whole = trained = 0
    for row in weight_rows(model.config):
        size = math.prod(row.shape(model.sizes))
        layers = partition.frozen.get(row.path, ())
        whole += size
        trained += size * (1 - len(layers) / model.sizes["layers"]) if layers is not None else 0
    return trained / whole
