"""Uploading a trained model to the Hugging Face Hub. The token is the user's own: it is in no setting and no file."""

from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import (
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  # of whichever HTTP library it uses
)

from easydel.errors import ConfigError
from easydel.processes import by_first
from easydel.trainers.config import DPOConfig
from easydel.weights.folder import SET_ASIDE

_HINT = "Log in with `hf auth login`, or set HF_TOKEN, to an account that may write there, or leave push_to_hub out."


def open_repository(name: str, *, private: bool, token: str | None = None) -> str:
    """Returns the whole name, `owner/name`, of a model repository that we may write to; makes it where it is missing.

    Args:
        name: without an owner it is put under the account of the token.
        private: of a new repository.
        token: None takes that of `hf auth login` or HF_TOKEN.

    Raises:
        ConfigError: no account is logged in, the hub refused, or it cannot be reached.
    """
    if not (token or get_token()):
        raise ConfigError(f"the hub cannot be written to: no account is logged in. {_HINT}")
    try:
        return HfApi(token=token).create_repo(name, private=private or None, exist_ok=True).repo_id
    except HFValidationError as error:
        raise ConfigError(f"hub_model_id = {name!r} is not a valid repository name: {_first(error)}") from None
    except (HTTPError, OSError) as error:
        raise ConfigError(f"the hub does not let us write to {name!r}: {_first(error)} {_HINT}") from None


def upload(folder: Path, repository: str, *, token: str | None = None) -> str:
    """Uploads the files of a model folder as one commit, and returns the address of the repository.

    Raises:
        ConfigError: the hub refused them, or cannot be reached; the folder is as it was.
    """
    api = HfApi(token=token)
    try:
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Model trained with easydel-dpo",
            ignore_patterns=[f"{SET_ASIDE}/*", f"{SET_ASIDE}.*/*"],  # what lay in the folder before
        )
    except (HTTPError, OSError) as error:
        raise ConfigError(
            f"{folder} could not be uploaded to {repository}: {_first(error)} The folder is complete; try again with "
            f"`hf upload {repository} {folder}`."
        ) from None
    return f"{api.endpoint}/{repository}"


def requested_repository(config: DPOConfig) -> str | None:
    """Returns the whole name of the repository that a run will be uploaded to, which is made; None is nowhere.

    Of several processes the first one sees to it, and the others return None.

    Raises:
        ConfigError: the hub refused, or cannot be reached; in each process.
    """
    if not config.push_to_hub:
        return None
    name = config.hub_model_id or config.model_name
    return by_first(lambda: open_repository(name, private=config.hub_private_repo))


def _first(error: Exception) -> str:
    """Returns the first line of what an error says; the rest is requests and headers."""
    return str(error).strip().split("\n")[0].rstrip(".") + "."
