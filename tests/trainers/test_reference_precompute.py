"""Computed once for a reference and tokens, whatever asks for it and however often the process is killed."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jaxtyping import PyTree

from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import Loader, make_loader
from easydel.data.pair import Pair
from easydel.display.display import make_display
from easydel.errors import ConfigError
from easydel.logprobs import completion_statistics
from easydel.models.causal_lm import CausalLM
from easydel.trainers.batch_placement import on_mesh
from easydel.trainers.reference_cache import PairLogps, by_pair
from easydel.trainers.reference_precompute import Precompute, Precomputed, origin
from oracles.disk import full_disk
from oracles.tiny import tiny_config, tiny_model, tiny_pairs

CHUNK = 16
PAIRS = tiny_pairs(24)


def small_model() -> CausalLM:
    return tiny_model(config=tiny_config(num_hidden_layers=1))


def loader_of(pairs: list[Pair], size: int = 4, parts: int = 2, seed: int = 0) -> Loader:
    return make_loader(pairs, BatchLayout(size, parts), seed=seed)


class Counted:
    """The log-probabilities of a model, and for how many pairs it was asked."""

    def __init__(self, cache: Path | None, model: CausalLM, **options: Any) -> None:
        self.computed = 0
        how = Precompute(cache, model.decoder.mesh, **{"shard_pairs": 6, **options})
        self.given = Precomputed(model.decoder, how, chunk=CHUNK)
        self.params = model.params
        compute = self.given._per_token

        def counted(params: PyTree, batch):
            self.computed += int((np.asarray(batch.index) >= 0).sum())
            return compute(params, batch)

        self.given._per_token = counted

    def prepare(self, loader: Loader, *, max_batches: int | None = None) -> "Counted":
        self.given.prepare("pairs", loader, self.params, max_batches=max_batches)
        return self

    def of(self, loader: Loader) -> list[list[float]]:
        """Chosen and rejected tokens of each pair, in the order of the pairs."""
        found: dict[int, PairLogps] = {}
        for _, batch in loader.batches():
            found |= by_pair(np.asarray(self.given.per_token("pairs", batch)), batch)
        return [np.concatenate(found[pair.index]).tolist() for pair in loader.pairs]


@pytest.fixture(scope="module")
def model() -> CausalLM:
    return small_model()


def files(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*.shard")}


def test_they_are_the_log_probabilities_of_the_tokens(model):
    loader = loader_of(PAIRS, size=6, parts=3)
    found = Counted(None, model).prepare(loader).given
    for _, batch in loader.batches():
        slots = np.asarray(found.per_token("pairs", batch))
        for part in range(3):
            micro = jax.tree.map(lambda x, part=part: x[part], batch)
            real = micro.sequence < 2 * len(micro.lengths)
            expected = completion_statistics(model.decoder, model.params, micro, chunk=CHUNK)[0].logp
            np.testing.assert_allclose(slots[part][real], np.asarray(expected)[real], atol=1e-5)
            assert not slots[part][~real].any()


def test_what_was_computed_serves_any_order_batch_and_subset_and_of_a_superset_only_the_rest_is_computed(
    model, tmp_path: Path
):
    assert Counted(tmp_path, model).prepare(loader_of(PAIRS[:20])).computed == 20
    before = files(tmp_path)
    renumbered = [pair._replace(index=100 + at, weight=2.0, margin=1.0) for at, pair in enumerate(PAIRS[:20])]
    for loader in (
        loader_of(PAIRS[:20], seed=1),
        loader_of(PAIRS[:20], size=10, parts=1),
        loader_of(PAIRS[5:9]),
        loader_of(renumbered[::-1]),
    ):
        assert Counted(tmp_path, model).prepare(loader).computed == 0
    assert Counted(tmp_path, model, batch_size=3).prepare(loader_of(PAIRS[:20])).computed == 0
    assert files(tmp_path) == before
    assert Counted(tmp_path, model).prepare(loader_of(PAIRS)).computed == 4
    assert before.items() < files(tmp_path).items()


def test_without_a_folder_they_are_known_as_long_as_the_process_lives(model, tmp_path: Path):
    reference = Counted(None, model)
    assert reference.prepare(loader_of(PAIRS)).computed == len(PAIRS)
    assert reference.prepare(loader_of(PAIRS[3:], seed=5)).computed == len(PAIRS)
    assert not list(tmp_path.iterdir())


def test_a_pair_that_comes_twice_is_computed_once(model):
    twice = [PAIRS[0], PAIRS[1], PAIRS[0]._replace(index=2)]
    reference, loader = Counted(None, model), loader_of(twice, size=3, parts=1)
    first, second, third = reference.prepare(loader).of(loader)
    assert reference.computed == 2
    assert first == third != second


def test_a_run_of_few_batches_computes_their_pairs_only_and_a_longer_one_the_rest(model, tmp_path: Path):
    loader = loader_of(PAIRS)
    reference = Counted(tmp_path, model)
    assert reference.prepare(loader, max_batches=2).computed == 8
    first = next(iter(loader.batches()))[1]
    assert np.asarray(reference.given.per_token("pairs", first)).any()
    assert Counted(tmp_path, model).prepare(loader).computed == len(PAIRS) - 8


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_the_batch_size_changes_memory_and_not_the_result(model, batch_size: int):
    loader = loader_of(PAIRS)
    expected = Counted(None, model).prepare(loader).of(loader)
    found = Counted(None, model, batch_size=batch_size).prepare(loader).of(loader)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_mesh_of_devices_computes_the_same(model):
    spread = tiny_model(dims=(2, 2, 1, 2, 1), config=model.config)
    loader = make_loader(PAIRS, BatchLayout(8, row_shards=4), shuffle=False)
    found = Counted(None, spread).prepare(loader)
    alone = loader_of(PAIRS)
    for one, other in zip(found.of(loader), Counted(None, model).prepare(alone).of(alone), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    batch = next(iter(loader.batches()))[1]
    sharding = found.given.per_token("pairs", batch).sharding
    assert sharding.is_equivalent_to(on_mesh(batch, spread.decoder.mesh).sequence.sharding, 3)


def changed(model: CausalLM, what: str) -> CausalLM:
    if what == "one bit of one weight":
        kernel = np.array(model.params["layers"]["down"]["kernel"])
        kernel[-1, -1, -1] = np.nextafter(kernel[-1, -1, -1], np.float32(9))
        layers = {**model.params["layers"], "down": {"kernel": jax.numpy.asarray(kernel)}}
        return dataclasses.replace(model, params={**model.params, "layers": layers})
    if what == "dtype of the weights":
        return dataclasses.replace(model, params=jax.tree.map(lambda x: x.astype("bfloat16"), model.params))
    options = {
        "dtype of the computation": {"dtype": "bfloat16"},
        "precision": {"precision": "highest"},
        "attention": {"attn_mechanism": "sdpa"},
        "configuration": {"config": dataclasses.replace(model.config, rms_norm_eps=1e-3)},
    }[what]
    return dataclasses.replace(model, decoder=dataclasses.replace(model.decoder, **options))


@pytest.mark.parametrize(
    "what",
    [
        "one bit of one weight",
        "dtype of the weights",
        "dtype of the computation",
        "precision",
        "attention",
        "configuration",
    ],
)
def test_what_changes_the_numbers_changes_the_origin(model, what: str):
    other = changed(model, what)
    assert origin(other.decoder, other.params) != origin(model.decoder, model.params)


def test_the_origin_does_not_depend_on_devices_or_on_what_training_is_told(model):
    spread = tiny_model(dims=(2, 2, 1, 2, 1), config=model.config)
    told = dataclasses.replace(model.decoder, gradient_checkpointing="nothing_saveable")
    assert origin(spread.decoder, spread.params) == origin(model.decoder, model.params) == origin(told, model.params)
    assert len(origin(told, model.params)) == 32


def test_other_weights_find_nothing_and_disturb_nothing(model, tmp_path: Path):
    Counted(tmp_path, model).prepare(loader_of(PAIRS))
    before = files(tmp_path)
    other = changed(model, "one bit of one weight")
    assert Counted(tmp_path, other).prepare(loader_of(PAIRS)).computed == len(PAIRS)
    assert before.items() < files(tmp_path).items()
    assert Counted(tmp_path, model).prepare(loader_of(PAIRS)).computed == 0


def test_a_shard_that_is_cut_short_is_computed_again_to_the_same_bytes(model, tmp_path: Path):
    Counted(tmp_path, model).prepare(loader_of(PAIRS))
    before = files(tmp_path)
    damaged = tmp_path / sorted(before)[1]
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.warns(UserWarning, match=f"{damaged.name} in the cache is not used"):
        again = Counted(tmp_path, model).prepare(loader_of(PAIRS))
    assert 0 < again.computed < len(PAIRS)
    assert files(tmp_path) == before


def test_without_weights_what_is_known_is_found_and_anything_else_is_an_error(model, tmp_path: Path):
    reference = Counted(tmp_path, model).prepare(loader_of(PAIRS[:20]))
    reference.params = None
    assert reference.prepare(loader_of(PAIRS[10:20])).computed == 20
    with pytest.raises(ConfigError, match=r"4 of the 24 pairs of 'pairs' have no precomputed .* were released"):
        reference.prepare(loader_of(PAIRS))


def test_a_full_disk_is_worth_a_warning_and_the_run_goes_on(model, tmp_path: Path):
    reference = Counted(tmp_path, model)
    with full_disk(room=0), pytest.warns(UserWarning, match="could not be written to .* set cache_directory"):
        reference.prepare(loader_of(PAIRS))
    assert reference.prepare(loader_of(PAIRS[::-1])).computed == len(PAIRS)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_log_file_gets_a_line_where_there_is_no_terminal(model, capsys: pytest.CaptureFixture[str]):
    Counted(None, model, display=make_display("tqdm")).prepare(loader_of(PAIRS))
    assert "reference log-probabilities of pairs: 24 of 24 pairs computed" in "".join(capsys.readouterr())
    Counted(None, model).prepare(loader_of(PAIRS))
    assert not "".join(capsys.readouterr())


KILLED = """
import os, pathlib, signal, sys
sys.path[:0] = sys.argv[3:]
from test_reference_precompute import PAIRS, Counted, loader_of, small_model

shards, replace = int(sys.argv[2]), pathlib.Path.replace

def killed(part, target):
    global shards
    if not shards:
        os.kill(os.getpid(), signal.SIGKILL)  # the next shard is written, but not yet under its name
    shards -= 1
    return replace(part, target)

pathlib.Path.replace = killed
Counted(pathlib.Path(sys.argv[1]), small_model()).prepare(loader_of(PAIRS))
"""


def test_a_process_that_was_killed_and_started_again_ends_with_the_bytes_of_one_that_was_not(model, tmp_path: Path):
    straight, interrupted = tmp_path / "straight", tmp_path / "interrupted"
    for folder in (straight, interrupted):
        folder.mkdir()
    Counted(straight, model).prepare(loader_of(PAIRS))
    expected = files(straight)
    assert len(expected) == 3  # of 8 pairs each: two batches hold the 6 asked for
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    for kept in (1, 2):
        arguments = [sys.executable, "-c", KILLED, str(interrupted), "1", *here]
        child = subprocess.run(arguments, env=os.environ.copy(), capture_output=True, text=True, check=False)
        assert child.returncode == -signal.SIGKILL, child.stderr
        found = files(interrupted)
        assert len(found) == kept
        assert found.items() < expected.items()
    last = Counted(interrupted, model).prepare(loader_of(PAIRS))
    assert last.computed == 8
    assert files(interrupted) == expected
    assert len(list(interrupted.rglob("*.part"))) == 2
