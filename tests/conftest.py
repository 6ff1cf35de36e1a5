"""What every test gets: eight CPU devices, set before jax starts, and the way to the data outside the repository."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from oracles.quick import QUICK
from oracles.strict import promote_strictly

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ["HF_HUB_OFFLINE"] = "1"
# `make test` compiles all but the tests marked `exact` so. Without the variable every test runs what users run.
if os.environ.get("EASYDEL_COMPILE") == "quick":
    os.environ["XLA_FLAGS"] += QUICK
# Most of the time of a test is compilation, and many tests compile the same small program.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "xla")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

# What a run keeps for the next one must not come from another test, nor land in the home of who runs the tests.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="easydel-tests-")

import pytest
from jaxtyping import install_import_hook

# In the plain part of `make test` the shapes in the signatures of the package are checked wherever a test goes through
# them, and jax promotes no dtype by itself. The other parts compute as users do.
STRICT = os.environ.get("EASYDEL_COMPILE") == "quick"
if STRICT:
    install_import_hook("easydel", "oracles.strict.checked")


def pytest_collection_finish() -> None:
    """Makes jax strict, and keeps what was imported from being looked through for garbage: a tenth of the time."""
    if STRICT and "jax" in sys.modules:
        promote_strictly()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


MOST_MAPS = 20_000  # of memory; Linux gives a process 65,530, and jax aborts one that is refused more


@pytest.fixture(autouse=True)
def few_memory_maps() -> Iterator[None]:
    """Drops compiled programs where there are many: each takes hundreds of maps, as long as jax remembers it."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text(encoding="utf-8").count("\n") > MOST_MAPS:
        import jax

        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with known answers, a real model and real pairs; tests that need it skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip(f"needs {folder}, which holds known answers, models and data and is not part of the repository")
    return folder
