"""Token ids kept on disk: rows that were tokenized once, by the same tokenizer, are read and not tokenized again.

A file holds the token ids of some hundred rows as they are before truncation, and is named after what they depend on:
the text of the rows, the tokenizer as it would be saved, and the code here. Limits may change without a row being
tokenized again, and of a dataset that grew only the new rows are tokenized.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np

from easydel.data.cache import content_key, open_cache, read_arrays, write_arrays
from easydel.data.format import NO_COLUMNS, content_of
from easydel.data.python_rows import Row
from easydel.data.template_date import asks_for_day
from easydel.data.token_id_rows import id_columns
from easydel.data.tokenize import Joined
from easydel.data.tokenizer import Tokenizer, encoded
from easydel.errors import warn
from easydel.json_objects import read_object

VERSION = "4"  # of the way from a row to its token ids: another one makes every cached file again
# Less is tokenized in the time that it takes to write a large tokenizer down for its key, half a second.
MIN_ROWS, MIN_BYTES = 2000, 1_000_000
# What a tokenizer notes down of how it was loaded, and not of how it works.
_OF_LOADING = ("is_local", "local_files_only", "name_or_path")
_PROBE = "The 3 quick brown foxes, naïve; don't\n\tjump: 狐 🦊 <|end|> </s>"


@dataclass
class TokenCache:
    """The kept token ids of one tokenizer. With `folder` None nothing is kept or found."""

    folder: Path | None
    tokenizer: Tokenizer | None
    columns: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        directory: str | None,
        tokenizer: Tokenizer | None,
        some_rows: Sequence[Row],
        columns: Mapping[str, Any] = NO_COLUMNS,
    ) -> Self:
        """Returns the cache below a folder (see `open_cache`); closed for `some_rows`, the first ones, if they are few.

        Token ids that are given as they are need no cache.
        """
        texts = [row for row in some_rows if id_columns(row, columns) is None]
        worth = len(texts) >= MIN_ROWS or sum(len(_content([row], columns) or b"") for row in texts) >= MIN_BYTES
        return cls(open_cache(directory, "tokens") if worth and tokenizer is not None else None, tokenizer, columns)

    @cached_property
    def _tokenizer_key(self) -> bytes:
        return tokenizer_key(self.tokenizer).encode() if self.tokenizer is not None else b""

    def key(self, rows: Sequence[Row]) -> str | None:
        """Returns the name of what the rows become; None where nothing is kept, or they hold more than plain values."""
        if self.folder is None or any(id_columns(row, self.columns) for row in rows):
            return None
        content = _content(rows, self.columns)
        return None if content is None else content_key([self._tokenizer_key, content])

    def load(self, key: str | None) -> list[Joined] | None:
        """Returns the token ids that were stored under a key; None where there are none to be used."""
        arrays = None if self.folder is None or key is None else read_arrays(self.folder / f"{key}.npz", key)
        return None if arrays is None else list(from_arrays(arrays))

    def store(self, key: str | None, rows: Sequence[Joined]) -> None:
        """Keeps token ids under a key. Where that fails, a warning says why and no more are kept."""
        if self.folder is None or key is None:
            return
        try:
            write_arrays(self.folder / f"{key}.npz", key, to_arrays(rows))
        except OSError as error:
            warn(f"token ids are not kept in {self.folder}: {error.strerror or error}.")
            self.folder = None


def tokenizer_key(tokenizer: Tokenizer) -> str:
    """Returns 32 hex digits that tell apart tokenizers that may tokenize a row differently.

    They are made from the files that the tokenizer would be saved as (vocabulary, merges, special tokens, chat
    template), its class, the versions of the libraries, the ids of a text that is hard to tokenize and, where the
    template asks for it, the date.
    """
    parts = [VERSION, *(version(name) for name in ("transformers", "tokenizers", "jinja2")), str(type(tokenizer))]
    probe = encoded([_PROBE], tokenizer, add_special_tokens=True)
    parts.append(json.dumps([list(map(int, ids)) for ids in probe]))
    if asks_for_day(tokenizer):
        parts.append(date.today().isoformat())
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        contents = [part for path in files for part in (path.name.encode(), _without_loading(path))]
    return content_key([part.encode() for part in parts] + contents)


def _without_loading(path: Path) -> bytes:
    if path.name != "tokenizer_config.json":
        return path.read_bytes()
    return json.dumps({name: value for name, value in read_object(path).items() if name not in _OF_LOADING}).encode()


def _content(rows: Sequence[Row], columns: Mapping[str, Any]) -> bytes | None:
    """What the token ids of rows depend on, as bytes; None if it holds more than plain values."""
    try:
        texts = [content_of(row, columns) for row in rows]
        return json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError):  # an object of its own, or one that holds itself
        return None


def to_arrays(rows: Sequence[Joined]) -> dict[str, np.ndarray]:
    """Returns rows as a few arrays; masks, which few rows have, as bits."""
    sides = [ids for row in rows for ids in (row.prompt, row.chosen, row.rejected)]
    masks = [mask for row in rows for mask in (row.chosen_trained, row.rejected_trained)]
    return {
        "ids": np.fromiter((token for ids in sides for token in ids), np.int32),
        "lengths": np.array([len(ids) for ids in sides], np.int32),
        "merged": np.array([row.merged for row in rows], np.int32),
        "masked": np.array([0 if mask is None else len(mask) for mask in masks], np.int32),
        "trained": np.packbits(np.fromiter((token for mask in masks for token in mask or ()), bool)),
        "losses": np.array([len(row.lost) for row in rows], np.int32),
        "lost": np.array([cause for row in rows for cause in row.lost], str),
        "dropped": np.array([row.dropped for row in rows], str),
    }


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Iterator[Joined]:
    """Yields the rows of `to_arrays`."""
    sides = _parted(arrays["ids"].tolist(), arrays["lengths"])
    bits = np.unpackbits(arrays["trained"], count=int(arrays["masked"].sum()))
    masks = _parted(bits.astype(bool).tolist(), arrays["masked"])
    causes = _parted(arrays["lost"].tolist(), arrays["losses"])
    rows = zip(arrays["merged"].tolist(), causes, arrays["dropped"].tolist(), strict=True)
    for at, (changed, left_out, cause) in enumerate(rows):
        prompt, chosen, rejected = sides[3 * at : 3 * at + 3]
        of_chosen, of_rejected = (mask or None for mask in masks[2 * at : 2 * at + 2])
        yield Joined(prompt, chosen, rejected, changed, of_chosen, of_rejected, tuple(left_out), cause)


def _parted(values: list[Any], lengths: np.ndarray) -> list[list[Any]]:
    ends = np.cumsum(lengths).tolist()
    return [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]
