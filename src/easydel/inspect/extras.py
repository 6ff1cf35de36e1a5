"""The packages of the extra `inspect`: which are there, and what cannot be inspected without them."""

from collections.abc import Iterator
from importlib.util import find_spec

from easydel.inspect.findings import Finding

EXTRAS = {
    "datasketch": ("datasketch", "near duplicates"),
    "sklearn": ("scikit-learn", "what words alone tell"),
}
"""Modules, each with its package and what needs it."""


def has_extra(module: str) -> bool:
    """Returns whether a package can be imported."""
    return find_spec(module) is not None


def missing_extras() -> Iterator[Finding]:
    """Yields a note for each package that is not installed."""
    for module, (package, what) in EXTRAS.items():
        if not has_extra(module):
            yield Finding(
                "not_inspected",
                "note",
                f"{what}: this needs {package}, which is not installed: `pip install '.[inspect]'` in a checkout",
                {"package": package},
            )
