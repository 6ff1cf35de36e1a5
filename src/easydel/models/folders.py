"""Model folders: found here or on the hub, and what they hold, read once: configurations first, weights last."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from easydel.errors import ConfigError, WeightsError
from easydel.json_objects import read_object
from easydel.models.checkpoint_forms import cut_where_they_end, unstacked, with_embedding
from easydel.models.config import ModelConfig
from easydel.models.hf_config import check_types
from easydel.models.peft import CONFIG_NAME as ADAPTER_CONFIG
from easydel.models.peft import read_adapter_config
from easydel.models.rows import tied_head
from easydel.models.wrappers import Carried, carried, is_wrapper, predictors, text_names
from easydel.weights.model_files import has_weights, read_folder
from easydel.weights.safetensors import Stored, same_bytes

# What a model needs and nothing that could run code.
_HUB_PATTERNS = (
    *("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.model.v*", "*.tiktoken"),
    *("README.md", "LICENSE*", "NOTICE*", "USE_POLICY*"),  # the card names the license; the others travel on
)
# The same weights in the form of other programs, and other precisions.
_HUB_SKIPPED = ("consolidated*.safetensors", "*/*.safetensors", "model.fp*.safetensors", "model.bf*.safetensors")


@dataclass(frozen=True)
class ModelFolder:
    """A folder that holds a model, adapters of one, or both; passed on, so that each of its files is read once.

    Attributes:
        path: the folder.
        name: what it was asked for by: its path, or the name of a model on the hub.
    """

    path: Path
    name: str

    @cached_property
    def written(self) -> dict[str, Any]:
        """The config.json as it is written.

        Raises:
            WeightsError: there is no such file, or it is not a JSON object.
        """
        if not self._config.is_file():
            raise WeightsError(f"{self.path} is not a model folder: it has no config.json.")
        return read_object(self._config)

    @cached_property
    def config(self) -> ModelConfig:
        """The configuration of the model, or of the text of a wrapper (`easydel.models.wrappers`).

        Where the class of a wrapper ties embedding and head and its config.json does not say so, they are two if they
        differ in the file, as in `transformers`.

        Raises:
            WeightsError: there is no config.json, or it is not JSON.
            ConfigError: it describes a model that is not supported, or weights quantized in a format not read.
        """
        try:
            config = ModelConfig.from_hf(self.written)
            unsaid = is_wrapper(self.written) and self.written.get("tie_word_embeddings") is None
            if unsaid and self._heads_differ(config):
                return ModelConfig.from_hf({**self.written, "tie_word_embeddings": False})
            return config
        except ConfigError as error:
            raise ConfigError(f"{self._config}: {error}") from None

    @cached_property
    def generation(self) -> dict[str, Any] | None:
        """The generation_config.json, None where there is no such file.

        Raises:
            WeightsError: it is not a JSON object.
            ConfigError: its eos_token_id is not made of token ids.
        """
        file = self.path / "generation_config.json"
        written = read_object(file) if file.is_file() else None
        try:
            check_types({"eos_token_id": (written or {}).get("eos_token_id")})
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from None
        return written

    @cached_property
    def adapter_config(self) -> dict[str, Any]:
        """The adapter_config.json, see `easydel.models.peft.read_adapter_config`."""
        return read_adapter_config(self.path)

    @cached_property
    def base(self) -> "ModelFolder | str":
        """The model that its adapters were made for: a folder here, or the name of one on the hub.

        Raises:
            WeightsError: no such folder, or see `adapter_config`.
            ConfigError: `adapter_config` does not name it.
        """
        name = self.adapter_config.get("base_model_name_or_path")
        if not isinstance(name, str) or not name:
            raise ConfigError(
                f"{self.path / ADAPTER_CONFIG} does not say which model the adapters are for "
                "(base_model_name_or_path): load that model, and then model.load_adapter(folder)."
            )
        return local_model(name) or name

    @property
    def has_adapters(self) -> bool:
        """Whether it holds adapters."""
        return (self.path / ADAPTER_CONFIG).is_file()

    @property
    def has_model(self) -> bool:
        """Whether it holds a whole model; a config.json alone is not one."""
        return self._config.is_file() and has_weights(self.path)

    @property
    def is_adapter(self) -> bool:
        """Whether it holds adapters alone. Of a model with adapters `transformers` puts these on that model."""
        return self.has_adapters and not self.has_model

    def check(self) -> None:
        """Reads the configuration, that of the base of adapters where it is here, but no weights.

        Raises:
            ConfigError, WeightsError: see `config`, `base`.
        """
        model = self.base if self.is_adapter else self
        if isinstance(model, ModelFolder):
            _ = model.config

    def tensors(self) -> dict[str, Stored]:
        """Returns the tensors by the names of the weight table, whatever form they are in; nothing is read yet.

        Raises:
            WeightsError: see `easydel.weights.model_files.read_folder`.
        """
        stored = self._text
        for embedding in tied_head(self.config).values():
            stored = with_embedding(stored, embedding)
        if self.config.delta is not None and self.config.delta.form == "apart":
            stored = cut_where_they_end(stored, self.config.delta)
        return stored if self.config.experts is None else unstacked(stored, self.config.experts)

    @property
    def carried(self) -> Carried:
        """What the file of a wrapper holds beside its text; of other models, what predicts more tokens ahead.

        Raises:
            WeightsError: see `easydel.weights.model_files.read_folder`.
        """
        return carried(self._stored) if is_wrapper(self.written) else Carried(tensors=self._predictors)

    @cached_property
    def _stored(self) -> dict[str, Stored]:
        return read_folder(self.path, self.written.get("transformers_weights"))

    @property
    def _text(self) -> dict[str, Stored]:
        if not is_wrapper(self.written):
            predictors = self._predictors
            return {name: tensor for name, tensor in self._stored.items() if name not in predictors}
        return {name: self._stored[written] for name, written in text_names(self._stored).items()}

    @property
    def _predictors(self) -> dict[str, Stored]:
        return predictors(self._stored, self.config.model_type, self.config.num_hidden_layers)

    def _heads_differ(self, config: ModelConfig) -> bool:
        if not self.has_model:
            return False
        pairs = [[self._text.get(name) for name in pair] for pair in tied_head(config).items()]
        return any(head and embedding and not same_bytes(head, embedding) for head, embedding in pairs)

    @property
    def _config(self) -> Path:
        return self.path / "config.json"


def find_model(repo_or_folder: "str | Path | ModelFolder", revision: str | None, token: str | None) -> ModelFolder:
    """Returns the folder of a model, downloaded if it is on the hub.

    Raises:
        ConfigError: a revision of a folder here.
        WeightsError: neither a folder here nor a model that could be downloaded.
    """
    folder = local_model(repo_or_folder)
    if folder is not None:
        check_revision(folder, revision)
        return folder
    name = str(repo_or_folder)
    import huggingface_hub  # imported here: a local folder needs no network library
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        path = huggingface_hub.snapshot_download(
            name, revision=revision, token=token, allow_patterns=list(_HUB_PATTERNS), ignore_patterns=list(_HUB_SKIPPED)
        )
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise WeightsError(
            f"{name!r} is neither a folder here nor a model that the Hugging Face Hub gave us: {error}"
        ) from error
    return ModelFolder(Path(path), name)


def check_revision(model: "str | ModelFolder", revision: str | None) -> None:
    """Raises ConfigError for a revision of a folder here, which has none."""
    if revision is not None and isinstance(model, ModelFolder):
        raise ConfigError(
            f"revision = {revision!r} has no effect on the folder {model.name}: models on the hub alone have one. "
            "Leave it out, or give the name of the model on the hub."
        )


def local_model(repo_or_folder: "str | Path | ModelFolder") -> ModelFolder | None:
    """Returns the folder of that name, or None where it can be the name of a model on the hub.

    Raises:
        WeightsError: it can only be a path, and does not exist.
    """
    if isinstance(repo_or_folder, ModelFolder):
        return repo_or_folder
    folder, name = Path(repo_or_folder).expanduser(), str(repo_or_folder)
    if folder.is_dir():
        return ModelFolder(folder, name)
    if folder.exists():
        raise WeightsError(f"{folder} is a file; a model or tokenizer is a folder, or a Hugging Face Hub id.")
    is_path = isinstance(repo_or_folder, Path) or name.startswith(("/", ".", "~")) or name.endswith("/")
    if is_path or name.count("/") > 1:
        raise WeightsError(f"{folder} does not exist. A Hugging Face Hub id looks like 'owner/name'.")
    return None
