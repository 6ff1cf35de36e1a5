"""Measures attention, the head and whole steps on the device that jax finds, and writes what came out.

    python -m benchmarks.gpu --parts attention,head,training

Off a GPU all is done at a small size, which shows that the scripts run and says nothing of speed; so does the page.
`python -m benchmarks --device gpu --models qwen2.5-0.5b,llama-3.2-1b --systems ours,trl` trains beside TRL.
"""

import argparse
import datetime
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.environments import HERE
from benchmarks.gpu import attention, head, training
from benchmarks.gpu.lengths import random_rows, word_tokenizer
from benchmarks.machine import commit
from benchmarks.pairs import Limits, cut_pairs
from benchmarks.tables import table

_VOCABULARY = 4096  # of the pairs whose layout attention is measured on


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the page, writes it where `--out` says, and returns the exit status."""
    options = parse(sys.argv[1:] if argv is None else argv)
    device = jax.devices()[0]
    real = device.platform == "gpu" and not options.small
    parts = [f"## {name.capitalize()}\n\n{PARTS[name](real)}" for name in options.parts]
    page = "\n\n".join([heading(device, real), *parts]) + "\n"
    print(page)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page, encoding="utf-8")
    return 0


def heading(device: Any, real: bool) -> str:
    """Returns what the figures are of."""
    found = f"{device.device_kind} ({device.platform}), jax {jax.__version__}"
    when = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit()}, `python -m benchmarks.gpu`"
    said = "" if real else "\n\n**At a small size: this shows that the scripts run here, and nothing of speed.**"
    return f"# {found}\n\n{when}.{said}"


def attention_part(real: bool) -> str:
    """Returns the table of attention on packed rows of pairs of up to 2,048 tokens."""
    limits, count = (Limits(2048), 16) if real else (Limits(128), 2)
    pairs = cut_pairs(random_rows(count, _VOCABULARY, limits.max_length), word_tokenizer(_VOCABULARY), limits)
    return table(attention.HEADER, attention.rows(pairs, attention.REAL if real else attention.SMALL))


def head_part(real: bool) -> str:
    """Returns the table of the head."""
    return table(head.HEADER, head.rows(head.REAL if real else head.SMALL))


def training_part(real: bool) -> str:
    """Returns the table of whole runs."""
    return table(training.HEADER, training.rows(training.REAL if real else training.SMALL))


PARTS: dict[str, Callable[[bool], str]] = {"attention": attention_part, "head": head_part, "training": training_part}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the options; wrong ones end the program with a message."""

    def parts(text: str) -> list[str]:
        if unknown := [name for name in text.split(",") if name not in PARTS]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}.")
        return text.split(",")

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", type=parts, default=",".join(PARTS), help="with commas")
    parser.add_argument("--small", action="store_true", help="small sizes on a GPU too, to try the scripts")
    parser.add_argument("--out", type=Path, help=f"file for the page, such as {HERE.name}/gpu/results.md")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
