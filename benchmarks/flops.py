"""How much arithmetic the layouts of the three programs cost on the same pairs, by formula.

    python -m benchmarks.flops --models bench-7m --results benchmarks/results.json --peak 2e11

With a results file it adds what was achieved, and with a peak (given, or known by --device) which share of it.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.models import model_folder
from benchmarks.pairs import Limits, cut_pairs, first_rows
from benchmarks.systems import Settings, runs
from benchmarks.tables import BUILD, DATA, table
from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import Position, make_loader
from easydel.data.pack import Batch
from easydel.data.pair import Pair
from easydel.models.config import ModelConfig
from easydel.models.decoder import CHUNK
from easydel.sharding import make_mesh
from easydel.trainers.flops import matmul_flops, peak_flops, step_flops
from easydel.trainers.head_plan import plan_head
from easydel.trainers.metrics import positions_computed, sequence_tokens


class Layout(NamedTuple):
    """What one update costs per pair when the pairs are laid out in one way."""

    block_tokens: float  # positions that pass the blocks, padding too
    head_tokens: float  # positions that meet the head, padding too
    padding_fraction: float  # of the positions in the blocks
    prefix_shared_fraction: float  # of the tokens of prompt + chosen and prompt + rejected: not computed twice
    flops: float  # of the matrix products, reference too, without any recomputation
    needed_flops: float  # what a program without any waste would do


def layout_of(
    system: str,
    config: ModelConfig,
    pairs: Sequence[Pair],
    limits: Limits,
    batch_size: int,
    epoch: Sequence[Pair] | None = None,
) -> Layout:
    """Returns the layout of `ours`, `trl` (or `trl-stored`) or `easydel`, averaged over the batches.

    `epoch` are the pairs that our row lengths are chosen for, of which `pairs` are the first; None takes `pairs`.

    TRL pads each side to the longest of its batch, EasyDeL to `max_length`; both send every position through the
    head. With prompt P and completions C and R that is 2 max(P + max(C, R)) and 2 max_length positions a pair.
    """
    batches = our_batches(epoch or pairs, batch_size)[: len(pairs) // batch_size]
    count = len(pairs)
    unshared = sum(map(sequence_tokens, batches))
    needed = sum(step_flops(config, batch, with_reference=True) for batch in batches)
    if system == "ours":
        tokens = int(sum(np.sum(batch.segment > 0) for batch in batches))
        blocks = sum(positions_computed(batch, CHUNK) for batch in batches)
        chunk = plan_head(make_mesh((1, 1, 1, 1, 1))).chunk
        head = sum(min(-(-int(batch.lengths.sum()) // chunk) * chunk, batch.target.size) for batch in batches)
    else:
        tokens = unshared
        blocks = head = 2 * batch_size * sum(padded_lengths(system, pairs, limits, batch_size))
    return Layout(
        block_tokens=blocks / count,
        head_tokens=head / count,
        padding_fraction=1 - tokens / blocks,
        prefix_shared_fraction=1 - tokens / unshared,
        flops=matmul_flops(config, blocks / count, head / count, with_reference=True),
        needed_flops=needed / count,
    )


def padded_lengths(system: str, pairs: Sequence[Pair], limits: Limits, batch_size: int) -> list[int]:
    """Returns the length that the sequences of each batch are padded to."""
    longest = np.array([len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) for pair in pairs])
    of_batch = longest.reshape(-1, batch_size).max(axis=1)
    return [limits.max_length if system == "easydel" else int(length) for length in of_batch]


def our_batches(pairs: Sequence[Pair], batch_size: int) -> list[Batch]:
    """Returns the packed batches that the trainer makes of the pairs, in their order, on one CPU device."""
    loader = make_loader(pairs, BatchLayout(batch_size, chunk=CHUNK), shuffle=False)
    return [loader.batch(Position(0, at)) for at in range(loader.steps_per_epoch)]


def layout_table(layouts: Mapping[str, Layout], pairs_per_second: Mapping[str, float], peak: float | None) -> str:
    """Returns the layouts as a Markdown table, one row for each run by its title, with what was achieved."""
    header = ["", "tokens/pair in blocks", "through the head", "padding", "prefix shared", "MFLOP/pair", "of it needed"]
    measured = bool(pairs_per_second)
    header += ["GFLOP/s", "needed GFLOP/s"] if measured else []
    header += ["MFU"] if measured and peak else []
    rows = []
    for title, layout in layouts.items():
        row = [title, f"{layout.block_tokens:.0f}", f"{layout.head_tokens:.0f}", f"{layout.padding_fraction:.1%}"]
        row += [f"{layout.prefix_shared_fraction:.1%}", f"{layout.flops / 1e6:,.0f}"]
        row += [f"{layout.needed_flops / layout.flops:.0%}"]
        if title in pairs_per_second:
            rate = pairs_per_second[title]
            row += [f"{rate * layout.flops / 1e9:.1f}", f"{rate * layout.needed_flops / 1e9:.1f}"]
            row += [f"{rate * layout.needed_flops / peak:.1%}"] if peak else []
        rows.append(row)
    return table(header, rows)


def read_config(folder: Path) -> ModelConfig:
    """Returns the configuration of the model in a folder."""
    return ModelConfig.from_hf(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def main() -> None:
    """Prints the table of each model; measures nothing."""
    from transformers import AutoTokenizer

    options = parse()
    settings = Settings()
    peak = options.peak or (peak_flops([SimpleNamespace(device_kind=options.device)]) if options.device else None)
    results: dict[str, Any] = {"models": {}}
    if options.results is not None:
        results = json.loads(options.results.read_text(encoding="utf-8"))
    for name in options.models.split(","):
        folder = model_folder(name, options.data, BUILD)
        tokenizer, config = AutoTokenizer.from_pretrained(folder), read_config(folder)
        rows = first_rows(options.data, tokenizer, options.batches * settings.batch_size, settings.max_length)
        layouts = {
            run.title: layout_of(
                run.system, config, cut_pairs(rows, tokenizer, run.limits), run.limits, settings.batch_size
            )
            for run in runs(("ours", "trl", "easydel"), settings)
        }
        measured = results["models"].get(name, {}).get("runs", {})
        rates = {title: run["pairs_per_second"] for title, run in measured.items()}
        print(f"\n{name}, {len(rows)} pairs\n\n{layout_table(layouts, rates, peak)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flops", description=main.__doc__)
    parser.add_argument("--models", default="stories260k,bench-7m,bench-40m", help="with commas")
    parser.add_argument("--data", type=Path, default=DATA, help="pairs, .jsonl or .jsonl.gz")
    parser.add_argument("--batches", type=int, default=16, help="how many batches to average over")
    parser.add_argument("--results", type=Path, help="a results.json, to add what was achieved")
    parser.add_argument("--peak", type=float, help="FLOP/s of the machine, for MFU")
    parser.add_argument("--device", help="name of an accelerator whose peak is known, such as 'NVIDIA H200'")
    return parser.parse_args()


if __name__ == "__main__":
    main()
