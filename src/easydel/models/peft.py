"""Adapter folders as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from easydel.errors import ConfigError, WeightsError, some
from easydel.models.lora import Lora
from easydel.weights.load import export_specs, export_tensors
from easydel.weights.safetensors import Stored, read_file, write_file, write_json
from easydel.weights.table import Row, Sizes

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
# Settings of PEFT that change what is computed and that we read.
_READ = (
    *("r", "lora_alpha", "lora_dropout", "target_modules", "use_dora", "use_rslora", "rank_pattern", "alpha_pattern"),
)
# Those that say where adapters come from or how they are served, and have no part in what they compute.
_HARMLESS = (
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode", "peft_version"),
    *("auto_mapping", "megatron_core", "qalora_group_size", "loftq_config", "runtime_config"),
)
# Ways to start B and A that leave the base as it is; others change it, so that adapters saved from them need theirs.
_STARTS = (True, False, "gaussian", "orthogonal", "eva")


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Returns the `adapter_config.json` of a folder, which describes adapters that we can compute.

    Raises:
        WeightsError: there is none, it is not JSON, or it asks for something that is not supported: it names the key.
    """
    file = folder / CONFIG_NAME
    if not file.is_file():
        raise WeightsError(f"{folder} is no folder of adapters: it has no {CONFIG_NAME}.")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{file} is not valid JSON: {error}.") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{file} holds {type(config).__name__}; it must hold a JSON object.")
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
    """Returns what a checked `adapter_config.json` says, `target_modules` as it is written there.

    Raises:
        WeightsError: a value of another type.
    """
    targets = config["target_modules"]
    ranks, alphas = (config.get(name) or {} for name in ("rank_pattern", "alpha_pattern"))
    plain = isinstance(targets, str) or (isinstance(targets, list) and all(isinstance(x, str) for x in targets))
    for name, kind, fits in (
        ("r", "a whole number", _is_whole(config["r"])),
        ("lora_alpha", "a number", _is_number(config["lora_alpha"])),
        ("lora_dropout", "a number", _is_number(config.get("lora_dropout", 0.0))),
        ("target_modules", "a list of names, or a name", plain),
        ("rank_pattern", "an object of ranks by regular expressions", _is_pattern(ranks, _is_whole)),
        ("alpha_pattern", "an object of numbers by regular expressions", _is_pattern(alphas, _is_number)),
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
    stored = read_file(file)
    expected = {name: row.file_shape(sizes) for row in rows for name in row.names(sizes)}
    missing = [name for name in expected if name not in stored]
    unexpected = [name for name in stored if name not in expected]
    hint = f"Was it made for another base than {base}?"
    if missing or unexpected:
        kinds = {"missing": missing, "unexpected": unexpected}
        found = "; ".join(f"{len(names)} {kind} ({some(names)})" for kind, names in kinds.items() if names)
        if not missing and not any("lora_" in name for name in unexpected):
            hint = (
                "PEFT writes whole weights beside adapters where these were trained or the vocabulary was changed: "
                "merge them with PEFT (merge_and_unload), and load the folder of the merged model."
            )
        raise WeightsError(f"The adapters in {file} do not fit this model and {CONFIG_NAME}: {found}. {hint}")
    for name, shape in expected.items():
        if stored[name].shape != shape:
            raise WeightsError(
                f"{file}: {name} has shape {list(stored[name].shape)}; this model and {CONFIG_NAME} imply "
                f"{list(shape)}. {hint}"
            )
    return stored


def write_adapters(
    folder: Path,
    lora: Lora,
    rows: Sequence[Row],
    params: Mapping[str, Any],
    sizes: Sizes,
    *,
    base: str,
    dtype: np.dtype | None = None,
) -> None:
    """Writes the adapters of a model into an empty folder, as PEFT reads them.

    Args:
        rows: those of the adapters.
        base: the name of the model without them, a folder or a Hub id.
        dtype: of the written weights; None keeps theirs.
    """
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": _plain(lora.alpha),
        "lora_dropout": lora.dropout,
        "target_modules": list(lora.target_modules),
        "bias": "none",
        "use_dora": lora.use_dora,
        "use_rslora": lora.use_rslora,
        "rank_pattern": dict(lora.rank_pattern),
        "alpha_pattern": {name: _plain(alpha) for name, alpha in lora.alpha_pattern},
    }
    write_json(folder / CONFIG_NAME, config)
    tensors: Iterator[tuple[str, np.ndarray]] = export_tensors(rows, params, sizes, dtype)
    write_file(folder / WEIGHTS_NAME, export_specs(rows, params, sizes, dtype), tensors)


def base_of(config: Mapping[str, Any], folder: Path) -> str:
    """Returns the model that the adapters of a folder were made for.

    Raises:
        ConfigError: `adapter_config.json` names none.
    """
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ConfigError(
            f"{folder / CONFIG_NAME} does not say which model the adapters are for (base_model_name_or_path): load "
            "that model, and then model.load_adapter(folder)."
        )
    return base


def _plain(alpha: float) -> int | float:
    return int(alpha) if alpha.is_integer() else alpha


def _is_pattern(value: object, fits: Callable[[object], bool]) -> bool:
    if not isinstance(value, dict) or not all(map(fits, value.values())):
        return False
    try:
        return all(re.compile(name) for name in value)
    except re.error:
        return False


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
