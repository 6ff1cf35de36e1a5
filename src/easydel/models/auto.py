"""Loads a model from a folder or a Hub id, without torch."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from easydel.display.display import Display, make_display
from easydel.errors import ConfigError, unsupported, warn
from easydel.memory import available_bytes, require
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.decoder import PRECISIONS, Decoder
from easydel.models.export import Origin
from easydel.models.folders import ModelFolder, find_model
from easydel.models.quantize import check_quantization, is_quantizable
from easydel.models.quantized_params import load_quantized_row, quantized_bytes
from easydel.models.rows import axis_sizes, tied_head, weight_rows
from easydel.processes import is_first
from easydel.sharding import make_mesh, sharding_for
from easydel.weights.load import array_bytes, check_tensors, load_params, load_row
from easydel.weights.safetensors import Stored
from easydel.weights.table import Row

_DTYPES = ("float32", "bfloat16", "float16")


class _Options(NamedTuple):
    """The settings that `config_kwargs` may hold, see `from_pretrained`."""

    dtype: DTypeLike
    param_dtype: DTypeLike
    precision: str | jax.lax.Precision | None
    sharding_axis_dims: Sequence[int]
    attn_mechanism: str
    gradient_checkpointing: str | bool
    scan_layers: bool
    quantization: str | None


class AutoEasyDeLModelForCausalLM:
    """The place where users look for `from_pretrained`; what comes back is a `CausalLM`."""

    @staticmethod
    def from_pretrained(
        repo_or_folder: str | Path | ModelFolder,
        *,
        dtype: DTypeLike = jnp.bfloat16,
        param_dtype: DTypeLike = jnp.float32,
        precision: str | jax.lax.Precision | None = None,
        sharding_axis_dims: Sequence[int] = (1, -1, 1, 1, 1),
        attn_mechanism: str = "auto",
        gradient_checkpointing: str | bool = "",
        scan_layers: bool = True,
        quantization: str | None = None,
        revision: str | None = None,
        token: str | None = None,
        progress_bar_type: str = "tqdm",
        config_kwargs: Mapping[str, Any] | None = None,
    ) -> CausalLM:
        """Returns the model of a local folder, opened already or not, or of a Hugging Face Hub id.

        A folder of adapters, as PEFT writes them, gives the model that they were made for with the adapters on it; one
        of a whole model and adapters gives that model with them, as in `transformers`, and a warning.

        Args:
            dtype: what the computation runs in.
            param_dtype: what the parameters are kept and trained in. float32 by default, because bfloat16
                loses most updates at the learning rates of preference training.
            precision: of matrix products: None, 'default', 'high' or 'highest'.
            sharding_axis_dims: sizes of the mesh axes (dp, fsdp, ep, tp, sp); -1 takes the devices that are
                left.
            attn_mechanism, gradient_checkpointing, scan_layers: see `Decoder`. gradient_checkpointing may also be true,
                as other programs have it: that is 'nothing_saveable'.
            quantization: 'nf4' or 'int8' quantizes matrices and embeddings as they are read, for a base that is not
                trained itself (see `CausalLM.apply_lora`); None quantizes nothing.
            revision, token: for the Hub only.
            progress_bar_type: how it is shown how far reading is, see `DPOConfig`; what is read at once is not.
            config_kwargs: the same settings (dtype ... quantization) by name; they win over the keywords.

        Raises:
            ConfigError: a setting we do not support, a revision of a folder, or a configuration we cannot build.
            WeightsError: a folder that is not a model, or weights that do not fit their configuration.
        """
        options = _Options(
            dtype,
            param_dtype,
            precision,
            sharding_axis_dims,
            attn_mechanism,
            gradient_checkpointing,
            scan_layers,
            quantization,
        )
        for name in config_kwargs or {}:
            if name not in _Options._fields:
                raise unsupported("config_kwargs: the setting", name, _Options._fields)
        options = options._replace(**config_kwargs or {})
        display = make_display(progress_bar_type if is_first() else "none")
        folder = find_model(repo_or_folder, revision, token)
        if not folder.is_adapter:
            model = _load(folder, options, display)
            if not folder.has_adapters:
                return model
            warn(
                f"{folder.path} holds a whole model and adapters (adapter_config.json): the adapters are put on that "
                "model, as transformers does. If they are in its weights already, take the adapter files away."
            )
            return model.load_adapter(folder)
        on_hub = isinstance(folder.base, str)
        base = find_model(folder.base, folder.adapter_config.get("revision") if on_hub else None, token)
        return _load(base, options, display).load_adapter(folder)


def _load(folder: ModelFolder, options: _Options, display: Display) -> CausalLM:
    config, generation = folder.config, folder.generation
    mesh = make_mesh(options.sharding_axis_dims)
    decoder = Decoder(
        config=config,
        mesh=mesh,
        dtype=_dtype("dtype", options.dtype),
        precision=_precision(options.precision),
        attn_mechanism=options.attn_mechanism,
        gradient_checkpointing=_policy(options.gradient_checkpointing),
        scan_layers=options.scan_layers,
    )
    param_dtype = _dtype("param_dtype", options.param_dtype)
    kind = options.quantization
    if kind is not None:
        check_quantization(kind)
    stored = folder.tensors()
    require(
        {f"weights of {folder.name} in {kind or param_dtype}": _weight_bytes(config, mesh, param_dtype, kind)},
        available_bytes(list(mesh.devices.flat)),
        hint="Take a smaller model or param_dtype 'bfloat16', or spread it over more devices (sharding_axis_dims).",
    )
    load = load_row if kind is None else partial(load_quantized_row, kind=kind)
    rows, sizes = weight_rows(config), axis_sizes(config)
    check_tensors(rows, stored, sizes, duplicates=tied_head(config))
    with display.work("load", unit="B", total=array_bytes(rows, sizes, param_dtype)) as work:
        params = load_params(rows, stored, sizes, mesh=mesh, dtype=param_dtype, advance=work.advance, load=load)
    origin = Origin(folder.name, config.source, generation, _main_dtype(stored), folder.path, carried=folder.carried)
    return CausalLM(decoder, params, origin)


def _main_dtype(stored: Mapping[str, Stored]) -> str | None:
    """Returns the dtype that most bytes of a checkpoint have, None where a model is not kept in it."""
    held = Counter[str]()
    for tensor in stored.values():
        held[tensor.dtype.name] += tensor.data.nbytes
    name = max(held, key=lambda dtype: held[dtype])
    return name if name in _DTYPES else None


def _weight_bytes(config: ModelConfig, mesh: jax.sharding.Mesh, dtype: np.dtype, kind: str | None) -> int:
    """The bytes that the weights take on all devices together; what is not split is on each."""
    sizes = axis_sizes(config)

    def on_each(row: Row) -> int:
        shape = row.shape(sizes)
        part = math.prod(sharding_for(row.axes, shape, mesh, name=row.name).shard_shape(shape))
        if kind is None or not is_quantizable(row):
            return part * dtype.itemsize
        return part * quantized_bytes(row, sizes, kind) // math.prod(shape)

    return sum(map(on_each, weight_rows(config))) * mesh.size


def _dtype(field: str, value: DTypeLike) -> np.dtype:
    name = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}.get(str(value), value)
    try:
        dtype = jnp.dtype(name)
    except TypeError:
        dtype = None
    if dtype is None or dtype.name not in _DTYPES:
        raise ConfigError(f"{field} {value!r} is not supported. Supported: {', '.join(_DTYPES)}.")
    return dtype


def _precision(value: str | jax.lax.Precision | None) -> str | None:
    if isinstance(value, jax.lax.Precision):
        return value.name.lower()
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"precision {value!r} is not supported. Supported: None, {', '.join(PRECISIONS)}.")
    return value and value.lower()


def _policy(given: str | bool | None) -> str:
    """Returns the name of a policy of recomputation, `""` for none; other programs turn it on or off."""
    return given if isinstance(given, str) else "nothing_saveable" if given else ""
