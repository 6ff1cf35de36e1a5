"""Which files of a model folder are its weights: the order is that of `transformers`, which wrote most of them."""

import re
from pathlib import Path

from easydel.errors import WeightsError, some, warn
from easydel.json_objects import read_object
from easydel.weights.safetensors import INDEX_NAME, WEIGHTS_NAME, Stored, read_file, same_bytes

SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
# What to do about weights in other formats, by the ends of their files.
_NOT_READ = {
    (".bin", ".pt", ".pth"): "Pickled weights can run code when they are opened, so they are not read. Convert them "
    "once where you trust them: "
    "transformers.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder).",
    (".gguf",): "GGUF is a format that is not read: take the model that it was made from.",
}


def has_weights(folder: Path) -> bool:
    """Returns whether a folder holds the weights of a whole model, in a file that `read_folder` would read."""
    return (folder / WEIGHTS_NAME).is_file() or (folder / INDEX_NAME).is_file()


def read_folder(folder: Path, named: str | None = None) -> dict[str, Stored]:
    """Returns every tensor of a model folder: `model.safetensors`, or else the shards its index names.

    So an index that an earlier save left beside a newer single file does not bring back the old model.

    Args:
        named: the file, or index, that `transformers_weights` of config.json names, which is read in their place.

    Raises:
        WeightsError: no weights, weights in another format, an index that names a missing or outside file or
            a tensor its shard does not hold, shards that contradict each other, or a file that is cut short or corrupt.
    """
    if named is not None:
        return _read_named(folder, named)
    if (folder / WEIGHTS_NAME).is_file():
        if _names_others(folder / INDEX_NAME):
            warn(
                f"{folder} holds {WEIGHTS_NAME} and {INDEX_NAME}: {WEIGHTS_NAME} is read, as transformers does. If the "
                f"shards of the index are the newer model, take {WEIGHTS_NAME} away; else take the index away."
            )
        return read_file(folder / WEIGHTS_NAME)
    if (folder / INDEX_NAME).is_file():
        return _read_shards(folder / INDEX_NAME)
    raise _without_weights(folder)


def _without_weights(folder: Path) -> WeightsError:
    """Returns the error for a folder without weights that can be read; names what lies there instead."""
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    shards = [name for name in others if SHARD.fullmatch(name)]
    if shards:
        return WeightsError(
            f"{folder} holds {some(shards)} but no {INDEX_NAME}, which says which shards make up the model: get it "
            "from where the shards came from."
        )
    for endings, advice in _NOT_READ.items():
        found = sorted(path.name for path in folder.iterdir() if path.suffix in endings)
        if found:
            return WeightsError(f"{folder} holds {', '.join(found)} but no {WEIGHTS_NAME}. {advice}")
    if others:  # a variant such as model.fp16.safetensors, Mistral's consolidated.safetensors, adapters
        return WeightsError(
            f"{folder} holds {some(others)} but neither {WEIGHTS_NAME} nor {INDEX_NAME}. Only these are read, by the "
            f"names that transformers gives tensors: if a file holds those, rename it to {WEIGHTS_NAME}."
        )
    return WeightsError(f"{folder} holds no weights: neither {WEIGHTS_NAME} nor {INDEX_NAME}.")


def _read_named(folder: Path, name: object) -> dict[str, Stored]:
    kinds = (".safetensors", ".safetensors.index.json")
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(kinds):
        raise WeightsError(
            f"{folder / 'config.json'}: transformers_weights is {name!r}; it must name a file of the folder that ends "
            f"in {' or '.join(kinds)}."
        )
    if not (folder / name).is_file():
        raise WeightsError(f"{folder / 'config.json'} names {name} (transformers_weights), which is not in the folder.")
    return _read_shards(folder / name) if name.endswith(".json") else read_file(folder / name)


def _names_others(index: Path) -> bool:
    """Returns whether there is an index that names another file than the single one."""
    if not index.is_file():
        return False
    try:
        return set(_weight_map(index).values()) != {WEIGHTS_NAME}
    except WeightsError:
        return True


def _weight_map(index: Path) -> dict[str, str]:
    """Returns {tensor: file} of an index."""
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise WeightsError(f"{index} is corrupt: its weight_map ({weight_map!r:.60}) does not name a file by tensor.")
    return weight_map


def _read_shards(index: Path) -> dict[str, Stored]:
    folder, weight_map = index.parent, _weight_map(index)
    tensors: dict[str, Stored] = {}
    for shard in sorted(set(weight_map.values())):
        # A name with a separator could point anywhere on this machine.
        if Path(shard).name != shard or shard in ("..", "."):
            raise WeightsError(f"{index} names a file outside the folder: {shard!r}.")
        if not (folder / shard).is_file():
            raise WeightsError(f"{index} names {shard}, which is not in the folder. Was the download interrupted?")
        stored = read_file(folder / shard)
        lacking = sorted(name for name, file in weight_map.items() if file == shard and name not in stored)
        if lacking:
            raise WeightsError(f"{folder / shard} lacks {some(lacking)}, which {index.name} says it holds.")
        for name, tensor in stored.items():
            first = tensors.setdefault(name, tensor)
            if not same_bytes(first, tensor):
                raise WeightsError(
                    f"{name} is in {first.file.name} and in {shard}, with other values, so that either may be meant. "
                    f"Are shards of two models mixed in {folder}?"
                )
    return tensors
