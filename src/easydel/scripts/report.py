"""Writes the report of a run again, or compares several: `easydel-dpo report run [run ...]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from easydel.errors import ConfigError, DataError
from easydel.trainers.report.page import write_comparison, write_report


def main(argv: Sequence[str] | None = None) -> int:
    """Writes a page about the runs in the given folders, prints its path, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="easydel-dpo report", description="Write the report of a run again, or one page that compares several."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="run", help="folder of a run")
    parser.add_argument(
        "--output", type=Path, default=Path("comparison.html"), help="page of several runs (default: %(default)s)"
    )
    given = parser.parse_args(argv)
    try:
        several = len(given.runs) > 1
        print(write_comparison(given.runs, given.output) if several else write_report(given.runs[0]))
    except (ConfigError, DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
