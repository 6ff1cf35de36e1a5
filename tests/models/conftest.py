"""The model folder that several tests of models read."""

from pathlib import Path

import pytest

from oracles.cases import CASES
from oracles.folders import write_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama with grouped heads, as a folder."""
    return write_model(tmp_path_factory.mktemp("model"), CASES["llama-gqa"])
