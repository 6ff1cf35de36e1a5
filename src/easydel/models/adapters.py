"""Adapters put on a model: new ones, or those of a PEFT folder."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from easydel.models.config import ModelConfig
from easydel.models.lora import Lora, adapter_rows, check_lora, fresh_adapters, with_adapters
from easydel.models.peft import CONFIG_NAME, lora_of, read_adapter_config, read_adapters
from easydel.models.rows import axis_sizes, weight_rows
from easydel.models.targets import chosen_modules, named_modules, short_names
from easydel.weights.load import load_params, shardings_of
from easydel.weights.table import Row

Params = Mapping[str, Any]


def rows_and_sizes(config: ModelConfig, lora: Lora | None) -> tuple[list[Row], dict[str, int]]:
    """Returns the rows of the weight table that adapters add, and the sizes of its axes with them."""
    sizes = axis_sizes(config)
    if lora is None:
        return [], sizes
    rows = adapter_rows(lora, named_modules(lora.target_modules, weight_rows(config)))
    return rows, sizes | {"rank": lora.rank}


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
        wanted: all about them but the modules that have some, which `target_modules` says.

    Raises:
        ConfigError: see `targets.chosen_modules` and `lora.check_lora`.
    """
    lora = _resolved(config, wanted, target_modules)
    rows, sizes = rows_and_sizes(config, lora)
    rows = [row for row in rows if row.path[-1] != "lora_magnitude"]  # those follow from the kernels
    make = jax.jit(lambda key: fresh_adapters(rows, sizes, key, dtype), out_shardings=shardings_of(rows, sizes, mesh))
    return with_adapters(params, make(jax.random.key(seed)), lora, mesh), lora


def loaded_adapters(config: ModelConfig, params: Params, mesh: Mesh, folder: Path, *, base: str) -> tuple[Params, Lora]:
    """Returns the parameters with the adapters of a PEFT folder, in float32, and how these were made.

    Args:
        base: the name of the model.

    Raises:
        WeightsError: see `peft.read_adapter_config` and `peft.read_adapters`.
        ConfigError: see `targets.chosen_modules` and `lora.check_lora`.
    """
    written = read_adapter_config(folder)
    wanted = lora_of(written, folder / CONFIG_NAME)
    lora = _resolved(config, wanted, wanted.target_modules)
    rows, sizes = rows_and_sizes(config, lora)
    stored = read_adapters(folder, rows, sizes, base=base)
    named = written.get("base_model_name_or_path")
    # A folder may lie elsewhere now, and a Hub id be a folder: only its own name counts.
    if isinstance(named, str) and Path(named).name != Path(base).name:
        warnings.warn(
            f"the adapters in {folder} were made for {named!r} and are put on {base!r}: they fit by their shapes, but "
            "make sense on the weights that they were trained with only.",
            stacklevel=3,
        )
    adapters = load_params(rows, stored, sizes, mesh=mesh, dtype=np.dtype(np.float32))
    return with_adapters(params, adapters, lora, mesh), lora


def _resolved(config: ModelConfig, wanted: Lora, target_modules: str | Sequence[str] | None) -> Lora:
    """Returns `wanted` with the shortest names of the modules that `target_modules` means, once it is checked."""
    rows, sizes = weight_rows(config), axis_sizes(config)
    chosen = chosen_modules(target_modules, rows, sizes["layers"])
    check_lora(wanted, chosen, sizes)
    return replace(wanted, target_modules=short_names(chosen, rows))
