"""Reference log-probabilities of single tokens by pair: on disk, under what determines them, and laid out for a batch.

A folder belongs to one reference, see `reference_precompute.origin`. A pair goes by its tokens, so that another order,
another batch size or a larger dataset find what is there; the loss has no part in it, as sums are made from the tokens
later. A shard is a file of many pairs, named after them, that appears when it is complete.
"""

import stat
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from easydel.data.cache import content_key, read_arrays, write_arrays
from easydel.data.pack import Batch
from easydel.data.pair import Pair

# Log-probabilities of the completion tokens of chosen and rejected that bear loss, float32.
PairLogps = tuple[Float[np.ndarray, "chosen"], Float[np.ndarray, "rejected"]]
_ABANDONED_SECONDS = 3600.0  # a file that has been half written for longer was left by a process that was killed


def pair_key(pair: Pair) -> str:
    """Returns what a pair goes by: a digest of its tokens after truncation, and of which of them bear loss.

    >>> pair_key(Pair([1], [2], [3], index=0)) == pair_key(Pair([1], [2], [3], index=7, weight=0.5))
    True
    >>> pair_key(Pair([1], [2], [3])) == pair_key(Pair([1], [3], [2]))
    False
    """
    contexts = [pair.chosen_context, pair.rejected_context]
    parts = [pair.prompt, pair.chosen, pair.rejected, contexts, *pair.masks]
    return content_key(np.asarray(ids, "<i4").tobytes() for ids in parts)


def open_folder(root: Path, origin: str) -> Path:
    """Returns the folder of one reference, made if need be, without what killed processes left half written."""
    folder = root / origin
    folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
    for part in folder.glob("*.part"):
        with suppress(FileNotFoundError):  # another process completed it just now
            if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                part.unlink()
    return folder


def read_shards(folder: Path, wanted: Collection[str]) -> dict[str, PairLogps]:
    """Returns the wanted pairs that are in a folder of `open_folder`.

    A shard that is cut short, damaged or of another reference is removed, with a warning that names it.
    """
    found: dict[str, PairLogps] = {}
    for path in sorted(folder.glob("*.shard")):
        arrays = read_arrays(path, folder.name)
        if arrays is None:
            path.unlink(missing_ok=True)
            continue
        for key, (chosen, rejected) in to_pair_logps(arrays).items():
            if key in wanted:
                # Copies, so that the rest of the shard is not kept in memory with them.
                found[key] = chosen.copy(), rejected.copy()
    return found


def write_shard(folder: Path, pairs: Mapping[str, PairLogps]) -> None:
    """Writes pairs to a shard of their own. The same pairs give the same bytes under the same name."""
    path = folder / f"{content_key(key.encode() for key in pairs)}.shard"
    write_arrays(path, folder.name, to_arrays(pairs))


def to_arrays(pairs: Mapping[str, PairLogps]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Returns pairs as arrays: their keys [pairs], the length of each completion [2 * pairs], all values [tokens]."""
    sides = [side for pair in pairs.values() for side in pair]
    return {
        "pairs": np.array(list(pairs), str),
        "lengths": np.array([len(side) for side in sides], "<i4"),
        "logps": np.concatenate([*sides, np.zeros(0)]).astype("<f4"),
    }


def to_pair_logps(arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> dict[str, PairLogps]:
    """Returns the pairs of `to_arrays`; their values are parts of one array."""
    sides = np.split(arrays["logps"], np.cumsum(arrays["lengths"])[:-1])
    return {key: (sides[2 * at], sides[2 * at + 1]) for at, key in enumerate(arrays["pairs"].tolist())}


def places(batch: Batch) -> tuple[Int[np.ndarray, "micro shards slots"], Int[np.ndarray, "ends"]]:
    """Returns the place of each slot among the completion tokens of a batch put end to end, and where completions end.

    The order is micro-batch, pair, chosen and rejected, token; padding is all at the place behind the last token.
    """
    micro, pairs, _ = batch.lengths.shape
    ends = np.cumsum(batch.lengths.reshape(-1))
    starts = np.concatenate([[0], ends[:-1]]).reshape(micro, 2 * pairs)
    starts = np.concatenate([starts, np.full((micro, 1), ends[-1])], axis=1)  # `sequence` of padding is 2 * pairs
    by_slot = np.take_along_axis(starts, batch.sequence.reshape(micro, -1), axis=1).reshape(batch.sequence.shape)
    return by_slot + batch.offset, ends


def by_pair(per_token: Float[np.ndarray, "micro shards slots"], batch: Batch) -> dict[int, PairLogps]:
    """Returns what the slots of a batch hold, by `Batch.index` of the pair, without padding."""
    at, ends = places(batch)
    values = np.zeros(ends[-1] + 1, np.float32)
    values[at] = per_token
    sides = np.split(values[:-1], ends[:-1])
    index = batch.index.reshape(-1).tolist()
    return {row: (sides[2 * pair], sides[2 * pair + 1]) for pair, row in enumerate(index) if row >= 0}


def in_slots(sides: Mapping[int, PairLogps], batch: Batch) -> Float[np.ndarray, "micro shards slots"]:
    """Returns the values of the pairs of a batch in its slots, 0 for padding; the inverse of `by_pair`."""
    at, _ = places(batch)
    values = [side for row in batch.index.reshape(-1).tolist() if row >= 0 for side in sides[row]]
    return np.concatenate([*values, np.zeros(1, np.float32)])[at]
