"""Checkpoints that say the same as the weight table in other forms: what is read is turned into its names.

`transformers` 5 keeps the experts of a layer in one tensor, and writes them so when it is told to
(`save_original_format=False`).
"""

import re
from collections.abc import Mapping
from itertools import product

import numpy as np

from easydel.models.kinds import DeltaNet, Experts
from easydel.weights.safetensors import Stored

_HEAD = "lm_head.weight"
_SPARSE = re.compile(
    r"(?P<layer>model\.(?:language_model\.)?layers\.\d+)\.mlp\.(?P<part>gate\.weight|experts\.gate_up_proj|experts\.down_proj)"
)


def with_embedding(stored: Mapping[str, Stored], embedding: str) -> dict[str, Stored]:
    """Returns the tensors of a model whose head is its embedding, the latter by its name where only the head is there.

    Of tensors that share memory `safetensors.torch.save_model` keeps the first by name, which is the head.

    Args:
        embedding: its name.
    """
    if embedding in stored or _HEAD not in stored:
        return dict(stored)
    return {embedding if name == _HEAD else name: tensor for name, tensor in stored.items()}


def unstacked(stored: Mapping[str, Stored], experts: Experts) -> dict[str, Stored]:
    """Returns the tensors with a tensor for each matrix of each expert, where a layer keeps them in one.

    The parts are views: nothing is read.
    """
    if not any(name.endswith(".mlp.experts.gate_up_proj") for name in stored):
        return dict(stored)
    gate, up, down = experts.projections
    found: dict[str, Stored] = {}
    for name, tensor in stored.items():
        match = _SPARSE.fullmatch(name)
        if match is None:
            found[name] = tensor
        elif match["part"] == "gate.weight":
            found[f"{match['layer']}.{experts.module}.gate.weight"] = tensor
        else:
            names = (down,) if match["part"] == "experts.down_proj" else (gate, up)
            at = f"{match['layer']}.{experts.module}.experts"
            found |= {f"{at}.{number}.{each}.weight": part for number, each, part in _parts(tensor, names)}
    return found


def cut_where_they_end(stored: Mapping[str, Stored], delta: DeltaNet) -> dict[str, Stored]:
    """Returns the tensors with the convolutions of query, key and value of each layer cut where these end.

    `transformers` 5 keeps the three in one tensor, and cuts it in thirds when it saves, whatever their sizes are; it
    reads them by joining them.
    """
    widths = [delta.key_heads * delta.key_dim] * 2 + [delta.value_heads * delta.value_dim]
    found = dict(stored)
    for name in [name for name in stored if name.endswith(".q_conv1d.weight")]:
        names = [name.replace(".q_conv1d.", f".{part}_conv1d.") for part in "qkv"]
        parts = [stored[each] for each in names if each in stored]
        if len(parts) < len(names) or len({(part.dtype, *part.shape[1:]) for part in parts}) > 1:
            continue
        if sum(part.shape[0] for part in parts) != sum(widths):
            continue  # which a check of shapes will say
        row = parts[0].data.size // max(parts[0].shape[0], 1)
        whole = np.concatenate([part.data for part in parts])
        for each, width, data in zip(names, widths, np.split(whole, np.cumsum(widths)[:-1] * row), strict=True):
            found[each] = stored[each]._replace(shape=(width, *stored[each].shape[1:]), data=data)
    return found


def _parts(tensor: Stored, names: tuple[str, ...]) -> list[tuple[int, str, Stored]]:
    """Returns (expert, name, matrix) of a tensor [experts, matrices side by side, inputs]."""
    experts, *matrix = tensor.shape
    shape = (matrix[0] // len(names), *matrix[1:])
    parts = np.array_split(tensor.data, max(experts * len(names), 1))
    places = product(range(experts), names)
    return [(*place, tensor._replace(shape=shape, data=data)) for place, data in zip(places, parts, strict=False)]
