"""Rows of numbers in files of every format."""

import csv
import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet


def write_numbered(path: Path, start: int = 0, stop: int = 10) -> Path:
    """Writes rows {"prompt": "<number>", ...} in the format that the name of a file says, and returns its path."""
    rows = [{"prompt": str(n), "chosen": "yes, sir", "rejected": "no\nway"} for n in range(start, stop)]
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", newline="") as file:
        if kind in ("csv", "tsv"):
            writer = csv.DictWriter(file, rows[0], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
        elif kind == "json":
            json.dump(rows, file, indent=1)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path
