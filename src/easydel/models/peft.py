"""Adapter folders as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from easydel.errors import WeightsError
from easydel.json_objects import read_object
from easydel.models.lora import Lora
from easydel.models.wrappers import PREFIX
from easydel.weights.load import check_tensors
from easydel.weights.safetensors import Spec, Stored, read_file, write_file, write_json
from easydel.weights.table import Row, Sizes

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
# Settings of PEFT that change what is computed and that we read.
_READ = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_dora", "use_rslora", "rank_pattern", "alpha_pattern")
# Those about where adapters come from or how they are served, without a part in what they compute.
_HARMLESS = (
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode", "peft_version"),
    *("auto_mapping", "megatron_core", "qalora_group_size", "loftq_config", "runtime_config"),
)
# Ways to start B and A that leave the base as it is; others change it, so that adapters saved from them need theirs.
_STARTS = (True, False, "gaussian", "orthogonal", "eva")


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Returns the `adapter_config.json` of a folder, which describes adapters that we can compute.

    Raises:
        WeightsError: there is no such file, it is not JSON, or it asks for something unsupported, with the key.
    """
    file = folder / CONFIG_NAME
    if not file.is_file():
        raise WeightsError(f"{folder} is not a folder of adapters: it has no {CONFIG_NAME}.")
    config = read_object(file)
    if config.get("peft_type") != "LORA":
        raise WeightsError(f"{file}: peft_type {config.get('peft_type')!r} is not supported; 'LORA' is.")
    missing = [name for name in ("r", "lora_alpha", "target_modules") if config.get(name) is None]
    if missing:
        raise WeightsError(f"{file} lacks {', '.join(missing)}.")
    for name, value in config.items():
        if name in _READ or name in _HARMLESS or not value or (name, value) == ("bias", "none"):
            continue
        if name == "init_lora_weights" and value in _STARTS:
            continue
        raise WeightsError(
            f"{file}: {name} = {value!r} is not supported. Merge the adapters with PEFT (merge_and_unload), and load "
            "the folder of the merged model."
        )
    return config


def lora_of(config: Mapping[str, Any], file: Path) -> Lora:
    """Returns the settings of a checked `adapter_config.json`, `target_modules` as it is written there.

    Raises:
        WeightsError: a value of another type.
    """
    targets = config["target_modules"]
    ranks, alphas = (config.get(name) or {} for name in ("rank_pattern", "alpha_pattern"))
    plain = isinstance(targets, str) or (isinstance(targets, list) and all(isinstance(x, str) for x in targets))
    for name, kind, fits in (
        ("r", "an integer", type(config["r"]) is int),
        ("lora_alpha", "a number", type(config["lora_alpha"]) in (int, float)),
        ("lora_dropout", "a number", type(config.get("lora_dropout", 0.0)) in (int, float)),
        ("target_modules", "a list of names, or a name", plain),
        ("rank_pattern", "an object of ranks by regular expressions", _is_pattern(ranks, int)),
        ("alpha_pattern", "an object of numbers by regular expressions", _is_pattern(alphas, int, float)),
    ):
        if not fits:
            raise WeightsError(f"{file}: {name} is {config.get(name)!r}; it must be {kind}.")
    return Lora(
        rank=config["r"],
        alpha=float(config["lora_alpha"]),
        target_modules=(targets,) if isinstance(targets, str) else tuple(targets),
        dropout=float(config.get("lora_dropout", 0.0)),
        use_dora=bool(config.get("use_dora", False)),
        use_rslora=bool(config.get("use_rslora", False)),
        rank_pattern=tuple(ranks.items()),
        alpha_pattern=tuple((name, float(alpha)) for name, alpha in alphas.items()),
    )


def read_adapters(folder: Path, rows: Sequence[Row], sizes: Sizes, *, base: str) -> dict[str, Stored]:
    """Returns the tensors of an adapter folder, which are those that the table names.

    Args:
        rows: the rows that the adapters add to the weight table of the model.
        base: the name of the model, for messages.

    Raises:
        WeightsError: no weights or damaged ones, or tensors that do not fit the model.
    """
    file = folder / WEIGHTS_NAME
    if not file.is_file():
        raise WeightsError(
            f"{folder} holds no {WEIGHTS_NAME}. Adapters in adapter_model.bin can run code when they are opened, so "
            "they are not read: save them with PEFT as safetensors."
        )

    def hint(missing: Sequence[str], unexpected: Sequence[str]) -> str:
        if unexpected and not missing and not any("lora_" in name for name in unexpected):
            return (
                "PEFT writes whole weights beside adapters where these were trained or the vocabulary was changed: "
                "merge them with PEFT (merge_and_unload), and load the folder of the merged model."
            )
        return f"Was it made for another base than {base}?"

    stored = {_spelled(name, rows): tensor for name, tensor in read_file(file).items()}
    check_tensors(rows, stored, sizes, fits=f"this model and {CONFIG_NAME}", hint=hint)
    return stored


def _spelled(name: str, rows: Sequence[Row]) -> str:
    """Returns the name of a tensor; that of a wrapper as modules of `transformers` 5 are called, for that of 4."""
    if not rows or not rows[0].name.startswith(f"base_model.model.{PREFIX}."):
        return name
    return re.sub(
        r"^base_model\.model\.(language_model\.model|model(?!\.language_model))\.", f"base_model.model.{PREFIX}.", name
    )


def write_adapters(
    folder: Path, lora: Lora, specs: Mapping[str, Spec], tensors: Iterator[tuple[str, np.ndarray]], *, base: str
) -> None:
    """Writes the adapters of a model into an empty folder, as PEFT reads them.

    Args:
        specs, tensors: of the adapters, see `easydel.weights.load`.
        base: the name of the model without them, a folder or a Hub id.
    """
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": _plain(lora.alpha),
        "lora_dropout": lora.dropout,
        "target_modules": _targets(lora.target_modules),
        "bias": "none",
        "use_dora": lora.use_dora,
        "use_rslora": lora.use_rslora,
        "rank_pattern": dict(lora.rank_pattern),
        "alpha_pattern": {name: _plain(alpha) for name, alpha in lora.alpha_pattern},
    }
    write_json(folder / CONFIG_NAME, config)
    write_file(folder / WEIGHTS_NAME, specs, tensors)


def _targets(names: tuple[str, ...]) -> list[str] | str:
    """Returns names as a list, and what is no name, a regular expression, as PEFT tells it: as a string."""
    return list(names) if re.fullmatch(r"[\w.]*", "".join(names)) else names[0]


def _plain(alpha: float) -> int | float:
    return int(alpha) if alpha.is_integer() else alpha


def _is_pattern(value: object, *kinds: type) -> bool:
    if not isinstance(value, dict) or not all(type(each) in kinds for each in value.values()):
        return False
    try:
        return all(re.compile(name) for name in value)
    except re.error:
        return False
