"""Compiles programs for accelerators that are not here, and prints what they say beside what it was and should be.

    python -m benchmarks.compiled --rows half-frozen-H200,passes-H200

A row is one entry of `ROWS` in a file beside this one. Each is compiled in a process of its own, which finds the
compilers of GPUs and TPUs in an environment that is made when it is first needed. Nothing is run and no weight is made.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from benchmarks.compiled import attention, frozen_layers
from benchmarks.compiled.devices import DEVICES, SETTINGS, WITHOUT_A_TPU
from benchmarks.compiled.row import Row
from benchmarks.environments import compilers
from benchmarks.machine import commit
from benchmarks.tables import table

FILES = (frozen_layers, attention)
ROWS = {row.name: row for file in FILES for row in file.ROWS}
HEADER = ["row", "what", "device", "before", "now", "target", "met"]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table and returns the exit status: 1 where a target is missed."""
    options = parse(sys.argv[1:] if argv is None else argv)
    if options.here:  # the process of one row
        row = ROWS[options.rows[0]]
        print(json.dumps(row.measure(DEVICES[row.device](), options.small)))
        return 0
    found = {name: measured(name, small=options.small) for name in options.rows}
    said = " at small sizes, which say nothing of the targets" if options.small else ""
    print(
        f"`python -m benchmarks.compiled`{said}, jax {jax.__version__}, {datetime.date.today()}, commit {commit()}.\n"
    )
    print(table(HEADER, [line(ROWS[name], figure) for name, figure in found.items()]))
    return 0 if options.small or all(is_met(ROWS[name], figure) is not False for name, figure in found.items()) else 1


def measured(name: str, *, small: bool) -> float:
    """Returns the figure of a row, from a process that has the compilers."""
    root, source = Path(__file__).parents[2], Path(__file__).parents[2] / "src"
    # Without a device: jax would look for one, and its plugins check that they are complete.
    settings = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(map(str, (root, source, compilers())))}
    settings |= WITHOUT_A_TPU | SETTINGS[ROWS[name].device]
    words = ["--here", "--rows", name, *(["--small"] if small else [])]
    command = [sys.executable, "-m", "benchmarks.compiled", *words]
    said = subprocess.run(command, env={**os.environ, **settings}, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(said.stdout.splitlines()[-1])


def is_met(row: Row, figure: float) -> bool | None:
    """Returns whether a figure is what it should be; None where there is no target."""
    return None if row.target is None else figure <= row.target


def line(row: Row, figure: float) -> list[str]:
    """Returns the row of the table."""
    before, target = ("-" if value is None else f"{value:g}" for value in (row.before, row.target))
    met = {None: "", True: "yes", False: "no"}[is_met(row, figure)]
    return [row.name, row.what, row.device, before, f"{figure:.3g}", target, met]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the options; wrong ones end the program with a message."""

    def names(text: str) -> list[str]:
        if unknown := [name for name in text.split(",") if name not in ROWS]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(ROWS)}.")
        return text.split(",")

    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiled", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=names, default=",".join(ROWS), help="with commas")
    parser.add_argument("--small", action="store_true", help="small sizes, to try the programs")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
