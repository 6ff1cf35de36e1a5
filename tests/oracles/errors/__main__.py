"""Writes what the cases raise into docs/errors.md, below their headings; run it in `tests/`."""

import conftest  # noqa: F401 - sets the environment of the tests, in which nothing asks the hub
from oracles.errors.page import main

main()
