"""The hub: what is asked of it, and what is said where it refuses."""

import pytest

from easydel.errors import ConfigError
from easydel.trainers.hub import open_repository, upload
from oracles.hub import TOKEN, local_hub


@pytest.fixture
def logged_in(monkeypatch):
    """Lets this process ask a hub on loopback, with a token."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with local_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        yield hub


def test_a_hub_that_cannot_be_reached_is_an_error_before_training(monkeypatch, logged_in):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(ConfigError, match=r"the hub does not let us write to 'me/x': .* Log in with") as refused:
        open_repository("me/x", private=False)
    assert TOKEN not in str(refused.value)


def test_an_upload_that_is_refused_says_how_to_go_on(logged_in, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    logged_in.refuses = True
    with pytest.raises(
        ConfigError, match=r"(?s)could not be uploaded to me/x: .*The folder is complete; try again with `hf upload"
    ):
        upload(tmp_path, "me/x")


def test_a_private_repository_is_asked_for_as_one(logged_in):
    assert open_repository("tuned", private=True) == "me/tuned"
    assert logged_in.private is True


def test_a_name_that_no_repository_can_have_is_an_error(logged_in):
    with pytest.raises(ConfigError, match="hub_model_id = 'a/b/c' is not a valid repository name"):
        open_repository("a/b/c", private=False)


def test_without_a_login_there_is_nothing_to_write_with(monkeypatch):
    monkeypatch.setattr("easydel.trainers.hub.get_token", lambda: None)
    with pytest.raises(ConfigError, match=r"no account is logged in\. Log in with `hf auth login`"):
        open_repository("me/x", private=False)
