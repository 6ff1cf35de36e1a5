"""What a command line looks at before minutes go into loading models: tokenizers, folders of models, mesh sizes."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from easydel.data.endings import check_ending
from easydel.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
# What transformers raises for a tokenizer that is missing, damaged, or in need of a package.
_TOKENIZER_ERRORS = (OSError, ValueError, TypeError, LookupError, ImportError)


def axis_dims(sharding_axis: str) -> tuple[int, ...]:
    """Returns the mesh sizes of a text such as "1,-1,1,1,1".

    Raises:
        ConfigError: it is none.
    """
    try:
        dims = tuple(int(size) for size in sharding_axis.split(","))
    except ValueError:
        dims = ()
    if len(dims) != 5:
        raise ConfigError(
            f"sharding_axis = {sharding_axis!r} must be five whole numbers, dp,fsdp,ep,tp,sp, such as 1,-1,1,1,1."
        )
    return dims


def check_model(name: str | None) -> None:
    """Raises ConfigError or WeightsError for a folder here that holds no model we can build."""
    from easydel.models.folders import check_folder, local_folder

    folder = None if name is None else local_folder(name)
    if folder is not None:
        check_folder(folder)


def load_tokenizer(name: str, revision: str | None) -> "PreTrainedTokenizerBase":
    """Returns the tokenizer in a folder or on the hub.

    Raises:
        ConfigError: there is none, or it has no token to end a completion with.
        WeightsError: a path that is no folder.
    """
    from easydel.models.folders import local_folder

    folder = local_folder(name)
    if folder is not None and not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ConfigError(
            f"{name!r} holds no tokenizer, none of {', '.join(TOKENIZER_FILES)}: name another folder or a hub name "
            "with --processor_repo_id."
        )
    from transformers import AutoTokenizer

    try:
        # False, not left out: transformers would ask on the terminal whether to run code that came with the tokenizer.
        tokenizer = AutoTokenizer.from_pretrained(
            folder or name,
            revision=revision or "main",
            local_files_only=folder is not None,
            trust_remote_code=False,
        )
    except _TOKENIZER_ERRORS as error:
        raise ConfigError(
            f"Cannot load a tokenizer from {name!r} (name another with --processor_repo_id): "
            + f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    if folder is not None and tokenizer.chat_template is None:
        tokenizer.chat_template = _template_of_processor(folder)
    try:
        check_ending(tokenizer)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    return tokenizer


def _template_of_processor(folder: Path) -> str | None:
    """Returns the chat template that older versions wrote for the processor of a model, where there is no other."""
    from easydel.models.folders import read_json

    file = folder / "chat_template.json"
    found = read_json(file).get("chat_template") if file.is_file() else None
    if not isinstance(found, str):
        return None
    warnings.warn(
        f"the chat template is that of {file}, as the tokenizer has none of its own: AutoTokenizer leaves it out, the "
        "saved model will have it as chat_template.jinja.",
        stacklevel=3,
    )
    return found
