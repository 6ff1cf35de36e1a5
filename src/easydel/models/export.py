"""Writes a whole model as a folder that `transformers` loads: adapters added, quantized weights dequantized."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np

from easydel.display.display import Display
from easydel.models.decoder import Params
from easydel.models.lora import merged_kernel, with_shared
from easydel.models.quantize import dense
from easydel.models.wrappers import Carried
from easydel.weights.safetensors import Spec, write_files, write_json
from easydel.weights.table import Row, get

# What a model of text with images or audio has beside its tokenizer.
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_NAMES_OF_FILES = ("transformers_weights", "auto_map")


@dataclass(frozen=True)
class Origin:
    """Where a model came from: its name, the JSON files that its copies are saved with, the dtype of its file.

    Attributes:
        dtype: that most bytes of its weights have, None where it was not read from a file, or has one that we do not
            compute in.
        folder: where it was read, None where it was not.
        adapters: where the adapters on it were read, None where they were not.
        carried: what is written with the model and is not part of it.
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] | None = None
    dtype: str | None = None
    folder: Path | None = None
    adapters: Path | None = None
    carried: Carried = field(default_factory=Carried)


def write_whole(
    folder: Path,
    origin: Origin,
    specs: Mapping[str, Spec],
    tensors: Iterable[tuple[str, np.ndarray]],
    *,
    dtype: str,
    max_shard_size: int,
    display: Display,
) -> None:
    """Writes config.json, weights, and generation_config.json if there was one, see `CausalLM.save_pretrained`."""
    write_json(folder / "config.json", _patched(origin.config, dtype))
    if origin.generation is not None:
        write_json(folder / "generation_config.json", origin.generation)
    names, others = origin.carried
    specs = {names.get(name, name): spec for name, spec in specs.items()}
    specs |= {name: Spec(tensor.dtype, tensor.shape) for name, tensor in others.items()}
    renamed = ((names.get(name, name), tensor) for name, tensor in tensors)
    every = chain(renamed, ((name, tensor.array()) for name, tensor in others.items()))
    with display.work("save", unit="B", total=sum(spec.nbytes for spec in specs.values())) as work:
        write_files(folder, specs, _counted(every, work.advance), max_shard_size=max_shard_size)
    for file in (origin.folder / name for name in _PROCESSOR_FILES if origin.folder and others):
        if file.is_file():
            shutil.copyfile(file, folder / file.name)


def exported(params: Params, row: Row, dtype: np.dtype | None) -> jax.Array:
    """Returns an array of a model in `dtype` (None: its own), of its base dequantized and with the adapters added."""
    weights = get(params, row.path)
    if row.path[-1] == "kernel" and row.path[0] == "layers":
        *at, projection, _ = row.path  # in the layer, or in a mixer of it
        of_projection = with_shared(get(params, tuple(at)))[projection]
        if "lora_a" in of_projection:
            return merged_kernel(of_projection).astype(dtype or weights.dtype)
    return dense(weights, row.dtype or dtype or weights.dtype)


def _counted(
    tensors: Iterable[tuple[str, np.ndarray]], advance: Callable[[int], None]
) -> Iterator[tuple[str, np.ndarray]]:
    for name, tensor in tensors:
        yield name, tensor
        advance(tensor.nbytes)


def _patched(source: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Returns a copy of a config.json with the dtype of the weights, under each name that it is spelled by there.

    Everything else stays as it was: rewriting rotary settings in the other spelling loses them for one of the
    major versions of `transformers`. But what names files that are not written is left out: weights of another name,
    and code.
    """
    spelled = [name for name in ("dtype", "torch_dtype") if name in source] or ["torch_dtype"]
    kept = {name: value for name, value in source.items() if name not in _NAMES_OF_FILES}
    return {**kept, **dict.fromkeys(spelled, dtype)}
