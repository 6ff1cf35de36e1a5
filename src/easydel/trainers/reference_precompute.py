"""Reference log-probabilities of single tokens, computed once for a set of pairs and looked up in every batch after."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from easydel.data.batch_layout import BatchLayout
from easydel.data.cache import content_key
from easydel.data.loader import Loader, make_loader
from easydel.data.pack import Batch
from easydel.data.prefetch import prefetch
from easydel.display.display import SILENT, Display
from easydel.errors import ConfigError, warn
from easydel.logprobs import completion_statistics
from easydel.models.decoder import COMPILER_OPTIONS, Decoder
from easydel.processes import agreed, from_first, is_first, on_host
from easydel.sharding import RULES
from easydel.trainers.batch_placement import on_mesh, placed
from easydel.trainers.fingerprints import weights_fingerprints
from easydel.trainers.reference_cache import (
    PairLogps,
    by_pair,
    in_slots,
    open_folder,
    pair_key,
    read_shards,
    to_arrays,
    to_pair_logps,
    write_shard,
)
from easydel.trainers.signals import wait_for

# Raise it when decoder or head come to compute other numbers: what was cached before is then not found.
NUMBERS_VERSION = 1

PerToken = Float[Array, "micro shards slots"]


class Precompute(NamedTuple):
    """How the log-probabilities of a reference are computed before training."""

    cache: Path | None  # the folder that keeps them, for all references; None keeps them in memory only
    mesh: Mesh  # where batches are put
    batch_size: int | None = None  # pairs at a time; None takes the batches of the loader
    shard_pairs: int = 256  # to a file, rounded up to whole batches; a killed run repeats at most one file
    display: Display = SILENT  # shows how far it is


class Precomputed:
    """The log-probabilities of the completion tokens under one reference, for the sets of pairs that were prepared."""

    def __init__(self, decoder: Decoder, settings: Precompute, *, chunk: int) -> None:
        self._decoder = decoder
        self._settings = settings
        self._per_token = make_token_step(decoder, chunk=chunk)
        self._keeps = agreed(settings.cache is not None)
        self._origin: str | None = None  # known with the first weights
        self._folder: Path | None = None  # of the first of several processes only, which reads and writes for all
        self._known: dict[str, PairLogps] = {}  # by `pair_key`
        self._sets: dict[str, Mapping[int, PairLogps]] = {}  # by name, then by `Pair.index`

    def prepare(self, name: str, loader: Loader, params: PyTree | None, *, max_batches: int | None = None) -> None:
        """Computes what is not known yet of a set of pairs, see `Reference.prepare`; `params` None can only look up.

        Raises:
            ConfigError: some log-probabilities are not known, and `params` is None.
        """
        max_pairs = None if max_batches is None else max_batches * loader.layout.total_batch_size
        order = loader.order(0)[:max_pairs].tolist()
        keys = [pair_key(loader.pairs[at]) for at in order]
        if self._keeps and self._origin is None and params is not None:
            self._origin = origin(self._decoder, params)
            if is_first() and self._settings.cache is not None:
                self._folder = open_folder(self._settings.cache, self._origin)
        unknown = set(keys) - self._known.keys()
        if unknown and self._origin is not None:
            here = {} if self._folder is None else read_shards(self._folder, unknown)
            self._known |= to_pair_logps(from_first(to_arrays(here)))
        found = len(unknown & self._known.keys())
        if found:
            self._settings.display.say(f"reference log-probabilities of {name}: {found:,} pairs were in the cache")
        missing = {key: at for key, at in zip(keys, order, strict=True) if key not in self._known}
        if missing and params is None:
            raise ConfigError(
                f"{len(missing)} of the {len(order)} pairs of {name!r} have no precomputed log-probabilities of the "
                "reference, whose weights were released when training began: give these rows as an eval_dataset, or "
                "leave precompute_ref_log_probs off."
            )
        if missing:
            self._compute(name, loader, missing, params)
        self._sets[name] = {loader.pairs[at].index: self._known[key] for key, at in zip(keys, order, strict=True)}

    def per_token(self, name: str, batch: Batch) -> PerToken:
        """Returns the log-probabilities of a batch of a prepared set, in the batch's slots on the devices."""
        by_slot = NamedSharding(self._settings.mesh, PartitionSpec(None, RULES["rows"]))
        return placed([in_slots(self._sets[name], batch)], [by_slot])[0]

    def _compute(self, name: str, loader: Loader, missing: Mapping[str, int], params: PyTree) -> None:
        """Computes pairs in order and writes each shard when it is complete.

        What a killed process has left to do are whole shards of the same pairs, whose batches are the same: it ends
        with the same files as a process that was never killed.
        """
        left = _batches_of(loader, list(missing.values()), self._settings.batch_size)
        keys = list(missing)
        per_shard = -(-self._settings.shard_pairs // left.layout.total_batch_size)
        with (
            prefetch(left.batches(), wait_for=wait_for) as ahead,
            self._settings.display.work(f"reference of {name}", unit="pairs", total=len(keys)) as work,
        ):
            while computed := [
                (batch, self._per_token(params, on_mesh(batch, self._settings.mesh)))
                for _, batch in islice(ahead, per_shard)
            ]:
                shard: dict[str, PairLogps] = {}
                for batch, per_token in computed:  # fetched here only, so that the device never waits for the host
                    shard |= {keys[at]: sides for at, sides in by_pair(on_host(per_token), batch).items()}
                self._keep(shard)
                work.advance(len(shard))
        self._settings.display.say(f"reference log-probabilities of {name}: {work.amount} computed")

    def _keep(self, shard: Mapping[str, PairLogps]) -> None:
        self._known |= shard
        if self._folder is None:
            return
        try:
            write_shard(self._folder, shard)
        except OSError as error:
            warn(
                f"reference log-probabilities could not be written to {self._folder}: {error.strerror or error}. They "
                "are kept in memory, and computed again by the next run. Make room, or set cache_directory."
            )
            self._folder = None


def make_token_step(decoder: Decoder, *, chunk: int) -> Callable[[PyTree, Batch], PerToken]:
    """Returns the compiled `(params, batch) -> log-probabilities of the completion tokens`, in the batch's slots.

    It is the policy's own code with the policy's chunking, as `step_functions.make_reference_step` is.
    """

    def per_token(params: PyTree, batch: Batch) -> PerToken:
        def one(part: Batch) -> Float[Array, "shards slots"]:
            return completion_statistics(decoder, params, part, chunk=chunk)[0].logp

        if batch.tokens.shape[0] == 1:
            return one(jax.tree.map(lambda x: x[0], batch))[None]
        return jax.lax.map(one, batch)

    return jax.jit(per_token, compiler_options=COMPILER_OPTIONS)


def origin(decoder: Decoder, params: PyTree) -> str:
    """Returns what log-probabilities of given tokens depend on, as 32 hex digits: the weights and how they are used.

    All weights are read, bit for bit: a cache outlives its run and meets models that differ in one layer or adapter,
    and reading them takes far less than a pass over the pairs. The batch, the head's chunk and how arrays are split
    over devices are left out: they change how sums are rounded, not what is computed.
    """
    facts = {
        "version": NUMBERS_VERSION,
        "model": decoder.config,
        "platform": decoder.mesh.devices.flat[0].platform,
        "dtype": decoder.dtype,
        "precision": decoder.precision or jax.default_matmul_precision.value,
        "attention": decoder.attn_mechanism,
    }
    facts |= {"weights": weights_fingerprints(params)[0]}
    return content_key(f"{name} {value}".encode() for name, value in facts.items())


def _batches_of(loader: Loader, members: Sequence[int], batch_size: int | None) -> Loader:
    """Returns the loader of some pairs of another in the order given, `Pair.index` being their place in it.

    The shapes are planned for all pairs of the loader: they must not depend on what is left to do.
    """
    pairs = [loader.pairs[at]._replace(index=place) for place, at in enumerate(members)]
    if batch_size is not None:
        all_pairs = [loader.pairs[at] for at in loader.order(0).tolist()]
        known = loader.layout
        layout = BatchLayout(batch_size, row_shards=known.row_shards, length_shards=known.length_shards)
        loader = replace(loader, layout=make_loader(all_pairs, layout, shuffle=False).layout)
    return replace(loader, pairs=pairs, measured=loader.measured[list(members)], seed=None)
