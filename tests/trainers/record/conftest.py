"""For the tests of trackers: a machine on which nobody is logged in."""

import os
import tempfile
from pathlib import Path

import pytest

# Read by trackio when it is imported.
os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="easydel-trackio-")


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this the machine of somebody who is logged in nowhere."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home / "wandb"))
