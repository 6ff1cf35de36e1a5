"""Model folders: found here or on the Hub, and what their `config.json` says, read before any weights."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from easydel.errors import ConfigError, WeightsError
from easydel.models.checkpoint_forms import has_images, text_config, text_tensors, unstacked, with_embedding
from easydel.models.config import ModelConfig
from easydel.models.peft import CONFIG_NAME as ADAPTER_CONFIG
from easydel.models.peft import base_of, read_adapter_config
from easydel.models.value_types import check_types
from easydel.weights.model_files import has_weights, read_folder
from easydel.weights.safetensors import Stored

# What a model needs and nothing that could run code.
_HUB_PATTERNS = (
    *("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.model.v*", "*.tiktoken"),
    *("README.md", "LICENSE*", "NOTICE*", "USE_POLICY*"),  # the card names the license; the others travel on
)
# The same weights in the form of other programs, and other precisions.
_HUB_SKIPPED = ("consolidated*.safetensors", "*/*.safetensors", "model.fp*.safetensors", "model.bf*.safetensors")


def find_folder(repo_or_folder: str | Path, revision: str | None, token: str | None) -> Path:
    """Returns the local folder, after downloading it when the name is a Hub id."""
    folder = local_folder(repo_or_folder)
    if folder is not None:
        return folder
    name = str(repo_or_folder)
    import huggingface_hub  # imported here: a local folder needs no network library
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                token=token,
                allow_patterns=list(_HUB_PATTERNS),
                ignore_patterns=list(_HUB_SKIPPED),
            )
        )
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise WeightsError(
            f"{name!r} is neither a folder here nor a model that the Hugging Face Hub gave us: {error}"
        ) from error


def local_folder(repo_or_folder: str | Path) -> Path | None:
    """Returns the folder of that name, or None where the name can be a Hub id.

    Raises:
        WeightsError: it can only be a path, and no folder is there.
    """
    folder, name = Path(repo_or_folder).expanduser(), str(repo_or_folder)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise WeightsError(f"{folder} is a file; a model or tokenizer is a folder, or a Hugging Face Hub id.")
    is_path = isinstance(repo_or_folder, Path) or name.startswith(("/", ".", "~")) or name.endswith("/")
    if is_path or name.count("/") > 1:
        raise WeightsError(f"There is no folder {folder}. A Hugging Face Hub id looks like 'owner/name'.")
    return None


def read_config(folder: Path) -> tuple[dict[str, Any], ModelConfig]:
    """Returns the config.json of a model folder, as it is written and as we understand it.

    Of a model of text and images it is that of its text.

    Raises:
        WeightsError: there is none, it is not JSON, or its weights are packed in a way that we do not read.
        ConfigError: it describes a model that we cannot build.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise WeightsError(f"{folder} is not a model folder: it has no config.json.")
    source = text_config(read_json(file))
    _check_not_packed(source, file)
    try:
        return source, ModelConfig.from_hf(source)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def read_generation(folder: Path) -> dict[str, Any] | None:
    """Returns the generation_config.json of a model folder, None where it has none.

    Raises:
        WeightsError: it is not JSON.
        ConfigError: its ends of answers are no token ids.
    """
    file = folder / "generation_config.json"
    written = read_json(file) if file.is_file() else None
    try:
        check_types({"eos_token_id": (written or {}).get("eos_token_id")})
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    return written


def read_tensors(folder: Path, config: ModelConfig) -> dict[str, Stored]:
    """Returns the tensors of a model folder by the names of the weight table, whatever form they are in.

    Raises:
        WeightsError: see `easydel.weights.model_files.read_folder`.
    """
    written = read_json(folder / "config.json")
    stored = read_folder(folder, written.get("transformers_weights"))
    if has_images(written):
        warnings.warn(
            f"{folder} holds a model of text and images: its text is loaded, and saving writes a model of text alone, "
            f"of model_type {config.model_type!r}.",
            stacklevel=4,
        )
        stored = text_tensors(stored)
    if config.tie_word_embeddings:
        stored = with_embedding(stored)
    return stored if config.experts is None else unstacked(stored, config.experts)


def is_adapter_folder(folder: Path) -> bool:
    """Returns whether a folder holds adapters and no model of its own; a config.json alone makes no model."""
    return (folder / ADAPTER_CONFIG).is_file() and not _has_model(folder)


def has_adapters_too(folder: Path) -> bool:
    """Returns whether a folder holds a whole model and adapters: `transformers` puts these on that model."""
    return (folder / ADAPTER_CONFIG).is_file() and _has_model(folder)


def _has_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and has_weights(folder)


def check_folder(folder: Path) -> None:
    """Raises ConfigError or WeightsError for a folder that holds neither a model that we can build nor adapters of one.

    The model that adapters are for is looked at too where it is a folder here.
    """
    if not is_adapter_folder(folder):
        read_config(folder)
        return
    base = local_folder(base_of(read_adapter_config(folder), folder))
    if base is not None:
        read_config(base)


def _check_not_packed(source: Mapping[str, Any], file: Path) -> None:
    packed = source.get("quantization_config")
    if packed:
        method = packed.get("quant_method") if isinstance(packed, Mapping) else None
        said = f"{packed!r:.80}" if method is None else f"quant_method {method!r}"
        raise WeightsError(
            f"{file}: the weights are quantised already (quantization_config: {said}), in a format that "
            "is not read. Load the original model; quantization = 'nf4' or 'int8' packs it while it is read."
        )


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path} holds {type(value).__name__}; it must hold a JSON object.")
    return value
