"""The order of the rooms of the house: imports go down only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import easydel

pytestmark = pytest.mark.quick

SOURCE = Path(easydel.__file__).parent

# Room -> the rooms it may import from, besides itself, `errors` and `json_objects`.
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "json_objects": set(),
    "display": set(),
    "sharding": set(),
    "peer_watch": set(),
    "processes": {"peer_watch"},
    "ops": {"sharding"},
    "losses": set(),
    "data": set(),
    "quickstart": set(),
    "memory": {"processes"},
    "weights": {"sharding", "processes"},
    "models": {"display", "weights", "ops", "sharding", "memory", "processes"},
    "logprobs": {"data", "ops"},
    "trainers": {
        *(
            "display",
            "processes",
            "models",
            "weights",
            "ops",
            "sharding",
            "memory",
            "logprobs",
            "data",
            "losses",
        ),
    },
}
BELOW["inspect"] = {"trainers", *BELOW["trainers"]}
BELOW["scripts"] = {"inspect", "quickstart", *BELOW["inspect"]}
BELOW["launch"] = {"scripts", "processes"}

FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    """Yields every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield node.module or ""
            # `from easydel import losses` imports a module too.
            yield from (f"{node.module}.{name.name}" for name in node.names if node.module == "easydel")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_from_rooms_below_its_own(path):
    allowed = {room_of(path), "errors", "json_objects"} | BELOW[room_of(path)]
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "easydel" and len(parts) > 1:
            assert parts[1] in allowed, f"{path.relative_to(SOURCE)} imports {module}"


def test_data_and_the_configuration_import_no_jax():
    light = [path for path in FILES if room_of(path) in ("data", "errors", "json_objects")]
    light += [*(SOURCE / "inspect").glob("*.py"), SOURCE / "scripts" / "inspect.py"]
    light += [SOURCE / "trainers" / "config.py", *(SOURCE / "trainers" / "options").glob("*.py")]
    for path in light:
        heavy = {"jax", "jaxlib", "optax", "orbax"} & {module.split(".")[0] for module in imported_modules(path)}
        assert not heavy, f"{path.relative_to(SOURCE)} imports {heavy}"
