"""Writes the cases of adapters as PEFT folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from easydel.models.config import ModelConfig
from easydel.models.lora_apply import rows_and_sizes
from easydel.models.peft import lora_of
from easydel.weights.safetensors import Spec, write_file
from oracles.adapters import ADAPTERS, adapter_weight
from oracles.cases import CASES


def tensors_of(name: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a case, by their names in PEFT's files."""
    base, settings = ADAPTERS[name]
    rows, sizes = rows_and_sizes(ModelConfig.from_hf(CASES[base]), lora_of(settings, Path()))
    return {each: adapter_weight(each, row.file_shape(sizes)) for row in rows for each in row.names(sizes)}


def write_adapters(folder: Path, name: str, tensors: dict[str, np.ndarray] | None = None, **changes: Any) -> Path:
    """Returns `folder`, made a PEFT folder of a case; `changes` go over its settings."""
    _, settings = ADAPTERS[name]
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": None, **settings, **changes}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = tensors_of(name) if tensors is None else tensors
    specs = {each: Spec(tensor.dtype, tensor.shape) for each, tensor in tensors.items()}
    write_file(folder / "adapter_model.safetensors", specs, iter(tensors.items()))
    return folder


def expected(name: str) -> np.ndarray:
    """Returns the logits that PEFT gave for a case."""
    with np.load(Path(__file__).parent / "expected_adapters.npz") as arrays:
        return arrays[name]
