"""Adapters put on a model: new ones, or those of a PEFT folder."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from easydel.errors import ConfigError, warn
from easydel.models.config import ModelConfig
from easydel.models.decoder_layer import Params
from easydel.models.folders import ModelFolder
from easydel.models.init import fresh_arrays
from easydel.models.lora import Lora
from easydel.models.lora_modules import Modules, adapter_rows, check_lora, chosen_modules, full_names, short_names
from easydel.models.peft import CONFIG_NAME, lora_of, read_adapters
from easydel.models.quantize import Weights, dense
from easydel.models.rows import axis_sizes, weight_rows
from easydel.weights.load import load_params
from easydel.weights.table import Row, get, nest, unnest


def rows_and_sizes(config: ModelConfig, lora: Lora | None) -> tuple[list[Row], dict[str, int]]:
    """Returns the rows of the weight table that adapters add, and the sizes of its axes with them."""
    sizes = axis_sizes(config)
    if lora is None:
        return [], sizes
    return adapter_rows(lora, _chosen(config, lora), sizes)


def new_adapters(
    config: ModelConfig,
    params: Params,
    mesh: Mesh,
    wanted: Lora,
    *,
    target_modules: str | Sequence[str] | None,
    seed: int,
    dtype: DTypeLike,
) -> tuple[Params, Lora]:
    """Returns the parameters with new adapters that add nothing yet, and how these were made.

    Args:
        wanted: their settings, but for `target_modules`.

    Raises:
        ConfigError: see `lora_modules.chosen_modules` and `lora_modules.check_lora`.
    """
    lora = _resolved(config, wanted, target_modules)
    rows, sizes = rows_and_sizes(config, lora)
    rows = [row for row in rows if row.path[-1] != "lora_magnitude"]  # those follow from the kernels

    def uniform(key: Key[Array, ""], shape: tuple[int, ...]) -> jax.Array:  # A as in PEFT; B is zero
        bound = math.prod(shape[1:-1]) ** -0.5
        return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

    adapters = fresh_arrays(rows, sizes, jax.random.key(seed), uniform, dtype=dtype, mesh=mesh)
    return _with_adapters(params, adapters, lora, _chosen(config, lora), mesh), lora


def loaded_adapters(
    config: ModelConfig, params: Params, mesh: Mesh, opened: ModelFolder, *, base: str
) -> tuple[Params, Lora]:
    """Returns the parameters with the adapters of a PEFT folder, in float32, and how these were made.

    Args:
        base: the name of the model.

    Raises:
        WeightsError: see `peft.read_adapter_config` and `peft.read_adapters`.
        ConfigError: see `lora_modules.chosen_modules` and `lora_modules.check_lora`.
    """
    written, folder = opened.adapter_config, opened.path
    wanted = lora_of(written, folder / CONFIG_NAME)
    try:
        _chosen(config, wanted)
    except ConfigError as error:
        raise ConfigError(f"{folder / CONFIG_NAME}: {error} Was it made for another base than {base}?") from None
    lora = _resolved(config, wanted, wanted.target_modules)
    rows, sizes = rows_and_sizes(config, lora)
    stored = read_adapters(folder, rows, sizes, base=base)
    named = written.get("base_model_name_or_path")
    # A folder may lie elsewhere now, and a Hub id be a folder: only its own name counts.
    if isinstance(named, str) and Path(named).name != Path(base).name:
        warn(
            f"the adapters in {folder} were made for {named!r} and are put on {base!r}: they fit by their shapes, but "
            "make sense on the weights that they were trained with only."
        )
    adapters = load_params(rows, stored, sizes, mesh=mesh, dtype=np.dtype(np.float32))
    return _with_adapters(params, adapters, lora, _chosen(config, lora), mesh), lora


def _resolved(config: ModelConfig, wanted: Lora, target_modules: str | Sequence[str] | None) -> Lora:
    """Returns `wanted` with the shortest names of the modules that `target_modules` means, once it is checked."""
    rows, sizes = weight_rows(config), axis_sizes(config)
    chosen = chosen_modules(target_modules, rows, sizes["layers"])
    check_lora(wanted, chosen, sizes)
    return replace(wanted, alpha=float(wanted.alpha), target_modules=short_names(chosen, rows))


def _chosen(config: ModelConfig, lora: Lora) -> Modules:
    return chosen_modules(lora.target_modules, weight_rows(config), config.num_hidden_layers)


def _with_adapters(params: Params, adapters: Params, lora: Lora, chosen: Modules, mesh: Mesh) -> dict[str, Any]:
    """Returns the parameters with adapters beside the kernels, and with what follows from both.

    Under DoRA, adapters without magnitudes get those of the kernels.
    """
    whole = unnest(params) | unnest(adapters)
    for row in (row for rows in chosen.values() for row in rows):
        at = row.path[:-1]
        b = whole[*at, "lora_b"]
        scale = np.array([lora.scale_of(name) for name in full_names(row, b.shape[0])], np.float32)
        whole[*at, "lora_scale"] = jax.device_put(scale, NamedSharding(mesh, PartitionSpec()))
        if lora.use_dora:
            norm = jax.jit(_norms, static_argnums=1)(get(params, row.path), b.ndim - 2)
            whole[*at, "lora_norm"] = norm
            whole.setdefault((*at, "lora_magnitude"), norm.astype(b.dtype))
    return nest(whole)


def _norms(kernel: Weights, outputs: int) -> Float[Array, "layers ..."]:
    """Returns the length of each output's weight vector; the last `outputs` axes are those of the outputs."""

    def of_layer(kernel: Weights) -> jax.Array:
        wide = dense(kernel, jnp.float32)
        return jnp.sqrt(jnp.sum(wide * wide, axis=tuple(range(wide.ndim - outputs))))

    return jax.lax.map(of_layer, kernel)  # one after another: no more than one is dequantized
