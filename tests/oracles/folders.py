"""Writes the cases as model folders, and reads what is known about them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from easydel.models.config import ModelConfig
from easydel.models.rows import axis_sizes, weight_rows
from easydel.weights.safetensors import Spec, write_files
from oracles.cases import weight
from oracles.newer_families import NEWER_CASES


def tensors_of(source: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the float32 tensors of a case, by their Hugging Face names."""
    config = ModelConfig.from_hf(source)
    sizes = axis_sizes(config)
    rows = weight_rows(config)
    return {name: weight(config.model_type, name, row.file_shape(sizes)) for row in rows for name in row.names(sizes)}


def write_tensors(folder: Path, tensors: dict[str, np.ndarray], *, max_shard_size: int = 10**9) -> None:
    """Writes tensors as the weights of a folder."""
    specs = {name: Spec(tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    write_files(folder, specs, tensors.items(), max_shard_size=max_shard_size)


def write_model(folder: Path, source: dict[str, Any], *, max_shard_size: int = 10**9) -> Path:
    """Returns `folder`, made a model folder of a case."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(source), encoding="utf-8")
    write_tensors(folder, tensors_of(source), max_shard_size=max_shard_size)
    return folder


class Expected(NamedTuple):
    """What transformers gave for a case."""

    logits: np.ndarray  # [length vocab], of `TOKENS`
    greedy: np.ndarray  # the tokens after its beginning
    step: np.ndarray  # loss and norm of the gradient of a step of DPO


def expected(name: str) -> Expected:
    """Returns what `make.py` wrote for a case."""
    file = "expected_newer.npz" if name in NEWER_CASES else "expected.npz"
    with np.load(Path(__file__).parent / file) as arrays:
        return Expected(*(arrays[f"{name}/{part}"] for part in Expected._fields))
