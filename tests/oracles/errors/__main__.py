"""Writes what the cases raise into docs/errors.md, below their headings."""

from oracles.errors.page import main

main()
