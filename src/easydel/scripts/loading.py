"""What a command line checks before it loads a model, which takes minutes: mesh sizes, model folders, tokenizers."""

from pathlib import Path
from typing import TYPE_CHECKING

from easydel.data.endings import check_ending
from easydel.errors import ConfigError, warn
from easydel.json_objects import read_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from easydel.models.folders import ModelFolder

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
# What transformers raises for a tokenizer that is missing, damaged, or in need of a package.
_TOKENIZER_ERRORS = (OSError, ValueError, TypeError, LookupError, ImportError)


def axis_dims(sharding_axis: str) -> tuple[int, ...]:
    """Returns the mesh sizes of a string such as "1,-1,1,1,1".

    Raises:
        ConfigError: a string of another form.
    """
    try:
        dims = tuple(int(size) for size in sharding_axis.split(","))
    except ValueError:
        dims = ()
    if len(dims) != 5:
        raise ConfigError(
            f"sharding_axis = {sharding_axis!r} must be five integers, dp,fsdp,ep,tp,sp, such as 1,-1,1,1,1."
        )
    return dims


def find_model(name: str) -> "str | ModelFolder":
    """Returns the model folder of that name, opened and checked, or the name where it can be one on the hub.

    Raises:
        ConfigError, WeightsError: a folder here that does not hold a model that is supported.
    """
    from easydel.models.folders import local_model

    folder = local_model(name)
    if folder is None:
        return name
    folder.check()
    return folder


def load_tokenizer(model: "str | ModelFolder", revision: str | None) -> "PreTrainedTokenizerBase":
    """Returns the tokenizer in a folder or on the hub.

    Raises:
        ConfigError: there is no tokenizer, or it has no token to end a completion with.
        WeightsError: a path that is not a folder.
    """
    from easydel.models.folders import local_model

    opened = local_model(model)
    name, folder = (str(model), None) if opened is None else (opened.name, opened.path)
    if folder is not None and not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ConfigError(
            f"{name!r} has no tokenizer ({', '.join(TOKENIZER_FILES)}): name another folder or a hub name with "
            "--processor_repo_id."
        )
    from transformers import AutoTokenizer

    try:
        # False, not left out: transformers would ask on the terminal whether to run code that came with the tokenizer.
        tokenizer = AutoTokenizer.from_pretrained(
            folder or name, revision=revision or "main", local_files_only=folder is not None, trust_remote_code=False
        )
    except _TOKENIZER_ERRORS as error:
        raise ConfigError(
            f"cannot load a tokenizer from {name!r} (name another with --processor_repo_id): "
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
    """Returns the chat template that older versions of transformers wrote for the processor of a model."""
    file = folder / "chat_template.json"
    found = read_object(file).get("chat_template") if file.is_file() else None
    if not isinstance(found, str):
        return None
    warn(
        f"using the chat template of {file}, as the tokenizer has none: AutoTokenizer does not read that file. The "
        "saved model will have it as chat_template.jinja."
    )
    return found
